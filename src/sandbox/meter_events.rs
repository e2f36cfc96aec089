//! Meter events as they arrive, and their cancelling. What they come to is in `meter_totals.rs`.
//!
//! An event is accepted by its own form. Whose it is is found out later at Stripe, so one of an unknown customer is
//! accepted, counts nowhere, and is noted in `meter_errors.rs`. `timestamp` is of the customer's time, which may be a test
//! clock's; when an event came, was cancelled, and is forgotten is of the sandbox's.

use rusqlite::{Connection, OptionalExtension, params};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::behaviour::{self, Behaviour};
use super::books;
use super::call::Call;
use super::customers::Customer;
use super::errors::ApiError;
use super::form::Form;
use super::meter_errors::{self, Code};
use super::meters::{self, Meter};

// <https://docs.stripe.com/api/billing/meter-event/create>
/// An event may be so old, seconds.
const OLDEST: i64 = 35 * 86_400;
/// An event may lie so far ahead, seconds.
const AHEAD: i64 = 300;
/// An identifier is good for one event within this time, seconds; within it the event can be cancelled.
const REMEMBERED: i64 = 86_400;
/// The longest name and identifier, in characters.
const TEXT_MAX: usize = 100;
/// A value has so many digits at most.
const DIGITS_MAX: usize = 15;

/// Sets an object's name apart from any idempotency key, which cannot hold a line's end.
const OBJECT: &str = "customer and meter\n";

/// `POST /v1/billing/meter_events`.
pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["event_name", "identifier", "payload[*]", "timestamp"])?;
    let event_name = form.at_most("event_name", TEXT_MAX)?;
    let identifier = match form.text("identifier")? {
        Some(_) => form.at_most("identifier", TEXT_MAX)?.to_owned(),
        None => books::new_id(""),
    };
    if !form.has("payload") {
        return Err(ApiError::missing("payload"));
    }
    let timestamp = form.natural("timestamp")?.unwrap_or(call.now);
    refuse_timestamp(timestamp, call.now)?;
    let meter = meters::active(call.books, event_name)?.ok_or_else(|| no_meter(event_name))?;
    let customer = payload(form, &meter.customer_key)?;
    let value = value(form, &meter, behaviour::of(call.books)?)?;
    refuse_repeated(call, &identifier)?;
    call.books.execute(
        "INSERT INTO meter_events (identifier, meter, customer, value, timestamp, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![identifier, meter.id, customer, value.to_string(), timestamp, call.sandbox_now],
    )?;
    note_unknown_customer(call, &meter, customer, &identifier)?;
    let payload: Map<String, Value> =
        form.map("payload").into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(json!({
        "object": "billing.meter_event",
        "created": call.sandbox_now,
        "event_name": event_name,
        "identifier": identifier,
        "livemode": false,
        "payload": payload,
        "timestamp": timestamp,
    }))
}

/// `POST /v1/billing/meter_event_adjustments`.
pub(super) fn adjust(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["cancel[identifier]", "event_name", "type"])?;
    form.word("type", &["cancel"])?.ok_or_else(|| ApiError::missing("type"))?;
    let event_name = form.at_most("event_name", TEXT_MAX)?;
    let identifier = form.required("cancel[identifier]")?;
    let meter = meters::active(call.books, event_name)?.ok_or_else(|| no_meter(event_name))?;
    let sql = "SELECT seq, created, cancelled FROM meter_events WHERE identifier = ?1 AND meter = ?2
               ORDER BY seq DESC LIMIT 1";
    let found = call.books.query_row(sql, params![identifier, meter.id], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
    });
    let refused = |message: String| Err(ApiError::refused_at("cancel[identifier]", message));
    let seq = match found.optional()? {
        None => return refused(format!("No event exists with identifier {identifier}.")),
        Some((_, _, Some(_))) => {
            return refused(format!("The event with identifier {identifier} is already cancelled."));
        }
        Some((_, created, None)) if created <= call.sandbox_now.saturating_sub(REMEMBERED) => {
            return refused(format!(
                "The event with identifier {identifier} cannot be cancelled because it is older than 24 hours."
            ));
        }
        Some((seq, _, None)) => seq,
    };
    call.books.execute("UPDATE meter_events SET cancelled = ?1 WHERE seq = ?2", params![call.sandbox_now, seq])?;
    Ok(json!({
        "object": "billing.meter_event_adjustment",
        "cancel": { "identifier": identifier },
        "event_name": event_name,
        "livemode": false,
        "status": "pending",
        "type": "cancel",
    }))
}

