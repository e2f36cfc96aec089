//! What happens is told by events: which, when, with what, and how they are listed.

use serde_json::{Value, json};
use usaged::sandbox::{Account, Effect, Fault};

use super::{Answer, DAY, World, at, now, run};

impl World {
    /// Events, oldest first.
    pub(crate) async fn events(&self, query: &str) -> Vec<Value> {
        let listed = self.get(&format!("/v1/events?limit=100{query}")).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        listed.json["data"].as_array().unwrap().iter().rev().cloned().collect()
    }

    /// What happened while `act` ran, in order.
    pub(crate) async fn told<T>(&self, act: impl Future<Output = T>) -> (T, Vec<Value>) {
        let before = self.events("").await;
        let value = act.await;
        let after = self.events("").await;
        (value, after.into_iter().filter(|event| !before.contains(event)).collect())
    }

    pub(crate) async fn rename(&self, name: &str) -> Answer {
        self.post(&format!("/v1/customers/{}", self.demo.customer), &[("name", name)]).await
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn what_a_request_changes_is_told_once_with_the_request_that_did_it() {
    run(|world| async move {
        let path = format!("/v1/customers/{}", world.demo.customer);
        let pairs = [("name", "Ada"), ("metadata[team]", "blue")];
        let (answers, events) = world
            .told(async {
                let first = world.post_keyed("key-1", &path, &pairs).await;
                [first, world.post_keyed("key-1", &path, &pairs).await, world.post(&path, &pairs).await]
            })
            .await;
        let [event] = events.as_slice() else { panic!("not one: {:?}", types(&events)) };
        assert_eq!((event["object"].as_str(), event["type"].as_str()), (Some("event"), Some("customer.updated")));
        assert_eq!((event["created"].as_i64(), &event["livemode"]), (Some(now()), &json!(false)));
        assert_eq!(event["api_version"], "2025-02-24.acacia");
        assert_eq!(event["request"], json!({ "id": answers[0].header("request-id"), "idempotency_key": "key-1" }));
        assert_eq!(event["data"]["object"], answers[0].json);
        assert_eq!(
            event["data"]["previous_attributes"],
            json!({ "name": "Demo customer", "metadata": { "team": null } })
        );
        assert_eq!(event["pending_webhooks"], 0);
        let path = format!("/v1/events/{}", event["id"].as_str().unwrap());
        assert_eq!(world.get(&path).await.json, *event);
    });
}

#[test]
fn a_refused_or_failed_request_tells_nothing_and_one_that_failed_after_its_work_does() {
    run(|world| async move {
        let pairs = [("email", "nowhere"), ("name", "Ada")];
        let path = format!("/v1/customers/{}", world.demo.customer);
        let (refused, events) = world.told(world.post(&path, &pairs)).await;
        assert_eq!((refused.status, types(&events)), (400, vec![]));
        for (effect, wanted) in
            [(Effect::ErrorBeforeCommit, vec![]), (Effect::CutAfterCommit, vec!["customer.updated"])]
        {
            world.sandbox.fault(Fault::next(effect).on("POST", "/v1/customers/*"));
            let request = world.form(&path, &[("name", "Grace")]);
            let (_, events) = world.told(world.try_send(request)).await;
            assert_eq!(types(&events), wanted);
        }
    });
}

#[test]
fn a_subscription_is_told_from_its_beginning_to_its_end() {
    run(|world| async move {
        let customer = world.post("/v1/customers", &[("payment_method", "pm_card_visa")]).await.id();
        let price = world.demo.prices["price_pro_monthly"].clone();
        let pairs =
            [("customer", customer.as_str()), ("items[0][price]", &price), ("payment_behavior", "default_incomplete")];
        let (made, events) = world.told(world.post("/v1/subscriptions", &pairs)).await;
        let wanted = [
            "customer.updated",
            "customer.subscription.created",
            "invoice.created",
            "payment_intent.created",
            "invoice.finalized",
        ];
        assert_eq!(types(&events), wanted);
        assert_eq!(events[1]["data"]["object"], made.json, "as the answer shows it");
        assert_eq!(events[2]["data"]["object"]["status"], "draft", "each invoice as it was then");
        assert_eq!(events[4]["data"]["object"]["status"], "open");

        let subscription = made.id();
        let invoice = made.json["latest_invoice"].as_str().unwrap();
        let (_, events) = world.told(world.post(&format!("/v1/invoices/{invoice}/pay"), &[])).await;
        let wanted = [
            "payment_intent.succeeded",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
            "customer.subscription.updated",
        ];
        assert_eq!(types(&events), wanted);
        assert_eq!(
            events[4]["data"]["previous_attributes"],
            json!({ "default_payment_method": null, "status": "incomplete" })
        );

        let path = format!("/v1/subscriptions/{subscription}");
        let item = made.json["items"]["data"][0]["id"].as_str().unwrap();
        let quantity = [("quantity", "2"), ("proration_behavior", "none")];
        let (_, events) = world.told(world.post(&format!("/v1/subscription_items/{item}"), &quantity)).await;
        assert_eq!(types(&events), ["customer.subscription.updated"]);
        let previous = &events[0]["data"]["previous_attributes"];
        assert_eq!(previous["items"]["data"][0]["quantity"], 1);
        assert_eq!(previous.as_object().unwrap().keys().collect::<Vec<_>>(), ["items", "quantity"]);
        let (_, events) = world.told(world.send(world.request("DELETE", &path))).await;
        assert_eq!(types(&events), ["customer.subscription.deleted"]);
        assert_eq!(events[0]["data"]["object"]["status"], "canceled");
        assert!(events[0]["data"].get("previous_attributes").is_none());
    });
}

#[test]
fn what_time_does_is_told_with_the_moment_at_which_it_happened_and_no_request() {
    run(|world| async move {
        let end = at("2026-12-01T00:00:00Z").secs();
        let ((), events) = world.told(async { world.sandbox.set_clock(at("2026-12-20T00:00:00Z")).unwrap() }).await;
        let told: Vec<_> =
            events.iter().map(|one| (one["type"].as_str().unwrap(), one["created"].as_i64().unwrap() - end)).collect();
        let wanted = [
            ("invoice.created", 0),
            ("customer.subscription.updated", 0),
            ("payment_intent.created", 3_600),
            ("invoice.finalized", 3_600),
            ("payment_intent.succeeded", 3_600),
            ("invoice.updated", 3_600),
            ("invoice.paid", 3_600),
            ("invoice.payment_succeeded", 3_600),
        ];
        assert_eq!(told, wanted);
        assert!(events.iter().all(|one| one["request"] == json!({ "id": null, "idempotency_key": null })));
        let previous = &events[1]["data"]["previous_attributes"];
        assert_eq!(previous["current_period_end"], end);
        world
            .post(&format!("/v1/subscriptions/{}", world.demo.subscription), &[("cancel_at_period_end", "true")])
            .await
            .id();
        let ((), events) = world.told(async { world.sandbox.set_clock(at("2027-01-01T00:00:00Z")).unwrap() }).await;
        assert_eq!(types(&events), ["invoice.created", "customer.subscription.deleted"]);
    });
}

#[test]
fn every_failed_payment_is_told_and_what_the_customer_has_to_do() {
    run(|world| async move {
        world.sandbox.set_account(&Account { retry_days: vec![3], ..Account::default() }).unwrap();
        let path = format!("/v1/customers/{}", world.demo.customer);
        world.post(&path, &[("payment_method", "pm_card_chargeCustomerFail")]).await.id();
        world
            .post(
                &format!("/v1/subscriptions/{}", world.demo.subscription),
                &[("default_payment_method", "pm_card_chargeCustomerFail")],
            )
            .await
            .id();
        let ((), events) = world.told(async { world.sandbox.set_clock(at("2026-12-10T00:00:00Z")).unwrap() }).await;
        let failed: Vec<_> = events.iter().filter(|one| one["type"] == "invoice.payment_failed").collect();
        let first = at("2026-12-01T01:00:00Z").secs();
        let told = |one: &&Value| {
            (one["created"].as_i64().unwrap() - first, one["data"]["object"]["next_payment_attempt"].as_i64())
        };
        assert_eq!(failed.iter().map(told).collect::<Vec<_>>(), [(0, Some(first + 3 * DAY)), (3 * DAY, None)]);

        let price = world.demo.prices["price_pro_monthly"].clone();
        for (method, wanted) in [
            ("pm_card_chargeCustomerFail", "invoice.payment_failed"),
            ("pm_card_authenticationRequiredOnSetup", "invoice.payment_action_required"),
        ] {
            let customer = world.post("/v1/customers", &[("payment_method", method)]).await.id();
            let pairs = [("customer", customer.as_str()), ("items[0][price]", &price)];
            let (_, events) = world.told(world.post("/v1/subscriptions", &pairs)).await;
            assert!(types(&events).contains(&wanted), "{:?}", types(&events));
        }
    });
}

#[test]
fn it_is_told_three_days_before_a_trial_ends_and_again_where_the_end_moves() {
    run(|world| async move {
        let price = world.demo.prices["price_pro_monthly"].clone();
        let customer = world.demo.customer.clone();
        let ends = "customer.subscription.trial_will_end";
        let told = async |world: &World| -> Vec<i64> {
            let events = world.events(&format!("&type={ends}")).await;
            events.iter().map(|one| one["created"].as_i64().unwrap() - now()).collect()
        };
        let pairs = |days| [("customer", customer.as_str()), ("items[0][price]", &price), ("trial_period_days", days)];
        let long = world.post("/v1/subscriptions", &pairs("10")).await.id();
        assert_eq!(told(&world).await, Vec::<i64>::new());
        world.post("/v1/subscriptions", &pairs("2")).await.id();
        assert_eq!(told(&world).await, [0], "a short one at once");
        world.sandbox.advance(8 * DAY * 1_000_000).unwrap();
        assert_eq!(told(&world).await, [0, 7 * DAY]);
        let later = (now() + 15 * DAY).to_string();
        world.post(&format!("/v1/subscriptions/{long}"), &[("trial_end", later.as_str())]).await.id();
        world.sandbox.advance(20 * DAY * 1_000_000).unwrap();
        assert_eq!(told(&world).await, [0, 7 * DAY, 12 * DAY]);
    });
}

#[test]
fn on_a_test_clock_things_happen_in_its_time_and_are_listed_all_the_same() {
    run(|world| async move {
        let then = at("2025-01-01T00:00:00Z").secs();
        let clock = world.post("/v1/test_helpers/test_clocks", &[("frozen_time", &then.to_string())]).await.id();
        let pairs = [("test_clock", clock.as_str()), ("payment_method", "pm_card_visa")];
        let (customer, events) = world.told(world.post("/v1/customers", &pairs)).await;
        assert_eq!((types(&events), &events[0]["created"]), (vec!["customer.created"], &json!(then)));
        let price = world.demo.prices["price_pro_monthly"].clone();
        world.post("/v1/subscriptions", &[("customer", &customer.id()), ("items[0][price]", &price)]).await.id();
        let to = at("2025-02-02T00:00:00Z").secs();
        let path = format!("/v1/test_helpers/test_clocks/{clock}/advance");
        let (_, events) = world.told(world.post(&path, &[("frozen_time", &to.to_string())])).await;
        assert_eq!((types(&events)[0], &events[0]["created"]), ("invoice.created", &json!(then + 31 * DAY)));
        assert!(types(&events).contains(&"invoice.paid"));
    });
}

#[test]
fn lists_of_events_go_by_type_and_time_and_end_after_thirty_days() {
    run(|world| async move {
        for name in ["a", "b", "c"] {
            world.rename(name).await.id();
            world.sandbox.advance(10_000_000).unwrap();
        }
        let name = |event: &Value| event["data"]["object"]["name"].as_str().unwrap().to_owned();
        let names = async |query: String| world.events(&query).await.iter().map(name).collect::<Vec<_>>();
        let updated = "&type=customer.updated";
        let bound = |name: &str, seconds: i64| format!("{updated}&created[{name}]={}", now() + seconds);
        assert_eq!(names(updated.to_owned()).await, ["a", "b", "c"]);
        assert_eq!(names(bound("gte", 10)).await, ["b", "c"]);
        assert_eq!(names(bound("gt", 10)).await, ["c"]);
        assert_eq!(names(bound("lte", 10)).await.pop().unwrap(), "b");
        assert_eq!(names(bound("lt", 10)).await.pop().unwrap(), "a");
        assert_eq!(names(format!("{updated}&created={}", now() + 10)).await, ["b"]);
        assert_eq!(names("&types[]=customer.created&types[]=invoice.sent".to_owned()).await.len(), 1);
        let kinds = world.events("&type=customer.s*").await;
        assert_eq!(types(&kinds), ["customer.subscription.created"]);

        let page = world.get("/v1/events?type=customer.updated&limit=2").await.json;
        assert_eq!(
            (name(&page["data"][0]), name(&page["data"][1]), &page["has_more"]),
            ("c".to_owned(), "b".to_owned(), &json!(true))
        );
        let last = page["data"][1]["id"].as_str().unwrap();
        let next = world.get(&format!("/v1/events?type=customer.updated&limit=1&starting_after={last}")).await.json;
        assert_eq!(name(&next["data"][0]), "a");
        let back = world.get(&format!("/v1/events?type=customer.updated&ending_before={last}")).await.json;
        assert_eq!(back["data"].as_array().unwrap().iter().map(name).collect::<Vec<_>>(), ["c"]);

        for (query, param) in [
            ("type=a.b&types[]=c.d", ""),
            ("created[since]=1", "created[since]"),
            ("type=none.such&created[gt]=soon", "created[gt]"),
            ("limit=0", "limit"),
        ] {
            let refused = world.get(&format!("/v1/events?{query}")).await;
            assert_eq!((refused.status, refused.error("param")), (400, param), "{query}");
        }
        let first = world.events("").await[0]["id"].as_str().unwrap().to_owned();
        world.sandbox.set_clock(at("2027-06-01T12:00:00Z")).unwrap();
        world.rename("d").await.id();
        assert_eq!(world.get(&format!("/v1/events/{first}")).await.status, 404);
        let oldest = world.events("").await[0]["created"].as_i64().unwrap();
        assert!(oldest >= at("2027-05-02T12:00:00Z").secs(), "{oldest}");
    });
}
