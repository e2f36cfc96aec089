//! Whole units out of the provider's decimals, without going through a float.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// The whole number that this JSON number is, whichever way it is written: `12`, `12.0`, `1.2e1`. `None` for any other.
pub(super) fn whole(text: &str) -> Option<i64> {
    let number = match text.split_once(['e', 'E']) {
        // Looked at by itself: with too many digits it would be rounded before its point is moved.
        Some((base, _)) => Decimal::from_str_exact(base).and_then(|_| Decimal::from_scientific(text)).ok()?,
        None => Decimal::from_str_exact(text).ok()?,
    };
    if number.is_integer() { number.to_i64() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_whichever_way_it_is_written() {
        for (text, number) in [
            ("12", 12),
            ("12.0", 12),
            ("12.00", 12),
            ("1.2e1", 12),
            ("1.2E+1", 12),
            ("120e-1", 12),
            ("0", 0),
            ("-0.0", 0),
            ("0e0", 0),
            ("-7.0", -7),
            ("1e18", 1_000_000_000_000_000_000),
            // No double is this.
            ("9007199254740993", 9_007_199_254_740_993),
            ("9223372036854775807.0", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(whole(text), Some(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_not_rounded_to_one() {
        for text in [
            "12.5",
            "0.1",
            "1.25e1",
            "12e-1",
            "11.9999999999999999999999999999999999",
            "1.19999999999999999999999999999999999e1",
            "12.00000000000000000000000000000000001",
            "9223372036854775808",
            "1e19",
            "1e400",
            "1e-400",
            "1e99999999999",
            "NaN",
            "Infinity",
            "null",
            "true",
            "\"12\"",
            "[12]",
            "",
            "e",
            "1e",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
