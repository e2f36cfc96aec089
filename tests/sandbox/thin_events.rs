//! What is found out about meter events after they were accepted.

use super::*;

const CLOVER: &str = "2025-09-30.clover";

async fn note(world: &World, body: String) {
    let url = format!("http://{}/_sandbox/meter_errors", world.address);
    let noted = world.send(world.client.post(url).body(body)).await;
    assert_eq!(noted.status, 200, "{}", noted.text);
}

/// An event that named no customer of this account.
fn unmapped(meter: &str, key: &str) -> String {
    format!(
        "{{\"meter\": \"{meter}\", \"identifier\": \"e\", \"idempotency_key\": \"{key}\", \
         \"code\": \"meter_event_customer_not_found\"}}"
    )
}

async fn events(world: &World, path: &str) -> Answer {
    world.send(world.request("GET", path).header("stripe-version", CLOVER)).await
}

#[test]
fn errors_of_one_meter_are_reported_together_and_quote_the_idempotency_keys() {
    run(|world| async move {
        let meter = [("display_name", "GPU"), ("event_name", "gpu"), ("default_aggregation[formula]", "sum")];
        let meter = world.post("/v1/billing/meters", &meter).await.id();
        note(&world, unmapped(&meter, "key-1")).await;
        note(&world, unmapped(&meter, "key-2")).await;
        assert_eq!(events(&world, "/v2/core/events").await.json["data"], serde_json::json!([]), "not found out yet");
        world.sandbox.advance(10_000_000).unwrap();
        let listed = events(&world, &format!("/v2/core/events?object_id={meter}")).await.json;
        let event = &listed["data"][0];
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
        assert_eq!((event["object"].as_str(), event["livemode"].as_bool()), (Some("v2.core.event"), Some(false)));
        assert_eq!(event["type"], "v1.billing.meter.error_report_triggered");
        assert_eq!(event["related_object"]["url"], format!("/v1/billing/meters/{meter}"));
        let data = &event["data"];
        assert_eq!(data["developer_message_summary"], "There are 2 invalid events");
        assert_eq!(data["validation_start"], "2026-11-10T12:00:00.000Z");
        assert_eq!(data["validation_end"], "2026-11-10T12:00:10.000Z");
        let kind = &data["reason"]["error_types"][0];
        assert_eq!(
            (kind["code"].as_str(), kind["error_count"].as_i64()),
            (Some("meter_event_customer_not_found"), Some(2))
        );
        let quoted: Vec<_> =
            kind["sample_errors"].as_array().unwrap().iter().map(|one| &one["request"]["identifier"]).collect();
        assert_eq!(quoted, ["key-1", "key-2"]);
        let alone = events(&world, &format!("/v2/core/events/{}", event["id"].as_str().unwrap())).await;
        assert_eq!(&alone.json, event);
        // A report that is out does not change.
        note(&world, unmapped(&meter, "key-3")).await;
        assert_eq!(events(&world, &format!("/v2/core/events/{}", alone.id())).await.json, alone.json);
    });
}

#[test]
fn an_event_of_an_unknown_customer_is_reported() {
    meters::on("sum", None, |world| async move {
        let pairs = [
            ("event_name", "api_credits"),
            ("payload[stripe_customer_id]", "cus_nobody"),
            ("payload[value]", "5"),
            ("identifier", "e1"),
        ];
        assert_eq!(world.post_keyed("key-1", meters::EVENTS, &pairs).await.status, 200);
        world.sandbox.advance(10_000_000).unwrap();
        let meter = world.demo.meter_api.as_deref().unwrap();
        let listed = events(&world, &format!("/v2/core/events?object_id={meter}")).await.json;
        let kind = &listed["data"][0]["data"]["reason"]["error_types"][0];
        assert_eq!(kind["code"], "meter_event_customer_not_found");
        assert_eq!(kind["sample_errors"][0]["request"]["identifier"], "key-1");
    });
}

#[test]
fn events_without_a_meter_are_reported_as_such() {
    run(|world| async move {
        note(&world, "{\"identifier\": \"only-this\", \"code\": \"no_meter\"}".to_owned()).await;
        world.sandbox.advance(10_000_000).unwrap();
        let path = "/v2/core/events?types[0]=v1.billing.meter.no_meter_found";
        let event = events(&world, path).await.json["data"][0].clone();
        assert!(event.get("related_object").is_none());
        let kind = &event["data"]["reason"]["error_types"][0];
        assert_eq!(kind["sample_errors"][0]["request"]["identifier"], "only-this");
    });
}

#[test]
fn pages_of_the_second_api_name_each_other_by_url() {
    run(|world| async move {
        for meter in ["mtr_a", "mtr_b", "mtr_c"] {
            note(&world, unmapped(meter, "k")).await;
        }
        world.sandbox.advance(10_000_000).unwrap();
        let meter_of = |page: &Value| page["data"][0]["related_object"]["id"].as_str().unwrap().to_owned();
        let mut seen = Vec::new();
        let mut next = Some("/v2/core/events?limit=1".to_owned());
        let mut last = Value::Null;
        while let Some(url) = next {
            last = events(&world, &url).await.json;
            seen.push(meter_of(&last));
            next = last["next_page_url"].as_str().map(str::to_owned);
        }
        assert_eq!(seen, ["mtr_c", "mtr_b", "mtr_a"]);
        let back = events(&world, last["previous_page_url"].as_str().unwrap()).await.json;
        assert_eq!(meter_of(&back), "mtr_b");
        let first = events(&world, back["previous_page_url"].as_str().unwrap()).await.json;
        assert_eq!((meter_of(&first), &first["previous_page_url"]), ("mtr_c".to_owned(), &Value::Null));
        world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
        assert_eq!(events(&world, "/v2/core/events").await.json["data"], serde_json::json!([]));
    });
}

#[test]
fn versions_before_thin_events_do_not_know_them() {
    run(|world| async move {
        for (version, status) in [("2024-06-20", 404), ("2024-09-30.acacia", 200), (CLOVER, 200)] {
            let request = world.request("GET", "/v2/core/events").header("stripe-version", version);
            assert_eq!(world.send(request).await.status, status, "{version}");
        }
        assert_eq!(events(&world, "/v2/core/events/evt_x").await.status, 404);
    });
}
