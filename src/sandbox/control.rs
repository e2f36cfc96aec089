//! `/_sandbox/…`: the sandbox's own controls, in JSON, for tests that are not written in Rust. Not Stripe's; no key.

use serde::Deserialize;
use serde_json::{Value, json};

use super::account::{self, Account};
use super::clock::Setting;
use super::exchange::{Reply, Request};
use super::faults::Fault;
use super::limits::Limits;
use super::{Inner, SandboxError, auth, meter_errors};
use crate::model::Timestamp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOrder {
    /// Unix seconds to go to.
    set: Option<i64>,
    /// Seconds to go on by.
    advance: Option<i64>,
    /// Whether to stand still from then on.
    frozen: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyOrder {
    key: String,
    permissions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeterErrorOrder {
    /// `mtr_…`; none where there was no meter for the event.
    #[serde(default)]
    meter: Option<String>,
    /// The event's.
    identifier: String,
    /// The request's.
    #[serde(default)]
    idempotency_key: Option<String>,
    code: meter_errors::Code,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitOrder {
    /// `sandbox` or `live`: what such an account may do.
    preset: String,
}

/// Answers, where the path is one of the sandbox's own.
pub(super) fn answer(inner: &Inner, request: &Request) -> Option<Reply> {
    let name = request.path.strip_prefix("/_sandbox/")?;
    let result = match (request.method.as_str(), name) {
        ("GET", "clock") => Ok(clock(inner)),
        ("POST", "clock") => read(request).and_then(|order| move_clock(inner, &order)),
        ("GET", "faults") => Ok(json!({ "waiting": inner.faults.waiting() })),
        ("POST", "faults") => read::<Fault>(request).map(|fault| {
            inner.faults.add(fault);
            json!({ "waiting": inner.faults.waiting() })
        }),
        ("DELETE", "faults") => {
            inner.faults.clear();
            Ok(json!({ "waiting": [] }))
        }
        ("POST", "keys") => read(request).and_then(|order| register(inner, &order)),
        ("POST", "limit") => limits(request).map(|limits| {
            inner.limiter.set(limits);
            json!(limits)
        }),
        ("POST", "meter_errors") => read(request).and_then(|order| note_meter_error(inner, &order)),
        ("GET", "account") => inner.within(|tx, _| account::of(tx)).map(|one| json!(one)).map_err(|e| e.to_string()),
        ("POST", "account") => read::<Account>(request).and_then(|account| {
            inner.within(|tx, _| account::set(tx, &account)).map_err(|error| error.to_string())?;
            Ok(json!(account))
        }),
        ("GET", "books") => inner.report().map_err(|error| error.to_string()),
        ("GET", "requests") => Ok(json!({ "requests": inner.requests() })),
        _ => {
            return Some(reply(
                404,
                &json!({ "error": format!("no such control: {} {}", request.method, request.path) }),
            ));
        }
    };
    Some(match result {
        Ok(value) => reply(200, &value),
        Err(error) => reply(400, &json!({ "error": error })),
    })
}

fn read<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_slice(&request.body)
        .map_err(|error| format!("the body is not what {} takes: {error}", request.path))
}

fn clock(inner: &Inner) -> Value {
    let frozen = matches!(inner.clock.setting(), Setting::Frozen(_));
    json!({ "now": inner.clock.now().secs(), "frozen": frozen })
}

fn move_clock(inner: &Inner, order: &ClockOrder) -> Result<Value, String> {
    let said = |error: SandboxError| error.to_string();
    match order.frozen {
        Some(true) => inner.clock.freeze(),
        Some(false) => inner.clock.thaw(),
        None => {}
    }
    let to = match (order.set, order.advance) {
        (Some(_), Some(_)) => return Err("give set or advance, not both".to_owned()),
        (Some(secs), None) => Timestamp::from_secs(secs),
        (None, Some(secs)) => inner.clock.now().plus(Timestamp::from_secs(secs).micros()),
        (None, None) => inner.clock.now(),
    };
    inner.move_clock(to).map_err(said)?;
    Ok(clock(inner))
}

fn register(inner: &Inner, order: &KeyOrder) -> Result<Value, String> {
    auth::register(&inner.books(), &order.key, &order.permissions).map_err(|error| error.message)?;
    Ok(json!({ "permissions": order.permissions }))
}

fn note_meter_error(inner: &Inner, order: &MeterErrorOrder) -> Result<Value, String> {
    let (meter, key) = (order.meter.as_deref(), order.idempotency_key.as_deref());
    let noted = inner.within(|tx, now| meter_errors::note(tx, meter, &order.identifier, key, order.code, now));
    noted.map_err(|error| error.to_string())?;
    Ok(json!({ "code": order.code }))
}

/// Each limit by its name, or all of one kind of account.
fn limits(request: &Request) -> Result<Limits, String> {
    let Ok(LimitOrder { preset }) = serde_json::from_slice(&request.body) else { return read(request) };
    match preset.as_str() {
        "sandbox" => Ok(Limits::SANDBOX),
        "live" => Ok(Limits::LIVE),
        other => Err(format!("no such preset of limits: {other}; there are sandbox and live")),
    }
}

fn reply(status: u16, value: &Value) -> Reply {
    Reply { status, headers: vec![("content-type", "application/json".to_owned())], body: format!("{value}\n") }
}
