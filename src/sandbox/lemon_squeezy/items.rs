//! Subscription items, and what stands on them in the current period.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::books::{self, Record};
use super::super::lines::Stretch;
use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;
use super::prices::{self, Price};
use super::subscriptions::{Status, Subscription};
use super::usage_records;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) id: String,
    /// Its subscription's trial, where there is one, ends first: there are no items before.
    pub(super) created: i64,
    pub(super) subscription: String,
    pub(super) price: String,
    /// Of a price that is paid in advance.
    pub(super) quantity: i64,
}

impl Record for Item {
    const KIND: &'static str = "subscription-items";
    const NOUN: &'static str = "subscription item";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.subscription)
    }
}

const RELATED: [&str; 3] = ["subscription", "price", "usage-records"];

/// The items that a subscription has by now, oldest first.
pub(super) fn of_subscription(books: &Connection, subscription: &str, now: i64) -> Result<Vec<Item>, ApiError> {
    let items: Vec<Item> = books::all(books, Some(subscription))?;
    Ok(items.into_iter().filter(|item| item.created <= now).collect())
}

/// The item, if there is one by now.
pub(super) fn find(books: &Connection, id: &str, now: i64) -> Result<Option<Item>, ApiError> {
    Ok(books::find(books, id)?.filter(|item: &Item| item.created <= now))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["include"])?;
    let item = find(call.books, call.id, call.now)?.ok_or_else(ApiError::not_found)?;
    Ok(document::one(call, shown(call, &item)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["filter[subscription_id]", "filter[price_id]", "page[number]", "page[size]", "include"])?;
    let items: Vec<Item> = books::all(call.books, call.query.text("filter[subscription_id]"))?;
    let price = call.query.text("filter[price_id]");
    let fits = |item: &&Item| item.created <= call.now && price.is_none_or(|price| item.price == price);
    let shown = items.iter().filter(fits).map(|item| shown(call, item)).collect::<Result<_, _>>()?;
    document::page(call, Item::KIND, shown)
}

/// `GET /v1/subscription-items/{id}/current-usage`. Times have an offset here, and no fraction.
pub(super) fn current_usage(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    let item = find(call.books, call.id, call.now)?.ok_or_else(ApiError::not_found)?;
    let price = prices::get(call.books, &item.price)?;
    let Some(aggregation) = price.aggregation else { return Err(ApiError::not_usage_based()) };
    let subscription: Subscription = books::find(call.books, &item.subscription)?.ok_or_else(ApiError::not_found)?;
    if subscription.status == Status::Expired {
        return Err(ApiError::not_found());
    }
    let period = subscription.period();
    let quantity = usage_records::total(call.books, &item.id, aggregation, call.behaviour, period)?;
    let time = |secs| chrono::DateTime::from_timestamp(secs, 0).unwrap_or_default().to_rfc3339();
    let Stretch { start, end } = period;
    Ok(json!({
        "jsonapi": { "version": "1.0" },
        "meta": {
            "period_start": time(start),
            "period_end": time(end),
            "quantity": quantity,
            "interval_unit": price.interval.unit.word(),
            "interval_quantity": price.interval.count,
        },
    }))
}

fn shown(call: &Call<'_>, item: &Item) -> Result<Shown, ApiError> {
    let price = prices::get(call.books, &item.price)?;
    let asked = call.query.include(&["price"], &RELATED)?;
    let with = if asked.is_empty() { Vec::new() } else { vec![prices::render(&price)] };
    Ok(Shown { resource: render(item, &price), with })
}

/// As it is shown alone.
pub(super) fn render(item: &Item, price: &Price) -> Value {
    document::resource(Item::KIND, &item.id, &attributes(item, price), &RELATED)
}

/// As `first_subscription_item` shows it.
pub(super) fn render_inside(item: &Item, price: &Price) -> Value {
    let mut attributes = attributes(item, price);
    if let Some(fields) = attributes.as_object_mut() {
        fields.insert("id".to_owned(), document::number(&item.id));
    }
    attributes
}

fn attributes(item: &Item, price: &Price) -> Value {
    json!({
        "subscription_id": document::number(&item.subscription),
        "price_id": document::number(&item.price),
        "quantity": if price.aggregation.is_some() { 0 } else { item.quantity },
        "is_usage_based": price.aggregation.is_some(),
        "created_at": document::time(item.created),
        "updated_at": document::time(item.created),
    })
}
