//! Numbers as people write them, exact; amounts of money are in whole currency units, and at Stripe in the smallest.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::decimal_places;

/// Places of an amount in the smallest unit. <https://docs.stripe.com/api/prices/create>
const PLACES_MAX: u32 = 12;

/// An amount of money in whole currency units, or a share of a hundred: zero or more, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(Decimal);

impl Amount {
    /// Reads `199` or `0.05`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let amount = Decimal::from_str_exact(text).ok().filter(|amount| !amount.is_sign_negative());
        amount.map(Self).ok_or_else(|| format!("{text:?} is no amount, as \"199\" or \"0.05\""))
    }

    /// The number itself.
    pub(super) const fn number(self) -> Decimal {
        self.0
    }

    /// In the currency's smallest unit, as `unit_amount_decimal` has it.
    pub(super) fn in_smallest(self, currency: &str) -> Result<Decimal, String> {
        let units = Decimal::from(10_u32.pow(decimal_places(currency)));
        let amount = self.0.checked_mul(units).map(|amount| amount.normalize());
        amount
            .filter(|amount| amount.scale() <= PLACES_MAX)
            .ok_or_else(|| format!("{} {currency} is too large or too fine an amount", self.0))
    }
}

/// An amount in the smallest unit, as people read it: `EUR 0.05`.
#[must_use]
pub fn shown(currency: &str, smallest: Decimal) -> String {
    let places = decimal_places(currency);
    let mut amount = smallest.checked_mul(Decimal::new(1, places)).unwrap_or(smallest).normalize();
    if amount.scale() < places && !amount.fract().is_zero() {
        amount.rescale(places);
    }
    format!("{} {amount}", currency.to_ascii_uppercase())
}

impl FromStr for Amount {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Text or a whole number. A number with a point is refused: it may not be what was written.
struct Written;

impl Visitor<'_> for Written {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount in quotes, as \"199\" or \"0.05\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        Amount::parse(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
        Amount::parse(&number.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_in_the_smallest_unit_of_their_currency() {
        for (text, currency, smallest) in [
            ("99", "eur", "9900"),
            ("0.05", "eur", "5"),
            ("0.00001", "eur", "0.001"),
            ("500", "jpy", "500"),
            ("1.5", "kwd", "1500"),
        ] {
            let amount = Amount::parse(text).unwrap().in_smallest(currency).unwrap();
            assert_eq!(amount.to_string(), smallest, "{text} {currency}");
        }
        assert!(Amount::parse("0.000000000000001").unwrap().in_smallest("eur").is_err());
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-1", "1,5", "free", "1e3"] {
            assert!(Amount::parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn amounts_are_shown_in_whole_currency_units() {
        for (currency, smallest, text) in [
            ("eur", "9900", "EUR 99"),
            ("eur", "5", "EUR 0.05"),
            ("eur", "1990", "EUR 19.90"),
            ("jpy", "500", "JPY 500"),
        ] {
            assert_eq!(shown(currency, smallest.parse().unwrap()), text);
        }
    }
}
