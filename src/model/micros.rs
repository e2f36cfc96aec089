//! Quantities. Integers in millionths of a meter's base unit: microseconds for time, millionths of a
//! credit for counts. No floating point ever touches what is stored or billed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A quantity in millionths of the base unit. `i64` holds 292 000 years of microseconds; sums are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(i64);

/// Why a decimal quantity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not digits with at most one point.
    #[error("quantity {0:?} is not a decimal number")]
    NotADecimal(String),
    /// More than six places after the point.
    #[error("quantity {0:?} has more than six decimal places")]
    TooPrecise(String),
    /// Does not fit.
    #[error("quantity {0:?} is too large")]
    TooLarge(String),
}

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One base unit.
    pub const ONE: Self = Self(1_000_000);

    /// From millionths.
    #[must_use]
    pub const fn new(micros: i64) -> Self {
        Self(micros)
    }

    /// In millionths.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whole base units, or `None` where they do not fit.
    #[must_use]
    pub const fn from_units(units: i64) -> Option<Self> {
        match units.checked_mul(1_000_000) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Sum, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Difference, or `None` on overflow.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Reads a decimal of base units, as `5`, `0.25` or `-3`; at most six places, no exponent.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let shown = || text.chars().take(40).collect::<String>();
        let not_a_decimal = || QuantityError::NotADecimal(shown());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, places) = match digits.split_once('.') {
            Some((whole, places)) if !places.is_empty() => (whole, places),
            Some(_) => return Err(not_a_decimal()),
            None => (digits, ""),
        };
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(places) {
            return Err(not_a_decimal());
        }
        let places = places.trim_end_matches('0');
        if places.len() > 6 {
            return Err(QuantityError::TooPrecise(shown()));
        }
        let too_large = |_| QuantityError::TooLarge(shown());
        let magnitude: i64 = format!("{whole}{places:0<6}").parse().map_err(too_large)?;
        Ok(Self(if negative { -magnitude } else { magnitude }))
    }
}

impl fmt::Display for Micros {
    /// The decimal of base units, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let whole = magnitude.div_euclid(1_000_000);
        let places = format!("{:06}", magnitude.rem_euclid(1_000_000));
        let places = places.trim_end_matches('0');
        if places.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{places}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, micros) in
            [("5", 5_000_000), ("0.25", 250_000), ("-3.000001", -3_000_001), ("1.500000000", 1_500_000)]
        {
            assert_eq!(Micros::parse(text), Ok(Micros::new(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in ["", ".5", "5.", "1e3", "+1", "0x1", "1,5", " 1", "NaN", "--1", "٣"] {
            assert!(matches!(Micros::parse(text), Err(QuantityError::NotADecimal(_))), "{text:?}");
        }
        assert!(matches!(Micros::parse("0.0000001"), Err(QuantityError::TooPrecise(_))));
        assert!(matches!(Micros::parse("9223372036855"), Err(QuantityError::TooLarge(_))));
    }

    #[test]
    fn display_is_what_parse_reads() {
        for micros in [0, 1, -1, 999_999, 1_000_000, -12_340_000, i64::MAX] {
            assert_eq!(Micros::parse(&Micros::new(micros).to_string()), Ok(Micros::new(micros)));
        }
    }
}
