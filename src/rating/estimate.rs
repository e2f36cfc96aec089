//! What the period will come to if it goes on like this. For eyes only: never billed.

use rust_decimal::Decimal;

use crate::model::{Micros, Span, Timestamp};

/// Usage at the period's end at the average rate since `from` (the later of the period's start and the link's).
/// `None` before anything can be said: in the first minute, or outside the period.
#[must_use]
pub fn estimate(used: Micros, period: Span, from: Timestamp, now: Timestamp) -> Option<Micros> {
    let begun = period.from.max(from);
    let elapsed = now.since(begun);
    let whole = period.to.since(begun);
    if elapsed < 60_000_000 || elapsed > whole {
        return None;
    }
    let total = (i128::from(used.get()) * i128::from(whole)).div_euclid(i128::from(elapsed));
    i64::try_from(total).ok().map(Micros::new)
}

/// What units cost at a price per unit, in whole currency units.
#[must_use]
pub fn cost(units: i64, unit_amount: Decimal) -> Option<Decimal> {
    Decimal::from(units).checked_mul(unit_amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_rate_is_carried_on_to_the_end() {
        let at = Timestamp::from_secs;
        let period = Span::new(at(0), at(1_000));
        assert_eq!(estimate(Micros::new(50), period, at(0), at(500)), Some(Micros::new(100)));
        assert_eq!(estimate(Micros::new(50), period, at(400), at(500)), Some(Micros::new(300)));
        assert_eq!(estimate(Micros::new(50), period, at(0), at(10)), None);
        assert_eq!(estimate(Micros::new(50), period, at(0), at(1_001)), None);
        // From the first minute to the very end.
        assert_eq!(estimate(Micros::new(3), period, at(0), at(60)), Some(Micros::new(50)));
        assert_eq!(estimate(Micros::new(50), period, at(0), at(1_000)), Some(Micros::new(50)));
    }

    #[test]
    fn money_is_exact() {
        assert_eq!(cost(3, "0.04".parse().unwrap()).unwrap().to_string(), "0.12");
    }
}
