//! 300 calls a minute, then 429. <https://docs.lemonsqueezy.com/api/getting-started/requests>

use std::sync::{Mutex, PoisonError};

use super::errors::ApiError;

const PER_MINUTE: u32 = 300;
const MINUTE: i64 = 60;

/// Counts the calls of each minute of the sandbox's time.
pub(super) struct Limit(Mutex<Counted>);

struct Counted {
    most: u32,
    minute: i64,
    calls: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self(Mutex::new(Counted { most: PER_MINUTE, minute: 0, calls: 0 }))
    }
}

impl Limit {
    pub(super) fn set(&self, most: u32) {
        *self.lock() = Counted { most, minute: 0, calls: 0 };
    }

    pub(super) fn most(&self) -> u32 {
        self.lock().most
    }

    /// Counts a call, and says how many are left.
    pub(super) fn count(&self, now: i64) -> Result<u32, ApiError> {
        let mut counted = self.lock();
        let minute = now.div_euclid(MINUTE);
        if counted.minute != minute {
            (counted.minute, counted.calls) = (minute, 0);
        }
        counted.calls = counted.calls.saturating_add(1);
        let wait = u32::try_from(MINUTE.saturating_sub(now.rem_euclid(MINUTE))).ok();
        counted.most.checked_sub(counted.calls).ok_or_else(|| ApiError::too_many(wait))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
