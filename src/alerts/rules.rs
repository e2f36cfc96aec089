//! From figures to what needs someone. Pure: no clock, no database. A value that may flicker around its bound has two: one
//! at which it begins, and one at which it is over.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::model::{MICROS_PER_MINUTE, Micros, micros_of};

/// Fewer attempts say nothing of a rate.
const ATTEMPTS_LEAST: u32 = 20;
/// Percent of attempts that have to be accepted; and so many until it is over.
const ACCEPTED_LEAST: u32 = 95;
const ACCEPTED_AGAIN: u32 = 97;

/// The marks, in percent of what is included, that usage has reached; lowest first. Nothing is a share of nothing.
#[must_use]
pub fn reached(used: Micros, included: Micros, marks: &[u32]) -> Vec<u32> {
    let is_reached = |mark: &&u32| {
        i128::from(used.get()).saturating_mul(100) >= i128::from(included.get()).saturating_mul(i128::from(**mark))
    };
    if included <= Micros::ZERO {
        return Vec::new();
    }
    let mut reached: Vec<u32> = marks.iter().filter(is_reached).copied().collect();
    reached.sort_unstable();
    reached
}

/// What a period's overage may cost, and costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What it may.
    pub most: Decimal,
    /// What it does so far.
    pub cost: Decimal,
    /// What it comes to if it goes on like this; `None` while that cannot be told.
    pub estimate: Option<Decimal>,
}

/// Whether the estimate is beyond the budget; once it was, until it is a tenth below.
#[must_use]
pub fn is_beyond(budget: &Budget, stands: bool) -> bool {
    let Some(estimate) = budget.estimate else { return false };
    let bound = if stands { budget.most.checked_mul(Decimal::new(9, 1)) } else { Some(budget.most) };
    bound.is_some_and(|bound| estimate > bound)
}

/// Whether too few attempts are accepted.
#[must_use]
pub fn is_unreliable(accepted: u32, finished: u32, stands: bool) -> bool {
    let least = if stands { ACCEPTED_AGAIN } else { ACCEPTED_LEAST };
    finished >= ATTEMPTS_LEAST && u64::from(accepted) * 100 < u64::from(finished) * u64::from(least)
}

/// Whether the last sample is older than three intervals of running time, and than a minute.
#[must_use]
pub fn is_silent(age_us: i64, every: Duration) -> bool {
    age_us > micros_of(every).saturating_mul(3).max(MICROS_PER_MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn marks_are_reached_exactly_at_their_share() {
        let marks = [100, 50, 75];
        for (used, expected) in
            [(0, &[][..]), (499, &[]), (500, &[50]), (749, &[50]), (750, &[50, 75]), (1_000, &[50, 75, 100])]
        {
            assert_eq!(reached(Micros::new(used), Micros::new(1_000), &marks), expected, "{used}");
        }
        assert!(reached(Micros::new(i64::MAX), Micros::new(i64::MAX), &marks).len() == 3, "nothing overflows");
    }

    #[test]
    fn of_nothing_included_no_share_is_reached() {
        assert_eq!(reached(Micros::new(5), Micros::ZERO, &[50]), Vec::<u32>::new());
    }

    #[test]
    fn an_estimate_that_flickers_around_the_budget_begins_once_and_ends_a_tenth_below() {
        let at = |estimate: &str, stands| {
            let budget = Budget { most: decimal("50.00"), cost: Decimal::ZERO, estimate: Some(decimal(estimate)) };
            is_beyond(&budget, stands)
        };
        assert!(!at("50", false) && at("50.01", false));
        assert!(at("49.99", true) && at("45.01", true) && !at("45", true));
        let unknown = Budget { most: Decimal::ONE, cost: Decimal::ONE, estimate: None };
        assert!(!is_beyond(&unknown, true));
    }

    #[test]
    fn a_rate_needs_twenty_attempts_and_is_over_only_when_it_is_better() {
        assert!(!is_unreliable(0, 19, false));
        assert!(is_unreliable(18, 20, false) && !is_unreliable(19, 20, false));
        assert!(is_unreliable(96, 100, true) && !is_unreliable(97, 100, true));
    }

    #[test]
    fn three_missed_samples_are_silence_and_never_less_than_a_minute() {
        let every = Duration::from_mins(1);
        assert!(!is_silent(180_000_000, every) && is_silent(180_000_001, every));
        assert!(!is_silent(59_000_000, Duration::from_secs(1)) && is_silent(61_000_000, Duration::from_secs(1)));
    }
}
