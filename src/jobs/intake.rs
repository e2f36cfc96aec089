//! Intake: whether records are taken. What is acknowledged must never be left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::store::StoreError;

/// Closed and looked at by the writer's thread, so that one comes after the other.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// The ledger is about to be set aside (rule S11).
    set_aside: AtomicBool,
    /// The drain that is under way (rule S13).
    drain: Mutex<Weak<()>>,
    /// A drain was certified.
    drained: AtomicBool,
}

/// Held by a drain: nothing is taken while it lives. One that ends early, however it does, cannot leave the intake
/// closed.
#[derive(Debug, Default)]
pub(super) struct Draining(Arc<()>);

impl Draining {
    /// What closes the intake for as long as this lives. Used too late it closes nothing.
    pub(super) fn mark(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }
}

impl Intake {
    /// Refuses what would be left behind.
    pub(super) fn is_open(&self) -> Result<(), StoreError> {
        if self.is_set_aside() {
            return Err(StoreError::SettingAside);
        }
        let is_draining = self.drain.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0;
        if is_draining || self.drained.load(Ordering::SeqCst) { Err(StoreError::Draining) } else { Ok(()) }
    }

    /// Whether the ledger is about to be set aside.
    pub(super) fn is_set_aside(&self) -> bool {
        self.set_aside.load(Ordering::SeqCst)
    }

    pub(super) fn set_aside(&self, is_set_aside: bool) {
        self.set_aside.store(is_set_aside, Ordering::SeqCst);
    }

    pub(super) fn close_for(&self, draining: Weak<()>) {
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = draining;
    }

    /// Nothing comes after a certificate, in this process.
    pub(super) fn stay_closed(&self) {
        self.drained.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s13_the_intake_is_closed_while_a_drain_lives_and_after_one_that_was_certified() {
        let intake = Intake::default();
        let draining = Draining::default();
        intake.close_for(draining.mark());
        assert!(matches!(intake.is_open(), Err(StoreError::Draining)));
        drop(draining);
        assert!(intake.is_open().is_ok());
        intake.stay_closed();
        assert!(matches!(intake.is_open(), Err(StoreError::Draining)));
    }

    #[test]
    fn s13_a_drain_that_was_cut_off_before_its_turn_came_closes_nothing() {
        let intake = Intake::default();
        let mark = Draining::default().mark();
        intake.close_for(mark);
        assert!(intake.is_open().is_ok());
    }

    #[test]
    fn s13_a_drain_that_fails_does_not_open_what_is_being_set_aside() {
        let intake = Intake::default();
        let draining = Draining::default();
        intake.close_for(draining.mark());
        intake.set_aside(true);
        drop(draining);
        assert!(matches!(intake.is_open(), Err(StoreError::SettingAside)));
    }
}
