//! Usage records and their summaries: one value per item and timestamp, added up when they are read.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::books;
use super::call::Call;
use super::errors::ApiError;
use super::item_periods;
use super::items::{self, Item};
use super::lines::{self, Line, Stretch};
use super::lists;
use super::prices::{Aggregate, Price, Usage};
use super::subscriptions::Subscription;

/// Clock drift that Stripe lets pass, seconds.
const AHEAD: i64 = 300;

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["quantity", "action", "timestamp"])?;
    let quantity = form.natural("quantity")?.ok_or_else(|| ApiError::missing("quantity"))?;
    let is_set = form.word("action", &["increment", "set"])? == Some("set");
    let timestamp = match form.raw("timestamp") {
        None | Some("now") => call.now,
        Some(_) => form.natural("timestamp")?.unwrap_or(call.now),
    };
    let item: Item = books::get(call.books, call.id)?;
    let subscription = item_periods::subscription_of(call.books, &item)?;
    let price: Price = books::get(call.books, &item.price)?;
    refuse_item(&item, &subscription, &price)?;
    if is_set && subscription.threshold.is_some() {
        let message = "Usage records on a subscription with billing_thresholds can only use action=increment.";
        return Err(ApiError::refused_at("action", message));
    }
    let period = item.counts_within(subscription.period());
    refuse_timestamp(timestamp, period, call.now)?;
    store(call.books, &item, timestamp, quantity, is_set)?;
    // A total or an amount that cannot be written down is refused here, not found out when the period is invoiced.
    let total = total(call.books, &item, &price, period).map_err(|_| too_large())?;
    lines::amount(&price, total, 1, 1)?;
    Ok(json!({
        "id": books::new_id("mbur_"),
        "object": "usage_record",
        "livemode": false,
        "quantity": quantity,
        "subscription_item": item.id,
        "timestamp": timestamp,
    }))
}

fn refuse_item(item: &Item, subscription: &Subscription, price: &Price) -> Result<(), ApiError> {
    if item.removed {
        let id = &item.id;
        let message =
            format!("Cannot create a usage record for '{id}' because the subscription item is no longer active.");
        return Err(ApiError::refused(message));
    }
    if subscription.status.is_over() {
        return Err(ApiError::refused("Cannot create the usage record because the subscription has been canceled."));
    }
    match price.usage() {
        Usage::Metered(_) => Ok(()),
        Usage::OnMeter(_) => Err(ApiError::refused(format!(
            "Cannot create a usage record for `{}` because it is not on the legacy metered billing system. Call \
             /v1/billing/meter_events instead.",
            item.id
        ))),
        Usage::Licensed => Err(ApiError::refused(format!(
            "Cannot create a usage record for '{}' because it is not on a metered plan. Usage records can only be \
             created for prices with usage_type=metered.",
            item.id
        ))),
    }
}

fn refuse_timestamp(timestamp: i64, period: Stretch, now: i64) -> Result<(), ApiError> {
    if timestamp <= period.start {
        let message = "Cannot create the usage record with this timestamp because timestamps must be after the \
                       subscription's last invoice period (or current period start time).";
        return Err(ApiError::refused_at("timestamp", message));
    }
    if timestamp > now.saturating_add(AHEAD) || timestamp > period.end {
        let message = "Cannot create the usage record with this timestamp because timestamps must be before the \
                       current period ends and not in the future (plus five-minutes of flexibility for clock drift).";
        return Err(ApiError::refused_at("timestamp", message));
    }
    Ok(())
}

fn store(books: &Connection, item: &Item, timestamp: i64, quantity: i64, is_set: bool) -> Result<(), ApiError> {
    let sql = "SELECT quantity FROM usage_records WHERE item = ?1 AND timestamp = ?2";
    let old: Option<i64> = books.query_row(sql, params![item.id, timestamp], |row| row.get(0)).optional()?;
    let new = if is_set { quantity } else { old.unwrap_or(0).checked_add(quantity).ok_or_else(too_large)? };
    let sql = "INSERT OR REPLACE INTO usage_records (item, timestamp, quantity) VALUES (?1, ?2, ?3)";
    books.execute(sql, params![item.id, timestamp, new])?;
    Ok(())
}

fn too_large() -> ApiError {
    ApiError::refused_at("quantity", "The resulting quantity is too large.")
}

