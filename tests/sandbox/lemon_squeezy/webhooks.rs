//! Webhooks of Lemon Squeezy: kept, and told what happens.

use ring::hmac;
use serde_json::{Value, json};
use usaged::sandbox::lemon_squeezy::Status;
use usaged::sandbox::{Tamper, Tampering};

use super::super::receiver::{Letter, Receiver, unhex};
use super::super::{Answer, at, read};
use super::{JSON_API, NEXT_MONTH, World, run};

const SECRET: &str = "judge-me-by-my-signature";
const ALL: [&str; 8] = [
    "subscription_created",
    "subscription_updated",
    "subscription_cancelled",
    "subscription_expired",
    "subscription_paused",
    "subscription_unpaused",
    "subscription_payment_success",
    "subscription_payment_failed",
];

fn order(attributes: &Value) -> Value {
    json!({ "data": {
        "type": "webhooks",
        "attributes": attributes,
        "relationships": { "store": { "data": { "type": "stores", "id": "1" } } },
    } })
}

impl World {
    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        read(self.request(method, path).header("content-type", JSON_API).body(body.to_string())).await.unwrap()
    }

    async fn webhook(&self, receiver: &Receiver, events: &[&str]) -> String {
        let body = order(&json!({ "url": receiver.url, "events": events, "secret": SECRET }));
        let made = self.send("POST", "/v1/webhooks", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json["data"]["id"].as_str().unwrap().to_owned()
    }

    /// Waits until nothing is to be sent at this time of the sandbox.
    async fn quiet(&self) -> Vec<Value> {
        loop {
            let shown = self.get("/_sandbox/deliveries").await.json["deliveries"].clone();
            let now = self.sandbox.now().secs();
            if shown.as_array().unwrap().iter().all(|one| one["due"].as_i64().is_none_or(|due| due > now)) {
                return shown.as_array().unwrap().clone();
            }
        }
    }

    /// What came since so many.
    async fn since(&self, receiver: &Receiver, count: usize) -> Vec<String> {
        self.quiet().await;
        receiver.came()[count..].iter().map(|letter| letter.header("x-event-name").to_owned()).collect()
    }
}

fn is_signed(letter: &Letter) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = unhex(letter.header("x-signature")).unwrap();
    hmac::verify(&key, letter.body.as_bytes(), &tag).is_ok()
}

#[test]
fn webhooks_are_kept_changed_and_deleted_and_never_show_their_secret() {
    run(|world| async move {
        let attributes = json!({ "url": "https://example.com/hook", "events": ["order_created"], "secret": SECRET });
        let made = world.send("POST", "/v1/webhooks", &order(&attributes)).await;
        assert_eq!((made.status, made.text.contains(SECRET)), (201, false));
        let id = made.json["data"]["id"].as_str().unwrap();
        let path = format!("/v1/webhooks/{id}");
        let shown = &made.json["data"]["attributes"];
        assert_eq!((&shown["events"], &shown["last_sent_at"]), (&json!(["order_created"]), &Value::Null));
        let change = json!({ "data": { "type": "webhooks", "id": id, "attributes": { "events": ALL } } });
        let changed = world.send("PATCH", &path, &change).await;
        assert_eq!((changed.status, &changed.json["data"]["attributes"]["events"]), (200, &json!(ALL)));
        assert_eq!(world.get(&path).await.json["data"], changed.json["data"]);
        assert_eq!(world.get("/v1/webhooks").await.json["data"], json!([changed.json["data"]]));
        let deleted = world.send("DELETE", &path, &Value::Null).await;
        assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
        assert_eq!(world.get(&path).await.status, 404);
    });
}

