//! How a subscription begins. At Lemon Squeezy that is a checkout; here a test asks for it.

use rusqlite::Connection;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::super::books;
use super::super::periods::{Anchor, Interval, Unit};
use super::errors::ApiError;
use super::invoices::{Invoice, Reason, Status as InvoiceStatus};
use super::items::Item;
use super::prices::{Aggregation, Price};
use super::subscriptions::{Status, Subscription};
use super::{billing, new_id};
use crate::model::{MICROS_PER_DAY, Timestamp};

/// What is subscribed to, monthly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscription {
    /// Its items. At Lemon Squeezy a subscription is to one variant and so has one; more are kept here all the same.
    pub items: Vec<NewItem>,
    /// From when its periods are counted; now where left out. A later one makes a shorter first period.
    pub anchor: Option<Timestamp>,
    /// So long nothing is billed, and there are no items.
    pub trial_days: u32,
}

/// What an item costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    /// How usage is put together; `None` for one that is paid in advance.
    pub aggregation: Option<Aggregation>,
    /// Cents a unit, as `0.5`.
    pub unit_price: Decimal,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Its customer's id.
    pub customer: String,
    /// Its own id.
    pub subscription: String,
    /// Its items' ids, in their order.
    pub items: Vec<String>,
    /// Their prices' ids.
    pub prices: Vec<String>,
}

pub(super) fn subscribe(books: &Connection, order: &NewSubscription, now: i64) -> Result<Subscribed, ApiError> {
    let interval = Interval { unit: Unit::Month, count: 1 };
    let trial = i64::from(order.trial_days).saturating_mul(Timestamp::from_micros(MICROS_PER_DAY).secs());
    let begins = now.saturating_add(trial);
    let anchor = Anchor::at(order.anchor.map_or(begins, Timestamp::secs));
    let variant = new_id(books)?;
    let mut subscription = Subscription {
        id: new_id(books)?,
        created: now,
        customer: new_id(books)?,
        variant: variant.clone(),
        status: Status::Active,
        interval,
        anchor,
        period_start: now,
        period_end: anchor.next_after(interval, now),
        ends: None,
    };
    if trial > 0 {
        (subscription.status, subscription.period_end) = (Status::OnTrial, begins);
    }
    let (mut items, mut prices) = (Vec::new(), Vec::new());
    for one in &order.items {
        let (price, item) = (new_id(books)?, new_id(books)?);
        let (created, variant, cents) = (now, variant.clone(), one.unit_price.normalize().to_string());
        let aggregation = one.aggregation;
        books::put(books, &Price { id: price.clone(), created, variant, aggregation, cents, interval })?;
        let (subscription, price_id) = (subscription.id.clone(), price.clone());
        books::put(books, &Item { id: item.clone(), created: begins, subscription, price: price_id, quantity: 1 })?;
        items.push(item);
        prices.push(price);
    }
    books::put(books, &subscription)?;
    if trial == 0 {
        initial_invoice(books, &subscription)?;
    }
    Ok(Subscribed { customer: subscription.customer, subscription: subscription.id, items, prices })
}

fn initial_invoice(books: &Connection, subscription: &Subscription) -> Result<(), ApiError> {
    let invoice = Invoice {
        id: new_id(books)?,
        created: subscription.created,
        customer: subscription.customer.clone(),
        subscription: subscription.id.clone(),
        reason: Reason::Initial,
        status: InvoiceStatus::Paid,
        total: billing::in_advance(books, subscription, subscription.created)?,
    };
    Ok(books::put(books, &invoice)?)
}

/// Gives an item another price from now on. The usage of its current period stays on it.
pub(super) fn reprice(books: &Connection, item: &str, to: &NewItem, now: i64) -> Result<String, ApiError> {
    let mut item: Item = books::find(books, item)?.ok_or_else(ApiError::not_found)?;
    let old: Price = books::find(books, &item.price)?.ok_or_else(ApiError::not_found)?;
    let id = new_id(books)?;
    let (aggregation, cents) = (to.aggregation, to.unit_price.normalize().to_string());
    books::put(books, &Price { id: id.clone(), created: now, aggregation, cents, ..old })?;
    item.price.clone_from(&id);
    books::put(books, &item)?;
    Ok(id)
}
