//! Which wall time to place usage by (rule M5).

use serde::{Deserialize, Serialize};

use super::Reading;
use crate::model::{MICROS_PER_DAY, MICROS_PER_MINUTE, Timestamp};

/// The provider's `Date` header, with the moment it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderDate {
    /// The header's time.
    pub date: Timestamp,
    /// `CLOCK_BOOTTIME` when the answer arrived, microseconds.
    pub at_boottime_us: i64,
    /// The boot it was read in; worthless in any other.
    pub boot_id: String,
}

impl ProviderDate {
    /// The provider's time now: its `Date` plus the time since boot that has passed (also over a suspension).
    /// `None` in another boot.
    #[must_use]
    pub fn now(&self, boot_id: &str, boottime_us: i64) -> Option<Timestamp> {
        (self.boot_id == boot_id).then(|| self.date.plus(boottime_us.saturating_sub(self.at_boottime_us)))
    }
}

/// Whose word a placement rests on, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedBy {
    /// `clock = "trusted"` in the configuration.
    Operator,
    /// The provider's `Date` header.
    Provider,
    /// timesyncd has set the clock in this boot.
    Timesync,
    /// Nobody: 24 hours went by, so the wall clock is taken, marked.
    Waited,
}

impl TrustedBy {
    /// The word used in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Provider => "provider",
            Self::Timesync => "timesync",
            Self::Waited => "waited",
        }
    }
}

/// Where on the wall this boot's time lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Known: `CLOCK_BOOTTIME` zero was at this wall time.
    Known {
        /// Wall time of boot.
        boot_zero: Timestamp,
        /// On whose word.
        by: TrustedBy,
        /// Microseconds the machine's wall clock is ahead of the trusted time, where more than 2 minutes.
        wall_ahead_us: Option<i64>,
    },
    /// Not known yet: entries keep their monotonic times and wait.
    Waiting,
}

impl Placement {
    /// Wall time of a moment of this boot.
    #[must_use]
    pub fn wall_at(&self, boottime_us: i64) -> Option<Timestamp> {
        match self {
            Self::Known { boot_zero, .. } => Some(boot_zero.plus(boottime_us)),
            Self::Waiting => None,
        }
    }
}

/// Decides. `waiting_since_boottime_us` is when this boot's first unplaced entry began; `timesync_mark` whether
/// timesyncd says it has set the clock.
#[must_use]
pub fn place(
    operator_trusts: bool,
    provider_now: Option<Timestamp>,
    timesync_mark: bool,
    waiting_since_boottime_us: Option<i64>,
    now: Reading,
) -> Placement {
    const WRONG_BY_US: i64 = 2 * MICROS_PER_MINUTE;
    const WAIT_US: i64 = MICROS_PER_DAY;
    let by_wall = |by| Placement::Known { boot_zero: now.wall.minus(now.boottime_us), by, wall_ahead_us: None };
    if operator_trusts {
        return by_wall(TrustedBy::Operator);
    }
    if let Some(provider_now) = provider_now {
        let ahead_us = now.wall.since(provider_now);
        if ahead_us.abs() <= WRONG_BY_US {
            return by_wall(TrustedBy::Provider);
        }
        return Placement::Known {
            boot_zero: provider_now.minus(now.boottime_us),
            by: TrustedBy::Provider,
            wall_ahead_us: Some(ahead_us),
        };
    }
    if timesync_mark {
        return by_wall(TrustedBy::Timesync);
    }
    match waiting_since_boottime_us {
        Some(since) if now.boottime_us.saturating_sub(since) >= WAIT_US => by_wall(TrustedBy::Waited),
        _ => Placement::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn reading(wall_s: i64, boottime_us: i64) -> Reading {
        Reading { wall: Timestamp::from_secs(wall_s), monotonic_us: boottime_us, boottime_us }
    }

    fn by(placement: Placement) -> Option<TrustedBy> {
        match placement {
            Placement::Known { by, .. } => Some(by),
            Placement::Waiting => None,
        }
    }

    #[test]
    fn m5_the_order_of_trust_is_operator_provider_timesync_then_waiting() {
        let now = reading(1_000_000, HOUR_US);
        let date = Some(Timestamp::from_secs(1_000_010));
        assert_eq!(by(place(true, date, true, None, now)), Some(TrustedBy::Operator));
        assert_eq!(by(place(false, date, true, None, now)), Some(TrustedBy::Provider));
        assert_eq!(by(place(false, None, true, None, now)), Some(TrustedBy::Timesync));
        assert_eq!(by(place(false, None, false, Some(0), now)), None);
        assert_eq!(by(place(false, None, false, Some(0), reading(1_000_000, 24 * HOUR_US))), Some(TrustedBy::Waited));
    }

    #[test]
    fn m5_a_wall_clock_two_minutes_off_is_overruled_by_the_provider_and_named() {
        let now = reading(2_000_000, HOUR_US);
        let Placement::Known { boot_zero, wall_ahead_us, .. } =
            place(false, Some(Timestamp::from_secs(1_000_000)), false, None, now)
        else {
            panic!("the provider's date is known")
        };
        assert_eq!(boot_zero, Timestamp::from_secs(1_000_000 - 3_600));
        assert_eq!(wall_ahead_us, Some(1_000_000 * 1_000_000));
        let near = place(false, Some(Timestamp::from_secs(2_000_100)), false, None, now);
        assert_eq!(near.wall_at(HOUR_US), Some(now.wall));
    }

    #[test]
    fn m5_a_date_of_another_boot_says_nothing() {
        let date = ProviderDate { date: Timestamp::from_secs(5), at_boottime_us: 10, boot_id: "a".into() };
        assert_eq!(date.now("a", 20), Some(Timestamp::from_secs(5).plus(10)));
        assert_eq!(date.now("b", 20), None);
    }
}
