//! Webhooks: where is told what happens, and of which kinds. <https://docs.lemonsqueezy.com/api/webhooks>

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::books::{self, Record};
use super::super::courier::{self, Reach};
use super::super::deliveries;
use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;
use super::{new_id, store};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Webhook {
    pub(super) id: String,
    created: i64,
    updated: i64,
    pub(super) url: String,
    pub(super) events: Vec<String>,
    pub(super) secret: String,
}

impl Record for Webhook {
    const KIND: &'static str = "webhooks";
    const NOUN: &'static str = "webhook";
    fn id(&self) -> &str {
        &self.id
    }
}

/// Every kind of event there is.
const EVENTS: [&str; 17] = [
    "order_created",
    "order_refunded",
    "subscription_created",
    "subscription_updated",
    "subscription_cancelled",
    "subscription_resumed",
    "subscription_expired",
    "subscription_paused",
    "subscription_unpaused",
    "subscription_payment_failed",
    "subscription_payment_success",
    "subscription_payment_recovered",
    "subscription_payment_refunded",
    "subscription_plan_changed",
    "license_key_created",
    "license_key_updated",
    "affiliate_activated",
];

const ATTRIBUTES: &str = "/data/attributes";
const STORE: &str = "/data/relationships/store";

/// `POST /v1/webhooks`.
pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    let body = read(call, None)?;
    match body.pointer(&format!("{STORE}/data/id")).and_then(Value::as_str) {
        Some(store::STORE) => {}
        Some(_) => return Err(ApiError::no_related(STORE)),
        None => return Err(ApiError::unprocessable(STORE, "The store field is required.")),
    }
    let (url, events, secret) = (String::new(), Vec::new(), String::new());
    let mut webhook = Webhook { id: new_id(call.books)?, created: call.now, updated: call.now, url, events, secret };
    for (name, is_set) in change(&mut webhook, &body)? {
        if !is_set {
            let detail = format!("The {name} field is required.");
            return Err(ApiError::unprocessable(&format!("{ATTRIBUTES}/{name}"), detail));
        }
    }
    books::put(call.books, &webhook)?;
    shown(call, &webhook)
}

/// `PATCH /v1/webhooks/{id}`.
pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    let mut webhook = get(call)?;
    let body = read(call, Some(&webhook.id))?;
    change(&mut webhook, &body)?;
    webhook.updated = call.now;
    books::put(call.books, &webhook)?;
    shown(call, &webhook)
}

/// `GET /v1/webhooks/{id}`.
pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    shown(call, &get(call)?)
}

/// `GET /v1/webhooks`.
pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["filter[store_id]", "page[number]", "page[size]"])?;
    let is_ours = call.query.text("filter[store_id]").is_none_or(|store| store == store::STORE);
    let webhooks: Vec<Webhook> = books::all(call.books, None)?;
    let resources = webhooks.iter().filter(|_| is_ours).map(|webhook| render(call, webhook));
    let shown = resources.map(|resource| Ok(Shown { resource: resource?, with: Vec::new() }));
    document::page(call, Webhook::KIND, shown.collect::<Result<_, ApiError>>()?)
}

/// `DELETE /v1/webhooks/{id}`: answered with nothing. What was still to be delivered to it never is.
pub(super) fn delete(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    let webhook = get(call)?;
    deliveries::forget(call.books, &webhook.id)?;
    books::remove(call.books, &webhook)?;
    Ok(Value::Null)
}

fn get(call: &Call<'_>) -> Result<Webhook, ApiError> {
    books::find(call.books, call.id)?.ok_or_else(ApiError::not_found)
}

/// The body, if it is about a webhook: a new one, or that of this id.
fn read(call: &Call<'_>, id: Option<&str>) -> Result<Value, ApiError> {
    let body: Value = serde_json::from_slice(call.body).map_err(|_| ApiError::document("", "The body is not JSON."))?;
    let kind = body.pointer("/data/type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| ApiError::document("/data", "The member type is required."))?;
    if kind != Webhook::KIND {
        let detail = format!("Resource type {kind} is not supported by this endpoint.");
        return Err(ApiError::conflict("/data/type", detail));
    }
    match (body.pointer("/data/id").and_then(Value::as_str), id) {
        (None, None) => {}
        (Some(sent), Some(id)) if sent == id => {}
        (Some(_), None) => {
            let detail = "Resource type webhooks does not support client-generated IDs.";
            return Err(ApiError::conflict("/data/id", detail));
        }
        (_, Some(_)) => return Err(ApiError::conflict("/data/id", "The resource id is not that of the URL.")),
    }
    Ok(body)
}

/// Applies the attributes, and says of each that a webhook needs whether it is there.
fn change(webhook: &mut Webhook, body: &Value) -> Result<[(&'static str, bool); 3], ApiError> {
    let nothing = Map::new();
    let attributes = body.pointer(ATTRIBUTES).and_then(Value::as_object).unwrap_or(&nothing);
    let (mut has_url, mut has_events, mut has_secret) = (false, false, false);
    for (name, value) in attributes {
        match name.as_str() {
            "url" => (webhook.url, has_url) = (url(value)?, true),
            "events" => (webhook.events, has_events) = (events(value)?, true),
            "secret" => (webhook.secret, has_secret) = (secret(value)?, true),
            "test_mode" if value.is_boolean() => {}
            _ => {
                let detail = format!("The field {name} is not a supported attribute.");
                return Err(ApiError::document(&format!("{ATTRIBUTES}/{name}"), detail));
            }
        }
    }
    Ok([("url", has_url), ("events", has_events), ("secret", has_secret)])
}

fn url(value: &Value) -> Result<String, ApiError> {
    let text = value.as_str().unwrap_or_default();
    match courier::reach(text) {
        Reach::Possible => Ok(text.to_owned()),
        Reach::Plain => Err(ApiError::not_kept("delivery to another machine without https")),
        Reach::Impossible => Err(ApiError::unprocessable("/data/attributes/url", "The url format is invalid.")),
    }
}

fn events(value: &Value) -> Result<Vec<String>, ApiError> {
    let named = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let known = |one: &Value| one.as_str().filter(|name| EVENTS.contains(name)).map(str::to_owned);
    let events: Option<Vec<String>> = named.iter().map(known).collect();
    let invalid = || ApiError::unprocessable("/data/attributes/events", "The selected events is invalid.");
    events.filter(|events| !events.is_empty()).ok_or_else(invalid)
}

fn secret(value: &Value) -> Result<String, ApiError> {
    let text = value.as_str().unwrap_or_default();
    if (6..=40).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    let detail = "The secret must be between 6 and 40 characters.";
    Err(ApiError::unprocessable("/data/attributes/secret", detail))
}

fn shown(call: &Call<'_>, webhook: &Webhook) -> Result<Value, ApiError> {
    Ok(document::one(call, Shown { resource: render(call, webhook)?, with: Vec::new() }))
}

/// The secret is never shown.
fn render(call: &Call<'_>, webhook: &Webhook) -> Result<Value, ApiError> {
    let attributes = json!({
        "store_id": document::number(store::STORE),
        "url": webhook.url,
        "events": webhook.events,
        "last_sent_at": deliveries::last_taken(call.books, &webhook.id)?.map(document::time),
        "created_at": document::time(webhook.created),
        "updated_at": document::time(webhook.updated),
        "test_mode": true,
    });
    Ok(document::resource(Webhook::KIND, &webhook.id, &attributes, &["store"]))
}
