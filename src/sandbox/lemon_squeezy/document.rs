//! JSON:API: a resource, one of them as an answer, and pages of them.

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::errors::ApiError;

/// What links begin with.
const BASE: &str = "https://api.lemonsqueezy.com/v1";

/// So many are on a page, and so many may be asked for.
const PAGE_SIZE: usize = 10;
const PAGE_SIZE_MAX: usize = 100;

/// A time as Lemon Squeezy writes it in attributes.
pub(super) fn time(secs: i64) -> Value {
    let time = DateTime::from_timestamp(secs, 0).unwrap_or_default();
    Value::String(time.format("%Y-%m-%dT%H:%M:%S.000000Z").to_string())
}

/// An id in an attribute: there it is a number.
pub(super) fn number(id: &str) -> Value {
    id.parse::<i64>().map_or(Value::Null, Value::from)
}

/// One resource with links to those it has to do with.
pub(super) fn resource(kind: &str, id: &str, attributes: &Value, related: &[&str]) -> Value {
    let link = |name: &&str| {
        let links = json!({
            "related": format!("{BASE}/{kind}/{id}/{name}"),
            "self": format!("{BASE}/{kind}/{id}/relationships/{name}"),
        });
        ((*name).to_owned(), json!({ "links": links }))
    };
    let relationships: Map<String, Value> = related.iter().map(link).collect();
    let mut resource = json!({
        "type": kind,
        "id": id,
        "attributes": attributes,
        "links": { "self": format!("{BASE}/{kind}/{id}") },
    });
    if let Some(fields) = resource.as_object_mut().filter(|_| !relationships.is_empty()) {
        fields.insert("relationships".to_owned(), Value::Object(relationships));
    }
    resource
}

/// A resource, and those that `include` asks for with it.
pub(super) struct Shown {
    pub(super) resource: Value,
    pub(super) with: Vec<Value>,
}

/// An answer of one resource.
pub(super) fn one(call: &Call<'_>, shown: Shown) -> Value {
    let links = shown.resource.get("links").cloned().unwrap_or_default();
    let document = json!({ "jsonapi": { "version": "1.0" }, "links": links, "data": shown.resource });
    with_included(call, document, shown.with)
}

/// A page of these resources, which come oldest first and are shown newest first.
pub(super) fn page(call: &Call<'_>, path: &str, mut shown: Vec<Shown>) -> Result<Value, ApiError> {
    shown.reverse();
    let size = call.query.count("page[size]")?.unwrap_or(PAGE_SIZE);
    if size > PAGE_SIZE_MAX {
        return Err(ApiError::parameter("page.size", "The page.size must not be greater than 100."));
    }
    let number = call.query.count("page[number]")?.unwrap_or(1);
    let total = shown.len();
    let last = total.div_ceil(size).max(1);
    let skipped = number.saturating_sub(1).saturating_mul(size);
    let (data, with): (Vec<Value>, Vec<Vec<Value>>) =
        shown.into_iter().skip(skipped).take(size).map(|one| (one.resource, one.with)).unzip();
    let (from, to) = if data.is_empty() {
        (Value::Null, Value::Null)
    } else {
        (json!(skipped.saturating_add(1)), json!(skipped.saturating_add(data.len())))
    };
    let link = |number: usize| {
        let pairs = [("page[number]", number.to_string()), ("page[size]", size.to_string())];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        json!(format!("{BASE}/{path}?{query}&sort=-createdAt"))
    };
    let mut links = json!({ "first": link(1), "last": link(last) });
    if let Some(links) = links.as_object_mut() {
        if number > 1 {
            links.insert("prev".to_owned(), link(number.saturating_sub(1)));
        }
        if number < last {
            links.insert("next".to_owned(), link(number.saturating_add(1)));
        }
    }
    let document = json!({
        "meta": { "page": {
            "currentPage": number, "from": from, "lastPage": last, "perPage": size, "to": to, "total": total,
        } },
        "jsonapi": { "version": "1.0" },
        "links": links,
        "data": data,
    });
    Ok(with_included(call, document, with.into_iter().flatten().collect()))
}

fn with_included(call: &Call<'_>, mut document: Value, with: Vec<Value>) -> Value {
    if let Some(fields) = document.as_object_mut().filter(|_| call.query.text("include").is_some()) {
        let mut included: Vec<Value> = Vec::new();
        for one in with {
            if !included.contains(&one) {
                included.push(one);
            }
        }
        fields.insert("included".to_owned(), Value::Array(included));
    }
    document
}
