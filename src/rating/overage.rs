//! Rule R3: overage, and the one place that rounds.

use super::Allowance;
use crate::model::{Micros, Report, Rounding, Unit};

/// A sum that does not fit; nothing is billed from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatingError {
    /// More than 64 bits hold.
    #[error("the usage of this period is too large to be rated")]
    TooLarge,
    /// Units must have a size.
    #[error("the unit {0:?} has no size")]
    NoUnit(String),
}

/// Whole billed units to report: what lies above the allowance, or the unreduced total where `report` is gross.
/// Rounded once. `None` where the allowance has no end: nothing is sent.
pub fn overage(
    used: Micros,
    allowance: Allowance,
    unit: &Unit,
    report: Report,
    rounding: Rounding,
) -> Result<Option<i64>, RatingError> {
    let above = match (report, allowance) {
        (Report::Gross, _) => used.get().max(0),
        (Report::Overage, Allowance::Unlimited) => return Ok(None),
        (Report::Overage, Allowance::Included(included)) => {
            used.checked_sub(included).ok_or(RatingError::TooLarge)?.get().max(0)
        }
    };
    round(above, unit, rounding).map(Some)
}

/// By how much less usage would come to as many billed units; below zero, how much more the first of them is away beyond
/// its own size. `None` where the allowance has no end.
pub fn spare(
    used: Micros,
    allowance: Allowance,
    unit: &Unit,
    report: Report,
    rounding: Rounding,
) -> Result<Option<Micros>, RatingError> {
    let above = match (report, allowance) {
        (Report::Gross, _) => used.get(),
        (Report::Overage, Allowance::Unlimited) => return Ok(None),
        (Report::Overage, Allowance::Included(included)) => {
            used.checked_sub(included).ok_or(RatingError::TooLarge)?.get()
        }
    };
    let units = round(above.max(0), unit, rounding)?.checked_mul(unit.micros).ok_or(RatingError::TooLarge)?;
    let least = match rounding {
        Rounding::Down => units,
        Rounding::Up => units.saturating_sub(unit.micros).saturating_add(1),
        Rounding::HalfUp => units.saturating_sub(unit.micros.div_euclid(2)),
    };
    Ok(Some(Micros::new(above.saturating_sub(least))))
}

fn round(micros: i64, unit: &Unit, rounding: Rounding) -> Result<i64, RatingError> {
    if unit.micros <= 0 {
        return Err(RatingError::NoUnit(unit.label.clone()));
    }
    let whole = micros.div_euclid(unit.micros);
    let rest = micros.rem_euclid(unit.micros);
    let one_more = match rounding {
        Rounding::Down => false,
        Rounding::Up => rest > 0,
        Rounding::HalfUp => rest >= unit.micros - rest,
    };
    whole.checked_add(i64::from(one_more)).ok_or(RatingError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn s5_less_by_spare_is_the_least_usage_of_as_many_units_and_of_any_more() {
        // Seven millionths are a unit here, so that every case is met.
        let unit = Unit { micros: 7, ..Unit::of("hours") };
        let allowance = Allowance::Included(Micros::new(5));
        for rounding in [Rounding::Down, Rounding::Up, Rounding::HalfUp] {
            let billed = |used: i64| round(used - 5, &unit, rounding).unwrap();
            for used in 0..40 {
                let spare = spare(Micros::new(used), allowance, &unit, Report::Overage, rounding).unwrap().unwrap();
                for more in 0..3 {
                    let least = used - spare.get() + more * unit.micros;
                    assert_eq!(billed(least), billed(used).max(0) + more, "{rounding:?} {used}");
                    assert!(billed(least - 1) < billed(least), "{rounding:?} {used}");
                }
            }
        }
    }

    fn hours(used: i64, included: i64, rounding: Rounding) -> i64 {
        let allowance = Allowance::Included(Micros::new(included));
        overage(Micros::new(used), allowance, &Unit::of("hours"), Report::Overage, rounding).unwrap().unwrap()
    }

    #[test]
    fn r3_overage_is_what_lies_above_the_allowance_rounded_once_and_down() {
        assert_eq!(hours(100 * HOUR, 100 * HOUR, Rounding::Down), 0);
        assert_eq!(hours(100 * HOUR + HOUR - 1, 100 * HOUR, Rounding::Down), 0);
        assert_eq!(hours(101 * HOUR, 100 * HOUR, Rounding::Down), 1);
        assert_eq!(hours(5 * HOUR, 100 * HOUR, Rounding::Down), 0);
    }

    #[test]
    fn r3_up_and_half_up_are_the_operators_choice() {
        assert_eq!(hours(1, 0, Rounding::Up), 1);
        assert_eq!(hours(HOUR, 0, Rounding::Up), 1);
        assert_eq!(hours(HOUR.div_euclid(2) - 1, 0, Rounding::HalfUp), 0);
        assert_eq!(hours(HOUR.div_euclid(2), 0, Rounding::HalfUp), 1);
    }

    #[test]
    fn r3_unlimited_sends_nothing_and_gross_ignores_the_allowance() {
        let unit = Unit::of("credits");
        let used = Micros::new(7_500_000);
        assert_eq!(overage(used, Allowance::Unlimited, &unit, Report::Overage, Rounding::Down), Ok(None));
        let allowance = Allowance::Included(Micros::new(5_000_000));
        assert_eq!(overage(used, allowance, &unit, Report::Gross, Rounding::Down), Ok(Some(7)));
    }

    #[test]
    fn a_negative_total_is_never_a_negative_overage() {
        assert_eq!(hours(-HOUR, 0, Rounding::Up), 0);
    }
}
