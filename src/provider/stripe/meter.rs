//! Reading a meter.
//!
//! <https://docs.stripe.com/api/billing/meter/object>

use serde::Deserialize;

use crate::model::BillingMeterId;
use crate::provider::{MeterView, ReadAnswer};

use super::answer::{into_read, judge};
use super::client::Client;

#[derive(Deserialize)]
struct WireMeter {
    object: String,
    id: BillingMeterId,
    event_name: String,
    default_aggregation: WireAggregation,
    event_time_window: Option<String>,
    customer_mapping: WireMapping,
    value_settings: WireKey,
    status: String,
}

#[derive(Deserialize)]
struct WireAggregation {
    formula: String,
}

#[derive(Deserialize)]
struct WireMapping {
    #[serde(rename = "type")]
    by: String,
    event_payload_key: String,
}

#[derive(Deserialize)]
struct WireKey {
    event_payload_key: String,
}

/// `GET /v1/billing/meters/{id}`.
pub(super) async fn read(client: &Client, id: &BillingMeterId) -> ReadAnswer<MeterView> {
    let exchange = client.get(&format!("/v1/billing/meters/{id}")).await;
    judge(client, exchange, |wire| view(id, wire)).map(into_read)
}

fn view(asked: &BillingMeterId, wire: WireMeter) -> Result<MeterView, String> {
    if wire.object != "billing.meter" || wire.id != *asked {
        return Err(format!("asked for the meter {asked}, it is about the {} {}", wire.object, wire.id));
    }
    if wire.customer_mapping.by != "by_id" {
        return Err(format!("the events of {asked} name their customer by {}, not by id", wire.customer_mapping.by));
    }
    let (customer_key, value_key) = (wire.customer_mapping.event_payload_key, wire.value_settings.event_payload_key);
    if wire.event_name.is_empty() || customer_key.is_empty() || value_key.is_empty() || customer_key == value_key {
        return Err(format!("the events of {asked} have no name, or no two fields for customer and value"));
    }
    Ok(MeterView {
        id: wire.id,
        event_name: wire.event_name,
        formula: wire.default_aggregation.formula,
        window: wire.event_time_window,
        customer_key,
        value_key,
        is_active: wire.status == "active",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_server::{TestServer, json as answer};
    use super::*;
    use crate::provider::{ReadError, RefusalKind};

    fn meter() -> Value {
        json!({
            "id": "mtr_1", "object": "billing.meter", "created": 1_793_491_200, "updated": 1_793_491_200,
            "display_name": "Compute hours", "event_name": "compute hours", "event_time_window": null,
            "livemode": false, "status": "active", "status_transitions": {"deactivated_at": null},
            "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
            "default_aggregation": {"formula": "last"}, "value_settings": {"event_payload_key": "hours"}
        })
    }

    async fn read_with(pointer: &str, value: Value) -> (Result<MeterView, ReadError>, String) {
        let mut wire = meter();
        *wire.pointer_mut(pointer).unwrap() = value;
        let server = TestServer::play(vec![answer(200, "", &wire.to_string())]);
        let read = server.meters().read_meter(&BillingMeterId::new("mtr_1").unwrap()).await.value;
        (read, server.requests().remove(0))
    }

    #[tokio::test]
    async fn a_meter_is_read_by_the_newest_version() {
        let (read, request) = read_with("/display_name", json!("Hours")).await;
        let expected = MeterView {
            id: BillingMeterId::new("mtr_1").unwrap(),
            event_name: "compute hours".to_owned(),
            formula: "last".to_owned(),
            window: None,
            customer_key: "stripe_customer_id".to_owned(),
            value_key: "hours".to_owned(),
            is_active: true,
        };
        assert_eq!(read, Ok(expected));
        assert!(request.starts_with("GET /v1/billing/meters/mtr_1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nstripe-version: 2026-10-28.endive\r\n"), "{request}");
    }

    #[tokio::test]
    async fn s10_what_decides_whether_totals_can_be_set_is_read_where_it_is_set() {
        let read = async |pointer, value| read_with(pointer, value).await.0.unwrap();
        assert!(!read("/status", json!("inactive")).await.is_active);
        assert_eq!(read("/event_time_window", json!("day")).await.window.as_deref(), Some("day"));
        assert_eq!(read("/default_aggregation/formula", json!("count")).await.formula, "count");
    }

    #[tokio::test]
    async fn a_meter_that_is_another_or_not_whole_is_named_and_not_guessed() {
        for (pointer, value, named) in [
            ("/id", json!("mtr_2"), "mtr_2"),
            ("/object", json!("price"), "price"),
            ("/event_name", Value::Null, "string"),
            ("/event_name", json!(""), "no name"),
            ("/status", Value::Null, "string"),
            ("/default_aggregation", Value::Null, "WireAggregation"),
            ("/customer_mapping/type", json!("by_email"), "by_email"),
            ("/customer_mapping/event_payload_key", json!("hours"), "two fields"),
            ("/customer_mapping/event_payload_key", json!(""), "two fields"),
            ("/value_settings/event_payload_key", json!(""), "two fields"),
            ("/value_settings", json!({}), "event_payload_key"),
        ] {
            let error = read_with(pointer, value).await.0.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Unreadable, false), "{pointer}");
            assert!(error.to_string().contains(named), "{pointer}: {error}");
        }
    }
}
