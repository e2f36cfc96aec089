//! The kernel's clocks.

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{Clock, Reading};
use crate::model::{MICROS_PER_SECOND, Timestamp};

/// Reads the kernel's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        Reading {
            wall: Timestamp::from_micros(micros(clock_gettime(ClockId::Realtime))),
            monotonic_us: micros(clock_gettime(ClockId::Monotonic)),
            boottime_us: micros(clock_gettime(ClockId::Boottime)),
        }
    }
}

fn micros(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(MICROS_PER_SECOND).saturating_add(time.tv_nsec.div_euclid(1_000))
}
