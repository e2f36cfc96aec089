//! A clock that tests move by hand.

use std::sync::{Mutex, PoisonError};

use super::{Clock, Reading};
use crate::model::Timestamp;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Reading>);

impl ManualClock {
    /// A machine that booted just now, at this wall time.
    #[must_use]
    pub const fn booted_at(wall: Timestamp) -> Self {
        Self(Mutex::new(Reading { wall, monotonic_us: 0, boottime_us: 0 }))
    }

    /// The machine runs on.
    pub fn run(&self, micros: i64) {
        self.change(|now| {
            now.wall = now.wall.plus(micros);
            now.monotonic_us += micros;
            now.boottime_us += micros;
        });
    }

    /// The machine is suspended: running time stands still.
    pub fn suspend(&self, micros: i64) {
        self.change(|now| {
            now.wall = now.wall.plus(micros);
            now.boottime_us += micros;
        });
    }

    /// Somebody sets the wall clock, forward or back.
    pub fn step_wall(&self, micros: i64) {
        self.change(|now| now.wall = now.wall.plus(micros));
    }

    /// The machine was off for this long and has just booted.
    pub fn reboot(&self, off_micros: i64) {
        self.change(|now| {
            *now = Reading { wall: now.wall.plus(off_micros), monotonic_us: 0, boottime_us: 0 };
        });
    }

    fn change(&self, f: impl FnOnce(&mut Reading)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Clock for ManualClock {
    fn read(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
