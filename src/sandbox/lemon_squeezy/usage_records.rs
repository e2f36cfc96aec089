//! Usage records: each counts in the period in which it arrives. There is no timestamp and no idempotency key.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::books::{self, Record};
use super::super::lines::Stretch;
use super::behaviour::{Behaviour, SetOnSum, Zero};
use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;
use super::items::{self, Item};
use super::prices::{self, Aggregation};
use super::subscriptions::{Status, Subscription};
use super::{new_id, straggler};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UsageRecord {
    pub(super) id: String,
    /// When it arrived.
    pub(super) created: i64,
    pub(super) item: String,
    pub(super) quantity: i64,
    pub(super) action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Increment,
    Set,
}

impl Record for UsageRecord {
    const KIND: &'static str = "usage-records";
    const NOUN: &'static str = "usage record";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.item)
    }
}

const QUANTITY: &str = "/data/attributes/quantity";
const ACTION: &str = "/data/attributes/action";
const ITEM: &str = "/data/relationships/subscription-item";

/// `POST /v1/usage-records`.
pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["include"])?;
    call.query.include(&[], &["subscription-item"])?;
    let record = store(call.books, call.body, call.behaviour, call.now)?;
    Ok(document::one(call, Shown { resource: render(&record), with: Vec::new() }))
}

/// Takes a request for a usage record that arrives now.
pub(super) fn store(books: &Connection, body: &[u8], behaviour: Behaviour, now: i64) -> Result<UsageRecord, ApiError> {
    let (quantity, action, item) = read(body, behaviour)?;
    let item: Item = items::find(books, &item, now)?.ok_or_else(|| ApiError::no_related(ITEM))?;
    let price = prices::get(books, &item.price)?;
    let Some(aggregation) = price.aggregation else { return Err(ApiError::not_usage_based()) };
    let subscription: Subscription = books::find(books, &item.subscription)?.ok_or_else(ApiError::not_found)?;
    if subscription.status == Status::Expired {
        return Err(ApiError::unprocessable(ITEM, "The subscription has expired."));
    }
    let sets_a_sum = aggregation == Aggregation::Sum && action == Action::Set;
    if sets_a_sum && behaviour.set_on_sum == SetOnSum::Refused {
        return Err(ApiError::unprocessable(ACTION, "The set action cannot be used with the sum aggregation."));
    }
    let record = UsageRecord { id: new_id(books)?, created: now, item: item.id.clone(), quantity, action };
    let mut records: Vec<UsageRecord> = books::all(books, Some(&item.id))?;
    records.push(record.clone());
    // An amount that cannot be written down is refused here, not found out when the period ends.
    let total = aggregate(&records, aggregation, behaviour, subscription.period());
    if total == i64::MAX || price.amount(total).is_none() {
        return Err(ApiError::unprocessable(QUANTITY, "The quantity is too large."));
    }
    books::put(books, &record)?;
    Ok(record)
}

