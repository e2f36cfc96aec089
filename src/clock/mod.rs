//! The one place that reads clocks.
//!
//! Owns: readings of wall time, running time and time since boot; the decision which wall time to trust (rule M5).
//! Invariant: `now` is read by the jobs, where they begin and after each answer, and passed down; nothing deeper reads a
//! clock.

mod manual;
mod system;
pub mod trust;

pub use manual::ManualClock;
pub use system::SystemClock;

use crate::model::Timestamp;

/// The three clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The machine's wall clock, as far as it can be believed.
    pub wall: Timestamp,
    /// `CLOCK_MONOTONIC`, microseconds: running time since boot, suspension excluded.
    pub monotonic_us: i64,
    /// `CLOCK_BOOTTIME`, microseconds: time since boot, suspension included.
    pub boottime_us: i64,
}

/// A source of readings. Injected, so that tests and simulations own time.
pub trait Clock: Send + Sync {
    /// Reads all three clocks.
    fn read(&self) -> Reading;
}
