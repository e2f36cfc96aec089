//! `/_sandbox/…`: the sandbox's own controls, in JSON, for tests that are not written in Rust. Not Stripe's; no key.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::account::{self, Account};
use super::clock::{SandboxClock, Setting};
use super::exchange::{Reply, Request};
use super::faults::Faults;
use super::limits::Limits;
use super::shapes::merged;
use super::tampering::Tamperings;
use super::{Behaviour, Inner, SandboxError, auth, behaviour, deliveries, meter_errors, payments, webhook_endpoints};
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
struct AuthenticateOrder {
    /// `pi_…`.
    payment_intent: String,
    succeeds: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollOrder {
    /// `we_…`.
    webhook_endpoint: String,
    /// Seconds for which the secret so far stays valid.
    #[serde(default)]
    old_valid_s: i64,
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
        (_, "clock") => clock(&inner.clock, |to| inner.move_clock(to), request),
        (_, "faults") => faults(&inner.faults, request),
        ("POST", "keys") => Some(read(request).and_then(|order| register(inner, &order))),
        ("POST", "limit") => Some(limits(request).map(|limits| {
            inner.limiter.set(limits);
            json!(limits)
        })),
        ("POST", "meter_errors") => Some(read(request).and_then(|order| note_meter_error(inner, &order))),
        ("POST", "authenticate") => Some(read(request).and_then(|order| authenticate(inner, &order))),
        (_, "tamperings") => tamperings(&inner.bell.tamperings, request),
        ("GET", "deliveries") => Some(show_deliveries(inner)),
        ("POST", "roll_secret") => Some(read(request).and_then(|order| roll_secret(inner, &order))),
        ("GET", "account") => Some(account(inner)),
        ("POST", "account") => Some(read(request).and_then(|chosen| set_account(inner, &chosen))),
        ("GET", "behaviour") => Some(behaviour(inner)),
        ("POST", "behaviour") => Some(read(request).and_then(|order| behave(inner, order))),
        ("GET", "books") => Some(inner.report().map_err(|error| error.to_string())),
        ("GET", "requests") => Some(Ok(json!({ "requests": inner.log.all() }))),
        _ => None,
    };
    Some(conclude(request, result))
}

/// A control's answer; without a result there is no such control.
pub(super) fn conclude(request: &Request, result: Option<Result<Value, String>>) -> Reply {
    let unknown = || format!("no such control: {} {}", request.method, request.path);
    match result {
        Some(Ok(value)) => reply(200, &value),
        Some(Err(error)) => reply(400, &json!({ "error": error })),
        None => reply(404, &json!({ "error": unknown() })),
    }
}

/// The body as what is asked for.
pub(super) fn read<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_slice(&request.body)
        .map_err(|error| format!("the body is not what {} takes: {error}", request.path))
}

/// Shows the clock or moves it; `None` where the method is no control of it.
pub(super) fn clock(
    clock: &SandboxClock,
    go_to: impl FnOnce(Timestamp) -> Result<(), SandboxError>,
    request: &Request,
) -> Option<Result<Value, String>> {
    match request.method.as_str() {
        "GET" => Some(Ok(show(clock))),
        "POST" => Some(read(request).and_then(|order| move_clock(clock, go_to, &order))),
        _ => None,
    }
}

fn show(clock: &SandboxClock) -> Value {
    json!({ "now": clock.now().secs(), "frozen": matches!(clock.setting(), Setting::Frozen(_)) })
}

fn move_clock(
    clock: &SandboxClock,
    go_to: impl FnOnce(Timestamp) -> Result<(), SandboxError>,
    order: &ClockOrder,
) -> Result<Value, String> {
    match order.frozen {
        Some(true) => clock.freeze(),
        Some(false) => clock.thaw(),
        None => {}
    }
    let to = match (order.set, order.advance) {
        (Some(_), Some(_)) => return Err("give set or advance, not both".to_owned()),
        (Some(secs), None) => Timestamp::from_secs(secs),
        (None, Some(secs)) => clock.now().plus(Timestamp::from_secs(secs).micros()),
        (None, None) => clock.now(),
    };
    go_to(to).map_err(|error| error.to_string())?;
    Ok(show(clock))
}

/// Shows the rules that wait, adds one or forgets them; `None` where the method is no control of them.
pub(super) fn faults(faults: &Faults, request: &Request) -> Option<Result<Value, String>> {
    match request.method.as_str() {
        "GET" => {}
        "POST" => match read(request) {
            Ok(fault) => faults.add(fault),
            Err(error) => return Some(Err(error)),
        },
        "DELETE" => faults.clear(),
        _ => return None,
    }
    Some(Ok(json!({ "waiting": faults.waiting() })))
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

fn authenticate(inner: &Inner, order: &AuthenticateOrder) -> Result<Value, String> {
    let (id, succeeds) = (order.payment_intent.as_str(), order.succeeds);
    inner.within(|tx, now| payments::authenticate(tx, id, succeeds, now)).map_err(|error| error.to_string())
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

/// Shows the rules that wait, adds one or forgets them; `None` where the method is no control of them.
pub(super) fn tamperings(tamperings: &Tamperings, request: &Request) -> Option<Result<Value, String>> {
    match request.method.as_str() {
        "GET" => {}
        "POST" => match read(request) {
            Ok(tampering) => tamperings.add(tampering),
            Err(error) => return Some(Err(error)),
        },
        "DELETE" => tamperings.clear(),
        _ => return None,
    }
    Some(Ok(json!({ "waiting": tamperings.waiting() })))
}

fn show_deliveries(inner: &Inner) -> Result<Value, String> {
    inner.within(|tx, _| Ok(json!({ "deliveries": deliveries::all(tx)? }))).map_err(|error| error.to_string())
}

fn roll_secret(inner: &Inner, order: &RollOrder) -> Result<Value, String> {
    let secret = inner.within(|tx, now| webhook_endpoints::roll(tx, &order.webhook_endpoint, order.old_valid_s, now));
    Ok(json!({ "secret": secret.map_err(|error| error.to_string())? }))
}

fn account(inner: &Inner) -> Result<Value, String> {
    inner.within(|tx, _| Ok(json!(account::of(tx)?))).map_err(|error| error.to_string())
}

fn set_account(inner: &Inner, chosen: &Account) -> Result<Value, String> {
    inner.within(|tx, _| account::set(tx, chosen)).map_err(|error| error.to_string())?;
    account(inner)
}

fn behaviour(inner: &Inner) -> Result<Value, String> {
    inner.within(|tx, _| Ok(json!(behaviour::of(tx)?))).map_err(|error| error.to_string())
}

/// What the order leaves out stays as it is.
fn behave(inner: &Inner, order: Map<String, Value>) -> Result<Value, String> {
    let chosen = merged(behaviour(inner)?, Value::Object(order));
    let chosen: Behaviour = serde_json::from_value(chosen).map_err(|error| format!("no such behaviour: {error}"))?;
    inner.within(|tx, _| behaviour::choose(tx, chosen)).map_err(|error| error.to_string())?;
    behaviour(inner)
}

fn reply(status: u16, value: &Value) -> Reply {
    Reply { status, headers: vec![("content-type", "application/json".to_owned())], body: format!("{value}\n") }
}