fn read(body: &[u8], behaviour: Behaviour) -> Result<(i64, Action, String), ApiError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| ApiError::document("", "The body is not JSON."))?;
    let required = |pointer: &str, at: &str, name: &str| {
        let missing = || ApiError::document(at, format!("The member {name} is required."));
        body.pointer(pointer).cloned().ok_or_else(missing)
    };
    required("/data", "", "data")?;
    let kind = required("/data/type", "/data", "type")?;
    if kind != UsageRecord::KIND {
        return Err(ApiError::conflict(
            "/data/type",
            format!("Resource type {kind} is not supported by this endpoint."),
        ));
    }
    if body.pointer("/data/id").is_some() {
        return Err(ApiError::conflict(
            "/data/id",
            "Resource type usage-records does not support client-generated IDs.",
        ));
    }
    let attributes = body.pointer("/data/attributes").and_then(Value::as_object).into_iter().flatten();
    let mut unknown = attributes.map(|(name, _)| name).filter(|name| !matches!(name.as_str(), "quantity" | "action"));
    if let Some(name) = unknown.next() {
        let detail = format!("The field {name} is not a supported attribute.");
        return Err(ApiError::document(&format!("/data/attributes/{name}"), detail));
    }
    let quantity = quantity(body.pointer(QUANTITY), behaviour.zero)?;
    let action = match body.pointer(ACTION).map(Value::as_str) {
        None | Some(Some("increment")) => Action::Increment,
        Some(Some("set")) => Action::Set,
        Some(_) => return Err(ApiError::unprocessable(ACTION, "The selected action is invalid.")),
    };
    let named = |field: &str| body.pointer(&format!("{ITEM}/data/{field}")).and_then(Value::as_str);
    match (named("type"), named("id")) {
        (Some("subscription-items"), Some(id)) => Ok((quantity, action, id.to_owned())),
        (None, None) => Err(ApiError::unprocessable(ITEM, "The subscription-item field is required.")),
        _ => Err(ApiError::unprocessable(ITEM, "The subscription-item field must be a to-one relationship.")),
    }
}

fn quantity(value: Option<&Value>, zero: Zero) -> Result<i64, ApiError> {
    let least = i64::from(zero == Zero::Refused);
    let refuse = |detail: String| Err(ApiError::unprocessable(QUANTITY, detail));
    match value {
        None | Some(Value::Null) => refuse("The quantity field is required.".to_owned()),
        Some(value) => match value.as_i64() {
            None => refuse("The quantity must be an integer.".to_owned()),
            Some(quantity) if quantity < least => refuse(format!("The quantity must be at least {least}.")),
            Some(quantity) => Ok(quantity),
        },
    }
}

/// `GET /v1/usage-records`.
pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["filter[subscription_item_id]", "page[number]", "page[size]", "include"])?;
    call.query.include(&[], &["subscription-item"])?;
    let records: Vec<UsageRecord> = books::all(call.books, call.query.text("filter[subscription_item_id]"))?;
    let shown = records.iter().map(|record| Shown { resource: render(record), with: Vec::new() }).collect();
    document::page(call, UsageRecord::KIND, shown)
}

fn render(record: &UsageRecord) -> Value {
    let attributes = json!({
        "subscription_item_id": document::number(&record.item),
        "quantity": record.quantity,
        "action": record.action,
        "created_at": document::time(record.created),
        "updated_at": document::time(record.created),
    });
    document::resource(UsageRecord::KIND, &record.id, &attributes, &["subscription-item"])
}

/// What a period is billed with: of the records that arrived from its start to before its end.
pub(super) fn total(
    books: &Connection,
    item: &str,
    aggregation: Aggregation,
    behaviour: Behaviour,
    period: Stretch,
) -> Result<i64, ApiError> {
    let records: Vec<UsageRecord> = books::all(books, Some(item))?;
    Ok(aggregate(&records, aggregation, behaviour, period))
}

fn aggregate(records: &[UsageRecord], aggregation: Aggregation, behaviour: Behaviour, period: Stretch) -> i64 {
    let (mut value, mut highest) = (0_i64, 0_i64);
    let adds = aggregation == Aggregation::Sum && behaviour.set_on_sum == SetOnSum::Adds;
    for record in records.iter().filter(|record| record.created < period.end) {
        if record.created < period.start && aggregation != Aggregation::LastEver {
            continue;
        }
        value = match record.action {
            Action::Set if !adds => record.quantity,
            Action::Set | Action::Increment => value.saturating_add(record.quantity),
        };
        highest = highest.max(value);
    }
    if aggregation == Aggregation::Max { highest } else { value }
}

/// Has a request carried out later, where that is chosen.
pub(super) fn straggle(call: &Call<'_>) -> Result<(), ApiError> {
    match call.behaviour.straggles_after_s {
        0 => Ok(()),
        after => straggler::keep(call.books, call.body, call.now.saturating_add(after)),
    }
}