#[test]
fn webhooks_that_cannot_be_are_refused_by_their_pointer() {
    run(|world| async move {
        let good = json!({ "url": "https://example.com/hook", "events": ["order_created"], "secret": SECRET });
        for (name, value, status) in [
            ("url", json!("example.com"), 422),
            ("url", Value::Null, 422),
            ("url", json!("http://192.0.2.1/"), 404),
            ("events", json!([]), 422),
            ("events", json!(["subscription_payed"]), 422),
            ("secret", json!("short"), 422),
            ("secret", json!("x".repeat(41)), 422),
            ("colour", json!("blue"), 400),
        ] {
            let mut attributes = good.clone();
            attributes[name] = value.clone();
            let refused = world.send("POST", "/v1/webhooks", &order(&attributes)).await;
            assert_eq!(refused.status, status, "{name} {value}: {}", refused.text);
            if status != 404 {
                let pointer = &refused.json["errors"][0]["source"]["pointer"];
                assert_eq!(pointer, &json!(format!("/data/attributes/{name}")), "{value}");
            }
        }
        for left_out in ["url", "events", "secret"] {
            let mut attributes = good.clone();
            attributes.as_object_mut().unwrap().remove(left_out);
            let refused = world.send("POST", "/v1/webhooks", &order(&attributes)).await;
            let pointer = &refused.json["errors"][0]["source"]["pointer"];
            assert_eq!((refused.status, pointer), (422, &json!(format!("/data/attributes/{left_out}"))));
        }
    });
}

#[test]
fn what_happens_to_a_subscription_is_told_and_signed() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let id = world.webhook(&receiver, &ALL).await;
        let made = world.subscribe(None, "1900");
        assert_eq!(world.since(&receiver, 0).await, ["subscription_created", "subscription_payment_success"]);
        let letters = receiver.came();
        assert!(letters.iter().all(is_signed));
        let event = letters[0].event();
        assert_eq!(event["meta"], json!({ "event_name": "subscription_created", "test_mode": true, "webhook_id": id }));
        let shown = world.get(&format!("/v1/subscriptions/{}", made.subscription)).await.json["data"].clone();
        assert_eq!(event["data"], shown, "the resource as the API shows it");
        assert_eq!(letters[1].event()["data"]["type"], "subscription-invoices");

        for (status, wanted) in [
            (Status::Paused, &["subscription_paused", "subscription_updated"][..]),
            (Status::Active, &["subscription_unpaused", "subscription_updated"]),
            (Status::Active, &[]),
            (Status::Cancelled, &["subscription_cancelled", "subscription_updated"]),
        ] {
            let came = receiver.came().len();
            world.sandbox.set_status(&made.subscription, status).unwrap();
            assert_eq!(world.since(&receiver, came).await, wanted, "{status:?}");
        }
        world.sandbox.set_status(&world.demo.subscription, Status::PastDue).unwrap();
        world.quiet().await;
        let came = receiver.came().len();
        world.sandbox.set_clock(at(NEXT_MONTH)).unwrap();
        let told = world.since(&receiver, came).await;
        let is_told = |name: &str| told.iter().any(|told| told == name);
        assert!(is_told("subscription_payment_failed") && !is_told("subscription_expired"), "{told:?}");
        world.sandbox.set_clock(at("2026-12-20T00:00:00Z")).unwrap();
        assert!(world.since(&receiver, came).await.contains(&"subscription_expired".to_owned()));
    });
}

#[test]
fn only_a_200_ends_it_and_there_are_three_more_tries() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        world.webhook(&receiver, &["subscription_created"]).await;
        receiver.answer(&[202, 500, 302, 500]);
        world.subscribe(None, "1900");
        let mut pauses = Vec::new();
        loop {
            let [delivery] = world.quiet().await.try_into().unwrap();
            let Some(due) = delivery["due"].as_i64() else { break };
            pauses.push(due - world.sandbox.now().secs());
            world.sandbox.advance((due - world.sandbox.now().secs()) * 1_000_000).unwrap();
        }
        assert_eq!(pauses, [5, 25, 125]);
        let came = receiver.wait_for(4).await;
        assert!(came.iter().all(|letter| letter.body == came[0].body && is_signed(letter)));
    });
}

#[test]
fn deliveries_come_twice_or_forged_where_that_is_asked_for() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        world.webhook(&receiver, &["subscription_created"]).await;
        world.sandbox.tamper(Tampering::next(Tamper::Twice));
        world.subscribe(None, "1900");
        receiver.wait_for(2).await;
        world.sandbox.tamper(Tampering::next(Tamper::Forged));
        world.subscribe(None, "1900");
        assert!(!is_signed(&receiver.wait_for(3).await[2]));
    });
}
