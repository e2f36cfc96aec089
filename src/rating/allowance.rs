//! Rule R4: how much is included.

use super::RatingError;
use crate::model::{AllowanceRule, Included, Micros, Span, Unit};

/// What a period includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// This much, in millionths of the base unit.
    Included(Micros),
    /// Everything.
    Unlimited,
}

/// A plan's included amount and when it was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// From when to when.
    pub span: Span,
    /// What it includes for a whole period.
    pub included: Included,
}

/// The allowance of a whole period, counted once, however many plans were in force. `plans` in the order of time; `None`
/// where no plan was in force at all.
pub fn allowance(
    plans: &[InForce],
    rule: AllowanceRule,
    period: Span,
    unit: &Unit,
) -> Result<Option<Allowance>, RatingError> {
    let Some(last) = plans.last() else { return Ok(None) };
    if let Included::Unlimited = last.included {
        return Ok(Some(Allowance::Unlimited));
    }
    match rule {
        AllowanceRule::Latest => whole_allowance(last.included, unit).map(Some),
        AllowanceRule::Prorated => prorated(plans, period, unit).map(Some),
    }
}

/// What a plan includes for a whole period.
pub fn whole_allowance(included: Included, unit: &Unit) -> Result<Allowance, RatingError> {
    match included {
        Included::Unlimited => Ok(Allowance::Unlimited),
        Included::Units(units) => {
            let micros = i64::from(units).checked_mul(unit.micros).ok_or(RatingError::TooLarge)?;
            Ok(Allowance::Included(Micros::new(micros)))
        }
    }
}

/// Each plan's share by its time in force. Time under an unlimited plan that was left again counts as if it were the whole
/// period's use: that cannot be known in parts, so the customer is given the benefit and nothing is billed.
fn prorated(plans: &[InForce], period: Span, unit: &Unit) -> Result<Allowance, RatingError> {
    let length = i128::from(period.micros());
    if length == 0 {
        return Ok(Allowance::Included(Micros::ZERO));
    }
    let mut share = 0_i128;
    for plan in plans {
        let Included::Units(units) = plan.included else { return Ok(Allowance::Unlimited) };
        let in_force = plan.span.overlap(period).map_or(0, Span::micros);
        share += i128::from(units) * i128::from(unit.micros) * i128::from(in_force);
    }
    // Rounded up: a fraction of a microsecond of allowance too many never bills more than true.
    let micros = (share + length - 1).div_euclid(length);
    i64::try_from(micros).map(|m| Allowance::Included(Micros::new(m))).map_err(|_| RatingError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    const HOUR: i64 = 3_600_000_000;

    fn span(from_h: i64, to_h: i64) -> Span {
        Span::new(Timestamp::from_micros(from_h * HOUR), Timestamp::from_micros(to_h * HOUR))
    }

    fn in_force(from_h: i64, to_h: i64, units: u32) -> InForce {
        InForce { span: span(from_h, to_h), included: Included::Units(units) }
    }

    fn hours(plans: &[InForce], rule: AllowanceRule) -> i64 {
        match allowance(plans, rule, span(0, 100), &Unit::of("hours")).unwrap().unwrap() {
            Allowance::Included(micros) => micros.get(),
            Allowance::Unlimited => -1,
        }
    }

    #[test]
    fn r4_the_plan_at_the_end_decides_and_counts_once() {
        assert_eq!(hours(&[in_force(0, 50, 10), in_force(50, 100, 30)], AllowanceRule::Latest), 30 * HOUR);
    }

    #[test]
    fn r4_a_part_period_has_the_whole_allowance_unless_prorated() {
        assert_eq!(hours(&[in_force(75, 100, 40)], AllowanceRule::Latest), 40 * HOUR);
        assert_eq!(hours(&[in_force(75, 100, 40)], AllowanceRule::Prorated), 10 * HOUR);
    }

    #[test]
    fn r4_prorated_adds_each_plans_share_and_rounds_in_the_customers_favour() {
        assert_eq!(hours(&[in_force(0, 50, 10), in_force(50, 100, 30)], AllowanceRule::Prorated), 20 * HOUR);
        let third = allowance(&[in_force(0, 1, 1)], AllowanceRule::Prorated, span(0, 3), &Unit::of("credits"));
        assert_eq!(third, Ok(Some(Allowance::Included(Micros::new(333_334)))));
    }

    #[test]
    fn no_plan_in_force_is_no_allowance_and_not_a_zero() {
        assert_eq!(allowance(&[], AllowanceRule::Latest, span(0, 1), &Unit::of("hours")), Ok(None));
    }
}