/// The total of a period, start-exclusive and end-inclusive, by the price's aggregation.
pub(super) fn total(books: &Connection, item: &Item, price: &Price, period: Stretch) -> Result<i64, ApiError> {
    let Usage::Metered(aggregate) = price.usage() else { return Ok(0) };
    let inside = "item = ?1 AND timestamp > ?2 AND timestamp <= ?3";
    // SQLite's sum() fails on overflow instead of wrapping; that failure is then the caller's answer.
    let sql = match aggregate {
        Aggregate::Sum => format!("SELECT coalesce(sum(quantity), 0) FROM usage_records WHERE {inside}"),
        Aggregate::Max => format!("SELECT coalesce(max(quantity), 0) FROM usage_records WHERE {inside}"),
        Aggregate::LastDuringPeriod => {
            format!("SELECT quantity FROM usage_records WHERE {inside} ORDER BY timestamp DESC LIMIT 1")
        }
        Aggregate::LastEver => {
            "SELECT quantity FROM usage_records WHERE item = ?1 AND ?2 IS NOT NULL AND timestamp <= ?3
             ORDER BY timestamp DESC LIMIT 1"
                .to_owned()
        }
    };
    let mut statement = books.prepare(&sql)?;
    let total = statement.query_row(params![item.id, period.start, period.end], |row| row.get(0)).optional()?;
    Ok(total.unwrap_or(0))
}

/// Whether anything but zero stands on an item in a stretch of time.
pub(super) fn has_usage(books: &Connection, item: &Item, period: Stretch) -> Result<bool, ApiError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM usage_records WHERE item = ?1 AND timestamp > ?2 AND quantity > 0)";
    Ok(books.query_row(sql, params![item.id, period.start], |row| row.get(0))?)
}

/// Forgets the usage of the open period.
pub(super) fn clear(books: &Connection, item: &Item, period: Stretch) -> Result<(), ApiError> {
    books.execute("DELETE FROM usage_records WHERE item = ?1 AND timestamp > ?2", params![item.id, period.start])?;
    Ok(())
}

/// Notes what a line billed, where usage records made it.
pub(super) fn close(books: &Connection, line: &Line, invoice: &str) -> Result<(), ApiError> {
    if !line.is_of_usage_records() {
        return Ok(());
    }
    let period = line.period();
    books.execute(
        "INSERT OR REPLACE INTO item_periods (item, start, end, total, invoice) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![line.item, period.start, period.end, line.quantity, invoice],
    )?;
    Ok(())
}

/// An invoice that was promised will never be made.
pub(super) fn take_back(books: &Connection, invoice: &str) -> Result<(), ApiError> {
    books.execute("UPDATE item_periods SET invoice = NULL WHERE invoice = ?1", [invoice])?;
    Ok(())
}

/// One period's total on one item.
pub(super) struct Summary {
    pub(super) period: Stretch,
    pub(super) total: i64,
    pub(super) invoice: Option<String>,
}

/// Every period's total, newest first; the first is the open one, where there is one.
pub(super) fn summaries(books: &Connection, item: &Item) -> Result<Vec<Summary>, ApiError> {
    let subscription = item_periods::subscription_of(books, item)?;
    let price: Price = books::get(books, &item.price)?;
    let mut found = Vec::new();
    if !subscription.status.is_over() && !item.removed {
        let period = item.counts_within(subscription.period());
        found.push(Summary { period, total: total(books, item, &price, period)?, invoice: None });
    }
    let sql = "SELECT start, end, total, invoice FROM item_periods WHERE item = ?1 ORDER BY start DESC";
    let mut statement = books.prepare(sql)?;
    let closed = statement.query_map([&item.id], |row| {
        let period = Stretch { start: row.get(0)?, end: row.get(1)? };
        Ok(Summary { period, total: row.get(2)?, invoice: row.get(3)? })
    })?;
    for summary in closed {
        found.push(summary?);
    }
    Ok(found)
}

pub(super) fn list_summaries(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["limit", "starting_after", "ending_before"])?;
    let item: Item = items::get(call.books, call.id)?;
    let price: Price = books::get(call.books, &item.price)?;
    if !matches!(price.usage(), Usage::Metered(_)) {
        let message =
            format!("Cannot list usage record summaries for '{}' because it is not on a metered plan.", item.id);
        return Err(ApiError::refused(message));
    }
    let suffix = item.id.trim_start_matches("si_");
    let rendered = summaries(call.books, &item)?.into_iter().map(|summary| {
        json!({
            "id": format!("sis_{suffix}{}", summary.period.start),
            "object": "usage_record_summary",
            "invoice": summary.invoice,
            "livemode": false,
            "period": { "end": summary.period.end, "start": summary.period.start },
            "subscription_item": item.id,
            "total_usage": summary.total,
        })
    });
    let url = format!("/v1/subscription_items/{}/usage_record_summaries", item.id);
    lists::newest_first(call, &url, rendered.collect())
}
