//! Billing meters: how the events of a name become a quantity.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::errors::ApiError;
use super::lists;

/// The longest name of an event, in characters. <https://docs.stripe.com/api/billing/meter/create>
const EVENT_NAME_MAX: usize = 100;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Meter {
    pub(super) id: String,
    created: i64,
    updated: i64,
    display_name: String,
    pub(super) event_name: String,
    pub(super) formula: Formula,
    /// `None`: every event stands for itself.
    pub(super) window: Option<Window>,
    /// The name in an event's payload under which the customer's id stands.
    pub(super) customer_key: String,
    /// The name in an event's payload under which the value stands.
    pub(super) value_key: String,
    /// Unix seconds; `None` while it is active.
    deactivated: Option<i64>,
}

/// How the events of a stretch of time become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Formula {
    Sum,
    Count,
    Last,
}

impl Formula {
    const fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Last => "last",
        }
    }
}

/// A stretch of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Window {
    Hour,
    Day,
}

impl Window {
    pub(super) fn from_word(word: &str) -> Self {
        if word == "day" { Self::Day } else { Self::Hour }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Its length.
    pub(super) const fn secs(self) -> i64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

impl Record for Meter {
    const KIND: &'static str = "billing.meter";
    const NOUN: &'static str = "meter";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Meter {
    pub(super) const fn is_active(&self) -> bool {
        self.deactivated.is_none()
    }
}

/// The active meter of an event's name; there is one at most.
pub(super) fn active(books: &Connection, event_name: &str) -> Result<Option<Meter>, ApiError> {
    let meters: Vec<Meter> = books::all(books, None)?;
    Ok(meters.into_iter().find(|one| one.is_active() && one.event_name == event_name))
}

const FIELDS: [&str; 7] = [
    "display_name",
    "event_name",
    "default_aggregation[formula]",
    "event_time_window",
    "customer_mapping[type]",
    "customer_mapping[event_payload_key]",
    "value_settings[event_payload_key]",
];

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&FIELDS)?;
    let mapping = "customer_mapping[event_payload_key]";
    if form.has("customer_mapping") {
        form.word("customer_mapping[type]", &["by_id"])?.ok_or_else(|| ApiError::missing("customer_mapping[type]"))?;
        form.required(mapping)?;
    }
    let meter = Meter {
        id: books::new_id("mtr_test_"),
        created: call.now,
        updated: call.now,
        display_name: form.required("display_name")?.to_owned(),
        event_name: form.at_most("event_name", EVENT_NAME_MAX)?.to_owned(),
        formula: formula(call)?,
        window: form.word("event_time_window", &["day", "hour"])?.map(Window::from_word),
        customer_key: form.text(mapping)?.unwrap_or("stripe_customer_id").to_owned(),
        value_key: form.text("value_settings[event_payload_key]")?.unwrap_or("value").to_owned(),
        deactivated: None,
    };
    refuse_twice(call, &meter)?;
    books::put(call.books, &meter)?;
    Ok(render(&meter))
}

/// `last` came with `2025-03-31.basil`.
fn formula(call: &Call<'_>) -> Result<Formula, ApiError> {
    let name = "default_aggregation[formula]";
    let words: &[&str] = if call.version.is_basil() { &["count", "last", "sum"] } else { &["count", "sum"] };
    match call.form.word(name, words)? {
        Some("count") => Ok(Formula::Count),
        Some("last") => Ok(Formula::Last),
        Some(_) => Ok(Formula::Sum),
        None => Err(ApiError::missing(name)),
    }
}

fn refuse_twice(call: &Call<'_>, meter: &Meter) -> Result<(), ApiError> {
    if active(call.books, &meter.event_name)?.is_none() {
        return Ok(());
    }
    let message = format!("There is already an active meter with the event name \"{}\".", meter.event_name);
    Err(ApiError::refused_at("event_name", message))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

/// All but the display name stays as it was created.
pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["display_name"])?;
    let mut meter: Meter = books::get(call.books, call.id)?;
    if let Some(name) = call.form.text("display_name")? {
        name.clone_into(&mut meter.display_name);
        meter.updated = call.now;
    }
    books::put(call.books, &meter)?;
    Ok(render(&meter))
}

/// `POST /v1/billing/meters/{id}/deactivate`: its events are refused, and its name is free.
pub(super) fn deactivate(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let mut meter: Meter = books::get(call.books, call.id)?;
    if !meter.is_active() {
        return Err(ApiError::refused("This meter is already inactive."));
    }
    (meter.deactivated, meter.updated) = (Some(call.now), call.now);
    books::put(call.books, &meter)?;
    Ok(render(&meter))
}

/// `POST /v1/billing/meters/{id}/reactivate`.
pub(super) fn reactivate(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let mut meter: Meter = books::get(call.books, call.id)?;
    if meter.is_active() {
        return Err(ApiError::refused("This meter is already active."));
    }
    refuse_twice(call, &meter)?;
    (meter.deactivated, meter.updated) = (None, call.now);
    books::put(call.books, &meter)?;
    Ok(render(&meter))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["status", "limit", "starting_after", "ending_before"])?;
    let wanted = call.form.word("status", &["active", "inactive"])?.map(|word| word == "active");
    let meters: Vec<Meter> = books::all(call.books, None)?;
    let fits = |one: &&Meter| wanted.is_none_or(|active| one.is_active() == active);
    lists::page(call, "/v1/billing/meters", meters.iter().filter(fits).map(render).collect())
}

fn render(meter: &Meter) -> Value {
    json!({
        "id": meter.id,
        "object": "billing.meter",
        "created": meter.created,
        "customer_mapping": { "event_payload_key": meter.customer_key, "type": "by_id" },
        "default_aggregation": { "formula": meter.formula.word() },
        "display_name": meter.display_name,
        "event_name": meter.event_name,
        "event_time_window": meter.window.map(Window::word),
        "livemode": false,
        "status": if meter.is_active() { "active" } else { "inactive" },
        "status_transitions": { "deactivated_at": meter.deactivated },
        "updated": meter.updated,
        "value_settings": { "event_payload_key": meter.value_key },
    })
}
