//! Billing meters, as far as a price on one needs them: such a price takes no usage records.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::errors::ApiError;
use super::lists;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Meter {
    pub(super) id: String,
    created: i64,
    display_name: String,
    event_name: String,
    formula: String,
}

impl Record for Meter {
    const KIND: &'static str = "billing.meter";
    const NOUN: &'static str = "meter";
    fn id(&self) -> &str {
        &self.id
    }
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["display_name", "event_name", "default_aggregation[formula]"])?;
    let formulas: &[&str] = if call.version.is_basil() { &["count", "last", "sum"] } else { &["count", "sum"] };
    let formula = form.word("default_aggregation[formula]", formulas)?;
    let meter = Meter {
        id: books::new_id("mtr_test_"),
        created: call.now,
        display_name: form.required("display_name")?.to_owned(),
        event_name: form.required("event_name")?.to_owned(),
        formula: formula.ok_or_else(|| ApiError::missing("default_aggregation[formula]"))?.to_owned(),
    };
    let taken = books::all::<Meter>(call.books, None)?.into_iter().any(|one| one.event_name == meter.event_name);
    if taken {
        let message = format!("There is already an active meter with the event name \"{}\".", meter.event_name);
        return Err(ApiError::refused_at("event_name", message));
    }
    books::put(call.books, &meter)?;
    Ok(render(&meter))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["status", "limit", "starting_after", "ending_before"])?;
    let inactive = call.form.word("status", &["active", "inactive"])? == Some("inactive");
    let meters: Vec<Meter> = if inactive { Vec::new() } else { books::all(call.books, None)? };
    lists::page(call, "/v1/billing/meters", meters.iter().map(render).collect())
}

fn render(meter: &Meter) -> Value {
    json!({
        "id": meter.id,
        "object": "billing.meter",
        "created": meter.created,
        "customer_mapping": { "event_payload_key": "stripe_customer_id", "type": "by_id" },
        "default_aggregation": { "formula": meter.formula },
        "display_name": meter.display_name,
        "event_name": meter.event_name,
        "event_time_window": null,
        "livemode": false,
        "status": "active",
        "status_transitions": { "deactivated_at": null },
        "updated": meter.created,
        "value_settings": { "event_payload_key": "value" },
    })
}
