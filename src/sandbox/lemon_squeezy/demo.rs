//! The one customer of the demo.

use std::collections::BTreeMap;

use chrono::{Datelike, Months, NaiveTime};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::super::{SandboxError, books};
use super::LemonSqueezy;
use super::errors::ApiError;
use super::prices::Aggregation;
use super::subscribe::{self, NewItem, NewSubscription};
use crate::model::Timestamp;

/// What the demo is made of. The same after every restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LemonSqueezyDemo {
    /// A key. At Lemon Squeezy every key may do everything.
    pub key: String,
    /// The customer's id.
    pub customer: String,
    /// The subscription's id.
    pub subscription: String,
    /// Of compute overage.
    pub item_compute: String,
    /// Of API overage.
    pub item_api: String,
    /// Price ids by what they are for: `compute_hours`, `api_credits`.
    pub prices: BTreeMap<String, String>,
}

const KEY: &str = "sandbox.usaged.DemoLemonSqueezyAgent";

/// Creates a customer and its subscription with a compute and an API item, both usage-based, in one transaction; or finds
/// what an earlier call created. The subscription's periods end on the first of each month, 00:00 UTC; its first one
/// begins when it is created.
///
/// # Errors
/// The books cannot be written.
pub fn seed_lemon_squeezy_demo(sandbox: &LemonSqueezy) -> Result<LemonSqueezyDemo, SandboxError> {
    sandbox.0.within(|tx, now| {
        if let Some(demo) = books::recall(tx, "demo")? {
            return Ok(demo);
        }
        let demo = seed(tx, now)?;
        books::remember(tx, "demo", &demo)?;
        Ok(demo)
    })
}

fn seed(tx: &rusqlite::Connection, now: i64) -> Result<LemonSqueezyDemo, ApiError> {
    // The aggregation that `set` is documented for.
    let item =
        |cents: i64| NewItem { aggregation: Some(Aggregation::LastDuringPeriod), unit_price: Decimal::from(cents) };
    let order = NewSubscription { items: vec![item(4), item(1)], anchor: Some(next_first(now)), trial_days: 0 };
    let made = subscribe::subscribe(tx, &order, now)?;
    let of = |ids: &[String], index: usize| ids.get(index).cloned().unwrap_or_default();
    let prices = [("compute_hours", of(&made.prices, 0)), ("api_credits", of(&made.prices, 1))];
    Ok(LemonSqueezyDemo {
        key: KEY.to_owned(),
        item_compute: of(&made.items, 0),
        item_api: of(&made.items, 1),
        customer: made.customer,
        subscription: made.subscription,
        prices: prices.map(|(name, id)| (name.to_owned(), id)).into(),
    })
}

/// The next first of a month, 00:00 UTC.
fn next_first(now: i64) -> Timestamp {
    let date = chrono::DateTime::from_timestamp(now, 0).unwrap_or_default().date_naive();
    let first = date.with_day(1).and_then(|first| first.checked_add_months(Months::new(1))).unwrap_or(date);
    Timestamp::from_secs(first.and_time(NaiveTime::MIN).and_utc().timestamp())
}
