//! What a customer's events on a meter come to, and the summaries that show it.
//!
//! Stretches are half-open here, as Stripe documents it for summaries: an event at the start is in, one at the end is
//! not. Invoices read the same totals, so their periods are half-open as well.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};

use super::behaviour::{self, Behaviour, Newest};
use super::books;
use super::call::Call;
use super::customers::Customer;
use super::errors::ApiError;
use super::lines::Stretch;
use super::lists;
use super::meters::{Formula, Meter, Window};

/// Summaries begin and end on whole minutes.
const MINUTE: i64 = 60;

/// An event that counts.
struct Event {
    /// The order of arrival.
    seq: i64,
    timestamp: i64,
    value: Decimal,
}

impl Event {
    /// Its place in an order in which the newest comes last.
    const fn age(&self, newest: Newest) -> (i64, i64) {
        match newest {
            Newest::Timestamp => (self.timestamp, self.seq),
            Newest::Arrival => (self.seq, 0),
        }
    }
}

/// What a customer used on a meter within a stretch of time, as everything known by now tells. `None` without events.
pub(super) fn total(
    books: &Connection,
    meter: &Meter,
    customer: &str,
    within: Stretch,
) -> Result<Option<Decimal>, ApiError> {
    let events = events(books, meter, customer, within, i64::MAX)?;
    Ok(aggregate(meter, &events, behaviour::of(books)?))
}

/// As [`total`], as far as summaries and previews have come.
pub(super) fn seen(
    books: &Connection,
    meter: &Meter,
    customer: &str,
    within: Stretch,
    now: i64,
) -> Result<Option<Decimal>, ApiError> {
    let behaviour = behaviour::of(books)?;
    let events = events(books, meter, customer, within, now.saturating_sub(behaviour.summary_lag_s))?;
    Ok(aggregate(meter, &events, behaviour))
}

/// What an invoice bills of it: nothing rather than less. As far as previews have come by `seen_at`, else all.
/// <https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api>
pub(super) fn billed(
    books: &Connection,
    meter: &str,
    customer: &str,
    within: Stretch,
    seen_at: Option<i64>,
) -> Result<Decimal, ApiError> {
    let meter: Meter = books::get(books, meter)?;
    let used = match seen_at {
        Some(now) => seen(books, &meter, customer, within, now)?,
        None => total(books, &meter, customer, within)?,
    };
    Ok(used.unwrap_or_default().max(Decimal::ZERO))
}

/// The events within a stretch that were there at a moment, and not cancelled by then.
fn events(
    books: &Connection,
    meter: &Meter,
    customer: &str,
    within: Stretch,
    known: i64,
) -> Result<Vec<Event>, ApiError> {
    if books::find::<Customer>(books, customer)?.is_none() {
        return Ok(Vec::new());
    }
    let sql = "SELECT seq, timestamp, value FROM meter_events
               WHERE meter = ?1 AND customer = ?2 AND timestamp >= ?3 AND timestamp < ?4
                 AND created <= ?5 AND (cancelled IS NULL OR cancelled > ?5)";
    let mut statement = books.prepare(sql)?;
    let rows = statement.query_map(params![meter.id, customer, within.start, within.end, known], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
    })?;
    let events = rows.map(|row| {
        let (seq, timestamp, value) = row?;
        let value = Decimal::from_str_exact(&value).unwrap_or_default();
        Ok(Event { seq, timestamp, value })
    });
    events.collect()
}

