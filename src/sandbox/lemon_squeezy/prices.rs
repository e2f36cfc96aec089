//! Prices: what a unit costs, and how usage becomes a quantity. A changed price is a new one.

use rusqlite::Connection;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::books::{self, Record};
use super::super::periods::Interval;
use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Price {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) variant: String,
    /// `None`: the item's quantity decides, and is paid in advance.
    pub(super) aggregation: Option<Aggregation>,
    /// Of one unit, a decimal.
    pub(super) cents: String,
    pub(super) interval: Interval,
}

/// Which quantity is billed of the usage records of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// All of them together.
    Sum,
    /// The newest of the period.
    LastDuringPeriod,
    /// The newest of all.
    LastEver,
    /// The highest of the period.
    Max,
}

impl Record for Price {
    const KIND: &'static str = "prices";
    const NOUN: &'static str = "price";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Price {
    fn decimal(&self) -> Decimal {
        self.cents.parse().unwrap_or_default()
    }

    /// Units at this price, cents, halves away from zero.
    pub(super) fn amount(&self, quantity: i64) -> Option<i64> {
        let exact = self.decimal().checked_mul(Decimal::from(quantity))?;
        exact.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero).to_i64()
    }
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["include"])?;
    call.query.include(&[], &["variant"])?;
    let price: Price = books::find(call.books, call.id)?.ok_or_else(ApiError::not_found)?;
    Ok(document::one(call, Shown { resource: render(&price), with: Vec::new() }))
}

pub(super) fn get(books: &Connection, id: &str) -> Result<Price, ApiError> {
    books::find(books, id)?.ok_or_else(ApiError::not_found)
}

pub(super) fn render(price: &Price) -> Value {
    let (unit_price, decimal) = match price.aggregation {
        Some(_) => (Value::Null, json!(price.cents)),
        None => (json!(price.decimal().to_i64()), Value::Null),
    };
    let attributes = json!({
        "variant_id": document::number(&price.variant),
        "category": "subscription",
        "scheme": "standard",
        "usage_aggregation": price.aggregation,
        "unit_price": unit_price,
        "unit_price_decimal": decimal,
        "setup_fee_enabled": false,
        "setup_fee": null,
        "package_size": 1,
        "tiers": null,
        "renewal_interval_unit": price.interval.unit.word(),
        "renewal_interval_quantity": price.interval.count,
        "trial_interval_unit": null,
        "trial_interval_quantity": null,
        "min_price": null,
        "suggested_price": null,
        "tax_code": "saas",
        "created_at": document::time(price.created),
        "updated_at": document::time(price.created),
    });
    document::resource(Price::KIND, &price.id, &attributes, &["variant"])
}