/// What only one request may work on at a time: the customer on the meter that an event is for.
/// <https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api>
pub(super) fn object(books: &Connection, form: &Form) -> Result<Option<String>, ApiError> {
    let Some(meter) = form.raw("event_name").map(|name| meters::active(books, name)).transpose()?.flatten() else {
        return Ok(None);
    };
    let customer = form.raw(&format!("payload[{}]", meter.customer_key));
    Ok(customer.map(|customer| format!("{OBJECT}{} {customer}", meter.id)))
}

fn no_meter(event_name: &str) -> ApiError {
    ApiError::refused(format!("No active meter found for event name \"{event_name}\""))
}

fn refuse_timestamp(timestamp: i64, now: i64) -> Result<(), ApiError> {
    let message = if timestamp < now.saturating_sub(OLDEST) {
        "The timestamp must be within the past 35 calendar days."
    } else if timestamp > now.saturating_add(AHEAD) {
        "The timestamp must be within 5 minutes in the future."
    } else {
        return Ok(());
    };
    Err(ApiError::refused_at("timestamp", message))
}

/// What the payload holds under a name that the meter asks for.
fn payload<'a>(form: &'a Form, key: &str) -> Result<&'a str, ApiError> {
    let name = format!("payload[{key}]");
    let missing = || ApiError::refused_at("payload", format!("The payload is missing the key '{key}'."));
    form.raw(&name).filter(|text| !text.is_empty()).ok_or_else(missing)
}

/// The number that the payload holds. A meter that counts asks for none, but takes what is there.
fn value(form: &Form, meter: &Meter, behaviour: Behaviour) -> Result<Decimal, ApiError> {
    if meter.formula == meters::Formula::Count && form.raw(&format!("payload[{}]", meter.value_key)).is_none() {
        return Ok(Decimal::ONE);
    }
    let text = payload(form, &meter.value_key)?;
    let refused = |why: &str| {
        let message = format!("Invalid value for payload key '{}': {text}; {why}.", meter.value_key);
        Err(ApiError::refused_at("payload", message))
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_number(whole) && (is_number(places) || !digits.contains('.'));
    let parsed = Decimal::from_str_exact(text).ok().filter(|_| is_plain);
    if whole.trim_start_matches('0').len().saturating_add(places.len()) > DIGITS_MAX {
        return refused("must have at most 15 significant digits");
    }
    let Some(value) = parsed else { return refused("must be a number") };
    if !behaviour.decimal_values && !places.is_empty() {
        return refused("must be a whole number");
    }
    if !behaviour.negative_values && value < Decimal::ZERO {
        return refused("must be greater than or equal to 0");
    }
    Ok(value)
}

fn refuse_repeated(call: &Call<'_>, identifier: &str) -> Result<(), ApiError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM meter_events WHERE identifier = ?1 AND created > ?2)";
    let since = call.sandbox_now.saturating_sub(REMEMBERED);
    let is_known: bool = call.books.query_row(sql, params![identifier, since], |row| row.get(0))?;
    if !is_known {
        return Ok(());
    }
    Err(ApiError::refused(format!("An event already exists with identifier {identifier}.")).not_again())
}

fn note_unknown_customer(call: &Call<'_>, meter: &Meter, customer: &str, identifier: &str) -> Result<(), ApiError> {
    if books::find::<Customer>(call.books, customer)?.is_some() {
        return Ok(());
    }
    let code = Code::MeterEventCustomerNotFound;
    meter_errors::note(call.books, Some(&meter.id), identifier, call.key, code, call.sandbox_now)
}