/// Where the meter has a window, the newest event of each stands for all of it; then the formula.
fn aggregate(meter: &Meter, events: &[Event], behaviour: Behaviour) -> Option<Decimal> {
    let mut standing: Vec<&Event> = events.iter().collect();
    if let Some(window) = meter.window {
        let mut newest: BTreeMap<i64, &Event> = BTreeMap::new();
        for event in events {
            let kept = newest.entry(event.timestamp.div_euclid(window.secs())).or_insert(event);
            if event.age(behaviour.window) > kept.age(behaviour.window) {
                *kept = event;
            }
        }
        standing = newest.into_values().collect();
    }
    let last = standing.iter().max_by_key(|event| event.age(behaviour.last))?;
    Some(match meter.formula {
        Formula::Sum => standing.iter().fold(Decimal::ZERO, |sum, event| sum.saturating_add(event.value)),
        Formula::Count => Decimal::from(standing.len()),
        Formula::Last => last.value,
    })
}

/// `GET /v1/billing/meters/{id}/event_summaries`.
pub(super) fn list_summaries(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&[
        "customer",
        "start_time",
        "end_time",
        "value_grouping_window",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let meter: Meter = books::get(call.books, call.id)?;
    let customer = form.required("customer")?;
    let time = |name: &str| form.natural(name)?.ok_or_else(|| ApiError::missing(name));
    let asked = Stretch { start: time("start_time")?, end: time("end_time")? };
    let grouping = form.word("value_grouping_window", &["day", "hour"])?.map(Window::from_word);
    refuse_unaligned(asked, grouping)?;
    let customer = books::get_at::<Customer>(call.books, "customer", customer)?.id;
    let mut rendered = Vec::new();
    for window in windows(call, &meter, &customer, asked, grouping)? {
        if let Some(value) = seen(call.books, &meter, &customer, window, call.sandbox_now)? {
            rendered.push(render(&meter, &customer, window, value));
        }
    }
    lists::newest_first(call, &format!("/v1/billing/meters/{}/event_summaries", meter.id), rendered)
}

fn refuse_unaligned(asked: Stretch, grouping: Option<Window>) -> Result<(), ApiError> {
    let (unit, name) = match grouping {
        None => (MINUTE, "minute"),
        Some(Window::Hour) => (Window::Hour.secs(), "hour"),
        Some(Window::Day) => (Window::Day.secs(), "UTC day"),
    };
    for (param, at) in [("start_time", asked.start), ("end_time", asked.end)] {
        if at.rem_euclid(unit) != 0 {
            return Err(ApiError::uncoded(param, format!("`{param}` must be aligned with {name} boundaries.")));
        }
    }
    if asked.start >= asked.end {
        return Err(ApiError::uncoded("end_time", "`end_time` must be after `start_time`."));
    }
    Ok(())
}

/// The stretches that get a summary of their own, newest first; only those with events where they are many.
fn windows(
    call: &Call<'_>,
    meter: &Meter,
    customer: &str,
    asked: Stretch,
    grouping: Option<Window>,
) -> Result<Vec<Stretch>, ApiError> {
    let Some(grouping) = grouping else { return Ok(vec![asked]) };
    let sql = "SELECT DISTINCT timestamp / ?5 FROM meter_events
               WHERE meter = ?1 AND customer = ?2 AND timestamp >= ?3 AND timestamp < ?4 ORDER BY 1 DESC";
    let mut statement = call.books.prepare(sql)?;
    let secs = grouping.secs();
    let starts = statement.query_map(params![meter.id, customer, asked.start, asked.end, secs], |row| {
        let start = row.get::<_, i64>(0)?.saturating_mul(secs);
        Ok(Stretch { start, end: start.saturating_add(secs) })
    })?;
    Ok(starts.collect::<Result<_, _>>()?)
}

fn render(meter: &Meter, customer: &str, window: Stretch, value: Decimal) -> Value {
    let of = meter.id.trim_start_matches("mtr_test_");
    let whose = customer.trim_start_matches("cus_");
    json!({
        "id": format!("mtrusg_test_{of}{whose}{:x}{:x}", window.start, window.end),
        "object": "billing.meter_event_summary",
        // The one place where Stripe shows a quantity as a float.
        "aggregated_value": value.to_f64(),
        "end_time": window.end,
        "livemode": false,
        "meter": meter.id,
        "start_time": window.start,
    })
}
