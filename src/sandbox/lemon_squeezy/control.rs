//! `/_sandbox/…`: this sandbox's own controls. Those that both sandboxes have do the same.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::control::{clock, conclude, faults, read, tamperings};
use super::super::deliveries;
use super::super::exchange::{Reply, Request};
use super::super::shapes::merged;
use super::subscriptions::{self, Status};
use super::{Behaviour, Inner, behaviour};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusOrder {
    subscription: String,
    status: Status,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitOrder {
    per_minute: u32,
}

/// Answers, where the path is one of the sandbox's own.
pub(super) fn answer(inner: &Inner, request: &Request) -> Option<Reply> {
    let name = request.path.strip_prefix("/_sandbox/")?;
    let result = match (request.method.as_str(), name) {
        (_, "clock") => clock(&inner.clock, |to| inner.move_clock(to), request),
        (_, "faults") => faults(&inner.faults, request),
        (_, "tamperings") => tamperings(&inner.bell.tamperings, request),
        ("GET", "deliveries") => Some(show_deliveries(inner)),
        ("GET", "behaviour") => Some(shown(inner)),
        ("POST", "behaviour") => Some(read(request).and_then(|order| behave(inner, order))),
        ("POST", "status") => Some(read(request).and_then(|order| set_status(inner, &order))),
        ("POST", "limit") => Some(read::<LimitOrder>(request).map(|order| {
            inner.limit.set(order.per_minute);
            json!({ "per_minute": order.per_minute })
        })),
        ("GET", "books") => Some(inner.report().map_err(|error| error.to_string())),
        ("GET", "requests") => Some(Ok(json!({ "requests": inner.log.all() }))),
        _ => None,
    };
    Some(conclude(request, result))
}

fn show_deliveries(inner: &Inner) -> Result<Value, String> {
    inner.within(|tx, _| Ok(json!({ "deliveries": deliveries::all(tx)? }))).map_err(|error| error.to_string())
}

fn shown(inner: &Inner) -> Result<Value, String> {
    inner.within(|tx, _| Ok(json!(behaviour::of(tx)?))).map_err(|error| error.to_string())
}

/// What the order leaves out stays as it is.
fn behave(inner: &Inner, order: Map<String, Value>) -> Result<Value, String> {
    let chosen: Behaviour = serde_json::from_value(merged(shown(inner)?, Value::Object(order)))
        .map_err(|error| format!("no such behaviour: {error}"))?;
    inner.within(|tx, _| behaviour::choose(tx, chosen)).map_err(|error| error.to_string())?;
    shown(inner)
}

fn set_status(inner: &Inner, order: &StatusOrder) -> Result<Value, String> {
    let StatusOrder { subscription, status } = order;
    let set = inner.within(|tx, now| subscriptions::set_status(tx, subscription, *status, now));
    set.map_err(|error| error.to_string())?;
    Ok(json!({ "subscription": subscription, "status": status }))
}
