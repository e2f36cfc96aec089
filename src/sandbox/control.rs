//! `/_sandbox/…`: the sandbox's own controls, in JSON, for tests that are not written in Rust. Not Stripe's; no key.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::clock::Setting;
use super::exchange::{Reply, Request};
use super::faults::Fault;
use super::shapes::merged;
use super::{Behaviour, Inner, SandboxError, auth, behaviour};
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
struct LimitOrder {
    /// Requests a second; none where null.
    per_second: Option<u32>,
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
        ("POST", "limit") => read::<LimitOrder>(request).map(|order| {
            inner.limit_rate(order.per_second);
            json!({ "per_second": order.per_second })
        }),
        ("GET", "behaviour") => behaviour(inner),
        ("POST", "behaviour") => read(request).and_then(|order| behave(inner, order)),
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
