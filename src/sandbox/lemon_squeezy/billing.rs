//! What time does: periods end and are invoiced, trials and cancelled subscriptions end, stragglers arrive.
//!
//! As at the Stripe sandbox nothing runs in the background: every request first catches up with the clock, in the
//! order in which things were due.

use rusqlite::{Connection, params};

use super::super::books::{self, Record};
use super::super::lines::Stretch;
use super::behaviour::{self, LastUsage};
use super::errors::ApiError;
use super::invoices::{Invoice, Reason, Status as InvoiceStatus};
use super::straggler::{self, Straggler};
use super::subscriptions::{self, Status, Subscription};
use super::{ItemTotal, events, items, new_id, prices, usage_records};
use crate::model::Timestamp;

/// Does everything that was due by now.
pub(super) fn catch_up(books: &Connection, now: i64) -> Result<(), ApiError> {
    while let Some((kind, id, due)) = books::first_due(books, None, now)? {
        if kind == Straggler::KIND {
            let straggler = books::find(books, &id)?.ok_or_else(ApiError::not_found)?;
            straggler::arrive(books, straggler, due)?;
        } else {
            end_period(books, subscriptions::get(books, &id)?)?;
        }
        events::tell(books, due)?;
    }
    Ok(())
}

fn end_period(books: &Connection, mut subscription: Subscription) -> Result<(), ApiError> {
    let ended = subscription.period();
    let was = subscription.status;
    let goes_on = was != Status::Cancelled;
    let start = if was == Status::OnTrial { Reason::Initial } else { Reason::Renewal };
    let mut invoice = Invoice {
        id: new_id(books)?,
        created: ended.end,
        customer: subscription.customer.clone(),
        subscription: subscription.id.clone(),
        reason: start,
        status: match was {
            Status::OnTrial | Status::Active | Status::Cancelled | Status::Expired => InvoiceStatus::Paid,
            Status::Paused => InvoiceStatus::Void,
            Status::PastDue | Status::Unpaid => InvoiceStatus::Pending,
        },
        total: 0,
    };
    if was != Status::OnTrial {
        invoice.total = in_arrears(books, &subscription, ended, &invoice.id)?;
    }
    if goes_on {
        invoice.total = invoice.total.saturating_add(in_advance(books, &subscription, ended.end)?);
        let next = subscription.anchor.next_after(subscription.interval, ended.end);
        (subscription.period_start, subscription.period_end) = (ended.end, next);
        if was == Status::OnTrial {
            subscription.status = Status::Active;
        }
    } else {
        subscription.status = Status::Expired;
    }
    books::put(books, &subscription)?;
    if goes_on || invoice.total > 0 {
        books::put(books, &invoice)?;
    }
    Ok(())
}

/// What the usage of an ended period costs, cents. Its totals are noted.
fn in_arrears(books: &Connection, subscription: &Subscription, ended: Stretch, invoice: &str) -> Result<i64, ApiError> {
    let behaviour = behaviour::of(books)?;
    let dropped = subscription.status == Status::Cancelled && behaviour.last_usage == LastUsage::Dropped;
    let mut sum = 0_i64;
    for item in items::of_subscription(books, &subscription.id, ended.start)? {
        let price = prices::get(books, &item.price)?;
        let Some(aggregation) = price.aggregation else { continue };
        let total = usage_records::total(books, &item.id, aggregation, behaviour, ended)?;
        sum = sum.saturating_add(price.amount(total).unwrap_or(i64::MAX));
        let invoice = (!dropped).then_some(invoice);
        books.execute(
            "INSERT OR REPLACE INTO item_periods (item, start, end, total, invoice) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![item.id, ended.start, ended.end, total, invoice],
        )?;
    }
    Ok(if dropped { 0 } else { sum })
}

/// What a period costs that begins now, cents: the items that usage does not decide.
pub(super) fn in_advance(books: &Connection, subscription: &Subscription, start: i64) -> Result<i64, ApiError> {
    let mut sum = 0_i64;
    for item in items::of_subscription(books, &subscription.id, start)? {
        let price = prices::get(books, &item.price)?;
        if price.aggregation.is_none() {
            sum = sum.saturating_add(price.amount(item.quantity).unwrap_or(i64::MAX));
        }
    }
    Ok(sum)
}

/// Every period's total on an item, newest first; the first is the open one, where there is one.
pub(super) fn totals(books: &Connection, item: &str, now: i64) -> Result<Vec<ItemTotal>, ApiError> {
    let item = items::find(books, item, now)?.ok_or_else(ApiError::not_found)?;
    let subscription = subscriptions::get(books, &item.subscription)?;
    let price = prices::get(books, &item.price)?;
    let Some(aggregation) = price.aggregation else { return Err(ApiError::not_usage_based()) };
    let shown = |period: Stretch, total: i64, invoice: Option<String>| ItemTotal {
        from: Timestamp::from_secs(period.start),
        to: Timestamp::from_secs(period.end),
        total,
        invoice,
    };
    let mut found = Vec::new();
    if subscription.status != Status::Expired {
        let period = subscription.period();
        let total = usage_records::total(books, &item.id, aggregation, behaviour::of(books)?, period)?;
        found.push(shown(period, total, None));
    }
    let sql = "SELECT start, end, total, invoice FROM item_periods WHERE item = ?1 ORDER BY start DESC";
    let mut statement = books.prepare(sql)?;
    let closed = statement.query_map([&item.id], |row| {
        Ok(shown(Stretch { start: row.get(0)?, end: row.get(1)? }, row.get(2)?, row.get(3)?))
    })?;
    for total in closed {
        found.push(total?);
    }
    Ok(found)
}
