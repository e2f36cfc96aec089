//! The sandbox's time: the machine's plus an offset, or one that stands until it is moved.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::model::Timestamp;

/// Where the sandbox's time comes from. Cheap to clone; clones share one setting.
#[derive(Clone)]
pub struct SandboxClock(Arc<Shared>);

struct Shared {
    wall: Option<Arc<dyn Clock>>,
    setting: Mutex<Setting>,
}

/// What the books remember of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Setting {
    /// The wall clock, this many microseconds on.
    Ahead(i64),
    /// Stands here, microseconds since 1970.
    Frozen(i64),
}

impl SandboxClock {
    /// Follows this clock's wall time.
    #[must_use]
    pub fn following(wall: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { wall: Some(wall), setting: Mutex::new(Setting::Ahead(0)) }))
    }

    /// Stands at this time until it is moved.
    #[must_use]
    pub fn frozen(at: Timestamp) -> Self {
        Self(Arc::new(Shared { wall: None, setting: Mutex::new(Setting::Frozen(at.micros())) }))
    }

    /// The sandbox's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(match self.setting() {
            Setting::Ahead(offset) => self.wall().saturating_add(offset),
            Setting::Frozen(at) => at,
        })
    }

    /// Moves to a time: a following clock goes on from there, a frozen one stands there.
    pub(super) fn set(&self, to: Timestamp) {
        self.restore(match self.setting() {
            Setting::Ahead(_) => Setting::Ahead(to.micros().saturating_sub(self.wall())),
            Setting::Frozen(_) => Setting::Frozen(to.micros()),
        });
    }

    /// Stands still at the present time.
    pub(super) fn freeze(&self) {
        self.restore(Setting::Frozen(self.now().micros()));
    }

    /// Goes on from the present time, where there is a clock to follow.
    pub(super) fn thaw(&self) {
        if self.0.wall.is_some() {
            self.restore(Setting::Ahead(self.now().micros().saturating_sub(self.wall())));
        }
    }

    pub(super) fn setting(&self) -> Setting {
        *self.0.setting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn restore(&self, setting: Setting) {
        *self.0.setting.lock().unwrap_or_else(PoisonError::into_inner) = setting;
    }

    /// Whether the books' memory of an earlier setting counts: a frozen time handed in is the caller's own word.
    pub(super) fn takes_up_memory(&self) -> bool {
        self.0.wall.is_some()
    }

    fn wall(&self) -> i64 {
        self.0.wall.as_ref().map_or(0, |clock| clock.read().wall.micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_following_clock_goes_on_from_where_it_is_set() {
        let wall = Arc::new(ManualClock::booted_at(Timestamp::from_secs(100)));
        let clock = SandboxClock::following(wall.clone());
        clock.set(Timestamp::from_secs(5_000));
        wall.run(7_000_000);
        assert_eq!(clock.now(), Timestamp::from_secs(5_007));
        clock.freeze();
        wall.run(7_000_000);
        assert_eq!(clock.now(), Timestamp::from_secs(5_007));
        clock.thaw();
        wall.run(1_000_000);
        assert_eq!(clock.now(), Timestamp::from_secs(5_008));
    }

    #[test]
    fn a_frozen_clock_stands_where_it_is_set() {
        let clock = SandboxClock::frozen(Timestamp::from_secs(100));
        clock.set(Timestamp::from_secs(200));
        clock.thaw();
        assert_eq!(clock.now(), Timestamp::from_secs(200));
    }
}
