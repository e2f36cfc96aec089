//! The strict Lemon Squeezy sandbox over real HTTP: one test per row of what it refuses and keeps.

mod webhooks;

use std::net::SocketAddr;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use usaged::sandbox::lemon_squeezy::{
    Aggregation, Behaviour, LastUsage, LemonSqueezy, LemonSqueezyDemo, NewItem, NewSubscription, SetOnSum, Status,
    Subscribed, Zero, seed_lemon_squeezy_demo,
};
use usaged::sandbox::{Effect, Fault, SandboxClock};

use super::{Answer, DAY, START, Serving, at, client, read, wait_until};

const JSON_API: &str = "application/vnd.api+json";
const NEXT_MONTH: &str = "2026-12-01T00:00:00Z";

/// A sandbox behind a socket, with a demo customer, and a client.
struct World {
    sandbox: LemonSqueezy,
    demo: LemonSqueezyDemo,
    address: SocketAddr,
    client: reqwest::Client,
    _serving: Serving,
    _dir: tempfile::TempDir,
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = LemonSqueezy::open(dir.path(), SandboxClock::frozen(at(START))).unwrap();
        let demo = seed_lemon_squeezy_demo(&sandbox).unwrap();
        let (address, serving) = serve(&sandbox).await;
        test(World { sandbox, demo, address, client: client(), _serving: serving, _dir: dir }).await;
    });
}

async fn serve(sandbox: &LemonSqueezy) -> (SocketAddr, Serving) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = sandbox.clone();
    let mut serving = Serving::new();
    serving.spawn(async move { sandbox.serve(listener, std::future::pending()).await });
    (address, serving)
}

/// As an integration would write it.
fn usage(item: &str, quantity: &Value, action: &str) -> Value {
    json!({"data": {
        "type": "usage-records",
        "attributes": {"quantity": quantity, "action": action},
        "relationships": {"subscription-item": {"data": {"type": "subscription-items", "id": item}}},
    }})
}

impl World {
    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        request.bearer_auth(&self.demo.key).header("accept", JSON_API)
    }

    async fn get(&self, path: &str) -> Answer {
        read(self.request("GET", path)).await.unwrap()
    }

    fn posting(&self, body: &Value) -> reqwest::RequestBuilder {
        self.request("POST", "/v1/usage-records").header("content-type", JSON_API).body(body.to_string())
    }

    async fn post(&self, body: &Value) -> Answer {
        read(self.posting(body)).await.unwrap()
    }

    async fn set(&self, item: &str, quantity: i64) -> Answer {
        self.post(&usage(item, &json!(quantity), "set")).await
    }

    async fn increment(&self, item: &str, quantity: i64) -> Answer {
        self.post(&usage(item, &json!(quantity), "increment")).await
    }

    fn subscribe(&self, aggregation: Option<Aggregation>, cents: &str) -> Subscribed {
        let item = NewItem { aggregation, unit_price: cents.parse().unwrap() };
        let order = NewSubscription { items: vec![item], anchor: None, trial_days: 0 };
        self.sandbox.subscribe(&order).unwrap()
    }

    fn standing(&self, item: &str) -> i64 {
        self.sandbox.total(item, self.sandbox.now()).unwrap()
    }

    fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.sandbox.behaviour().unwrap();
        change(&mut behaviour);
        self.sandbox.behave(behaviour).unwrap();
    }

    fn invoiced(&self, subscription: &str) -> Vec<(String, i64)> {
        let invoices = self.sandbox.invoices(subscription).unwrap();
        let shown = |one: &Value| {
            let attributes = &one["attributes"];
            (attributes["status"].as_str().unwrap().to_owned(), attributes["total"].as_i64().unwrap())
        };
        invoices.iter().map(shown).collect()
    }
}

fn refused(answer: &Answer) -> (u16, &str, &str) {
    let error = &answer.json["errors"][0];
    assert_eq!(error["status"].as_str(), Some(answer.status.to_string().as_str()), "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some(JSON_API));
    let source = error["source"]["pointer"].as_str().or_else(|| error["source"]["parameter"].as_str());
    (answer.status, source.unwrap_or(""), error["detail"].as_str().unwrap())
}

#[test]
fn only_keys_of_the_sandbox_are_let_in_and_none_is_repeated() {
    run(|world| async move {
        let me = format!("http://{}/v1/users/me", world.address);
        // Real keys do not tell live from test.
        for key in ["eyJ0eXAiOiJKV1Qi.eyJhdWQiOiI5.secret", "sandbox.", "sandbox.a b", "sk_test_0123456789"] {
            let answer = read(world.client.get(&me).header("accept", JSON_API).bearer_auth(key)).await.unwrap();
            assert_eq!(refused(&answer), (401, "", "Unauthenticated."));
            assert!(!answer.text.contains(key));
        }
        assert_eq!(read(world.client.get(&me)).await.unwrap().status, 401);
        let answer = world.get("/v1/users/me").await;
        assert_eq!((answer.status, &answer.json["meta"]["test_mode"]), (200, &json!(true)));
        let log = world.sandbox.requests();
        assert_eq!((log[0].key.as_str(), log.last().unwrap().key.as_str()), ("", "sandbox.…gent"));
    });
}

#[test]
fn other_media_types_are_refused() {
    run(|world| async move {
        let url = format!("http://{}/v1/usage-records", world.address);
        let body = usage(&world.demo.item_api, &json!(1), "set").to_string();
        let request = |accept: &str, kind: &str| {
            let request = world.client.post(&url).bearer_auth(&world.demo.key).header("accept", accept);
            request.header("content-type", kind).body(body.clone())
        };
        let json = read(request("application/json", JSON_API)).await.unwrap();
        assert_eq!(refused(&json).0, 406);
        for kind in ["application/json", "application/x-www-form-urlencoded", ""] {
            assert_eq!(refused(&read(request(JSON_API, kind)).await.unwrap()).0, 415, "{kind}");
        }
        assert_eq!(world.standing(&world.demo.item_api), 0);
        assert_eq!(read(request(JSON_API, JSON_API)).await.unwrap().status, 201);
    });
}

#[test]
fn a_subscription_shows_what_an_integration_needs() {
    run(|world| async move {
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        let answer = world.get(&format!("{path}?include=store,subscription-items")).await;
        let attributes = &answer.json["data"]["attributes"];
        assert_eq!(attributes["customer_id"].to_string(), world.demo.customer);
        assert_eq!((attributes["status"].as_str(), attributes["billing_anchor"].as_i64()), (Some("active"), Some(1)));
        assert_eq!(attributes["renews_at"], "2026-12-01T00:00:00.000000Z");
        assert_eq!((&attributes["ends_at"], &attributes["pause"]), (&Value::Null, &Value::Null));
        assert_eq!(attributes["test_mode"], true);
        assert_eq!(attributes["first_subscription_item"]["id"].to_string(), world.demo.item_compute);
        let included = answer.json["included"].as_array().unwrap();
        let types: Vec<_> = included.iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["stores", "subscription-items", "subscription-items"]);
        assert_eq!(included[0]["attributes"]["currency"], "EUR");
        assert_eq!(world.get("/v1/stores/1").await.json["data"], included[0]);
        assert!(world.get(&path).await.json.get("included").is_none());
        assert_eq!(refused(&world.get(&format!("{path}?include=nothing")).await).1, "include");
        let not_kept = world.get(&format!("{path}?include=order")).await;
        assert!(refused(&not_kept).2.starts_with("usaged sandbox: include=order"), "{}", not_kept.text);
    });
}

#[test]
fn items_and_prices_are_found_by_their_ids() {
    run(|world| async move {
        let list = format!("/v1/subscription-items?filter[subscription_id]={}", world.demo.subscription);
        let listed = world.get(&format!("{list}&include=price")).await.json;
        assert_eq!(listed["data"][0]["id"], world.demo.item_api.as_str(), "newest first");
        assert_eq!(listed["included"].as_array().unwrap().len(), 2);
        let item = world.get(&format!("/v1/subscription-items/{}", world.demo.item_compute)).await.json;
        assert_eq!(item["data"], listed["data"][1]);
        let attributes = &item["data"]["attributes"];
        assert_eq!((&attributes["is_usage_based"], &attributes["quantity"]), (&json!(true), &json!(0)));
        let price = world.get(&format!("/v1/prices/{}", world.demo.prices["compute_hours"])).await.json;
        let attributes = &price["data"]["attributes"];
        assert_eq!(attributes["usage_aggregation"], "last_during_period");
        assert_eq!((&attributes["unit_price"], &attributes["unit_price_decimal"]), (&Value::Null, &json!("4")));
        assert_eq!(attributes["renewal_interval_unit"], "month");
        for path in ["/v1/subscriptions/9", "/v1/subscription-items/9", "/v1/prices/9", "/v1/stores/9", "/v1/nothing"] {
            assert_eq!(refused(&world.get(path).await), (404, "", "The requested resource does not exist."), "{path}");
        }
        // An id of another kind is not found either.
        assert_eq!(world.get(&format!("/v1/prices/{}", world.demo.item_api)).await.status, 404);
        assert_eq!(refused(&world.get("/v1/subscription-items?filter[color]=1").await).0, 400);
    });
}

#[test]
fn a_body_that_is_not_a_usage_record_is_refused_with_a_pointer() {
    run(|world| async move {
        let item = world.demo.item_api.as_str();
        let with = |pointer: &str, name: &str, value: Option<Value>| {
            let mut body = usage(item, &json!(1), "set");
            let object = body.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            match value {
                Some(value) => drop(object.insert(name.to_owned(), value)),
                None => drop(object.remove(name)),
            }
            body
        };
        let (quantity, attributes) = ("/data/attributes/quantity", "/data/attributes");
        let related = "/data/relationships/subscription-item";
        let elsewhere = json!({"data": {"type": "subscriptions", "id": "1"}});
        let nowhere = json!({"data": {"type": "subscription-items", "id": "999"}});
        for (body, status, source) in [
            (json!("text"), 400, ""),
            (json!({}), 400, ""),
            (with("/data", "type", None), 400, "/data"),
            (with("/data", "type", Some(json!("orders"))), 409, "/data/type"),
            (with("/data", "id", Some(json!("1"))), 409, "/data/id"),
            (with(attributes, "quantity", None), 422, quantity),
            (with(attributes, "quantity", Some(json!("5"))), 422, quantity),
            (with(attributes, "quantity", Some(json!(1.5))), 422, quantity),
            (with(attributes, "quantity", Some(json!(-1))), 422, quantity),
            (with(attributes, "action", Some(json!("clear"))), 422, "/data/attributes/action"),
            // There is none, whatever would be said by it.
            (with(attributes, "timestamp", Some(json!(1))), 400, "/data/attributes/timestamp"),
            (with("/data/relationships", "subscription-item", None), 422, related),
            (with("/data/relationships", "subscription-item", Some(elsewhere)), 422, related),
            (with("/data/relationships", "subscription-item", Some(nowhere)), 404, related),
        ] {
            let answer = world.post(&body).await;
            let (found, at, _) = refused(&answer);
            assert_eq!((found, at), (status, source), "{body}: {}", answer.text);
        }
        assert_eq!(refused(&read(world.posting(&json!(1)).body("{\"data\"")).await.unwrap()).0, 400);
        assert_eq!(world.standing(item), 0);
    });
}

#[test]
fn a_quantity_of_zero_is_refused_or_taken_as_is_chosen() {
    run(|world| async move {
        let item = world.demo.item_api.clone();
        world.set(&item, 5).await;
        let answer = world.set(&item, 0).await;
        assert_eq!(refused(&answer), (422, "/data/attributes/quantity", "The quantity must be at least 1."));
        world.behave(|behaviour| behaviour.zero = Zero::Accepted);
        assert_eq!(world.set(&item, 0).await.status, 201);
        assert_eq!(world.standing(&item), 0);
        assert_eq!(world.set(&item, -1).await.status, 422);
    });
}

#[test]
fn only_usage_based_items_take_usage() {
    run(|world| async move {
        let flat = world.subscribe(None, "900");
        for answer in [
            world.set(&flat.items[0], 1).await,
            world.get(&format!("/v1/subscription-items/{}/current-usage", flat.items[0])).await,
        ] {
            assert_eq!(refused(&answer), (404, "", "This subscription item is not usage-based."));
        }
        let item = world.get(&format!("/v1/subscription-items/{}", flat.items[0])).await.json;
        assert_eq!(item["data"]["attributes"]["quantity"], 1);
        let price = world.get(&format!("/v1/prices/{}", flat.prices[0])).await.json;
        assert_eq!(price["data"]["attributes"]["unit_price"], 900);
        world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
        let paid = || ("paid".to_owned(), 900);
        assert_eq!(world.invoiced(&flat.subscription), [paid(), paid()], "in advance");
    });
}

#[test]
fn a_record_answers_with_what_it_did_and_the_period_shows_it() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        let answer = world.set(&item, 12).await;
        assert_eq!((answer.status, answer.json["data"]["type"].as_str()), (201, Some("usage-records")));
        let attributes = &answer.json["data"]["attributes"];
        assert_eq!((&attributes["quantity"], &attributes["action"]), (&json!(12), &json!("set")));
        assert_eq!(attributes["subscription_item_id"].to_string(), item);
        assert_eq!(attributes["created_at"], "2026-11-10T12:00:00.000000Z");
        let current = world.get(&format!("/v1/subscription-items/{item}/current-usage")).await.json;
        let meta = json!({
            "period_start": "2026-11-10T12:00:00+00:00",
            "period_end": "2026-12-01T00:00:00+00:00",
            "quantity": 12,
            "interval_unit": "month",
            "interval_quantity": 1,
        });
        assert_eq!(current["meta"], meta);
        assert!(current.get("data").is_none());
    });
}

#[test]
fn there_are_no_idempotency_keys() {
    run(|world| async move {
        let item = world.subscribe(Some(Aggregation::Sum), "1").items.remove(0);
        for _ in 0..2 {
            let request = world.posting(&usage(&item, &json!(5), "increment")).header("idempotency-key", "k");
            assert_eq!(read(request).await.unwrap().status, 201);
        }
        assert_eq!(world.standing(&item), 10);
        assert_eq!(world.sandbox.requests()[1].idempotency_key.as_deref(), Some("k"));
    });
}

#[test]
fn each_aggregation_sees_the_same_records_differently() {
    run(|world| async move {
        use Aggregation::{LastDuringPeriod, LastEver, Max, Sum};
        for (aggregation, expected, next_period) in
            [(Sum, 7, 0), (LastDuringPeriod, 7, 0), (LastEver, 7, 7), (Max, 10, 0)]
        {
            let made = world.subscribe(Some(aggregation), "2.5");
            let item = &made.items[0];
            world.set(item, 10).await;
            world.set(item, 4).await;
            world.increment(item, 3).await;
            assert_eq!(world.standing(item), expected, "{aggregation:?}");
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            let totals = world.sandbox.totals(item).unwrap();
            assert_eq!((totals[0].total, totals[1].total), (next_period, expected), "{aggregation:?}");
            // Halves of a cent are rounded away from zero.
            let cents = if aggregation == Max { 25 } else { 18 };
            assert_eq!(world.invoiced(&made.subscription)[1], ("paid".to_owned(), cents), "{aggregation:?}");
        }
    });
}

#[test]
fn what_set_does_on_a_sum_is_chosen() {
    run(|world| async move {
        let item = world.subscribe(Some(Aggregation::Sum), "1").items.remove(0);
        world.set(&item, 10).await;
        world.set(&item, 12).await;
        assert_eq!(world.standing(&item), 12);
        world.behave(|behaviour| behaviour.set_on_sum = SetOnSum::Adds);
        assert_eq!(world.standing(&item), 22);
        world.behave(|behaviour| behaviour.set_on_sum = SetOnSum::Refused);
        assert_eq!(refused(&world.set(&item, 13).await).1, "/data/attributes/action");
        assert_eq!(world.increment(&item, 1).await.status, 201);
        assert_eq!(world.set(&world.demo.item_api, 13).await.status, 201, "another aggregation");
    });
}

#[test]
fn a_record_counts_in_the_period_in_which_it_arrives() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        let end = at(NEXT_MONTH);
        world.sandbox.set_clock(end.minus(1_000_000)).unwrap();
        world.set(&item, 30).await;
        world.sandbox.set_clock(end).unwrap();
        assert_eq!(world.standing(&item), 0);
        // Meant for November, and too late.
        world.set(&item, 31).await;
        let totals = world.sandbox.totals(&item).unwrap();
        assert_eq!((totals[0].total, totals[1].total), (31, 30));
        assert_eq!((totals[1].to, totals[0].from, totals[0].to), (end, end, at("2027-01-01T00:00:00Z")));
        assert_eq!(world.sandbox.total(&item, end.minus(1_000_000)).unwrap(), 30);
    });
}

#[test]
fn a_period_that_ends_is_invoiced_by_its_usage() {
    run(|world| async move {
        world.set(&world.demo.item_compute, 120).await;
        world.set(&world.demo.item_api, 33).await;
        world.sandbox.set_clock(at("2027-02-10T00:00:00Z")).unwrap();
        let paid = |cents| ("paid".to_owned(), cents);
        assert_eq!(world.invoiced(&world.demo.subscription), [paid(0), paid(120 * 4 + 33), paid(0), paid(0)]);
        let path = format!("/v1/subscription-invoices?filter[subscription_id]={}", world.demo.subscription);
        let listed = world.get(&path).await.json;
        let created: Vec<_> = listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["attributes"]["created_at"].as_str().unwrap())
            .collect();
        assert_eq!(created[..2], ["2027-02-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z"]);
        let renewal = &listed["data"][2]["attributes"];
        assert_eq!((renewal["billing_reason"].as_str(), renewal["total"].as_i64()), (Some("renewal"), Some(513)));
        assert_eq!((renewal["currency"].as_str(), renewal["total_formatted"].as_str()), (Some("EUR"), Some("€5.13")));
        let totals = world.sandbox.totals(&world.demo.item_compute).unwrap();
        assert!(totals.windows(2).all(|pair| pair[0].from == pair[1].to), "periods tile time");
        assert_eq!(totals.last().unwrap().invoice.as_deref(), listed["data"][2]["id"].as_str());
    });
}

#[test]
fn an_anchor_on_the_last_days_comes_back_to_them_after_short_months() {
    run(|world| async move {
        let mut ends = Vec::new();
        for day in [29, 30, 31] {
            world.sandbox.set_clock(at(&format!("2026-12-{day}T06:30:00Z"))).unwrap();
            ends.push((day, world.subscribe(Some(Aggregation::LastDuringPeriod), "1")));
        }
        world.sandbox.set_clock(at("2027-05-01T00:00:00Z")).unwrap();
        for (day, made) in ends {
            let totals = world.sandbox.totals(&made.items[0]).unwrap();
            let ended: Vec<_> = totals[1..].iter().rev().map(|one| one.to.to_string()).collect();
            let last = day.min(30);
            let expected = [
                format!("2027-01-{day}T06:30:00Z"),
                "2027-02-28T06:30:00Z".to_owned(),
                format!("2027-03-{day}T06:30:00Z"),
                format!("2027-04-{last}T06:30:00Z"),
            ];
            assert_eq!(ended, expected);
            let shown = world.get(&format!("/v1/subscriptions/{}", made.subscription)).await.json;
            assert_eq!(shown["data"]["attributes"]["billing_anchor"], day);
        }
    });
}

#[test]
fn a_trial_has_no_items_and_its_end_begins_the_first_period() {
    run(|world| async move {
        let item = NewItem { aggregation: Some(Aggregation::LastDuringPeriod), unit_price: Decimal::ONE };
        let order = NewSubscription { items: vec![item], anchor: None, trial_days: 7 };
        let made = world.sandbox.subscribe(&order).unwrap();
        let path = format!("/v1/subscriptions/{}", made.subscription);
        let attributes = world.get(&path).await.json["data"]["attributes"].clone();
        assert_eq!((&attributes["status"], &attributes["first_subscription_item"]), (&json!("on_trial"), &Value::Null));
        assert_eq!(attributes["trial_ends_at"], "2026-11-17T12:00:00.000000Z");
        assert_eq!(world.get(&format!("/v1/subscription-items/{}", made.items[0])).await.status, 404);
        assert_eq!(world.set(&made.items[0], 1).await.status, 404);
        world.sandbox.advance(7 * DAY * 1_000_000).unwrap();
        let attributes = world.get(&path).await.json["data"]["attributes"].clone();
        assert_eq!((&attributes["status"], &attributes["trial_ends_at"]), (&json!("active"), &Value::Null));
        assert_eq!(attributes["renews_at"], "2026-12-17T12:00:00.000000Z");
        assert_eq!(world.set(&made.items[0], 5).await.status, 201);
    });
}

#[test]
fn what_is_cancelled_goes_on_to_its_end_and_then_expires() {
    run(|world| async move {
        for (last_usage, expected) in [(LastUsage::Dropped, 1), (LastUsage::Billed, 2)] {
            world.behave(|behaviour| behaviour.last_usage = last_usage);
            let made = world.subscribe(Some(Aggregation::LastDuringPeriod), "1");
            let path = format!("/v1/subscriptions/{}", made.subscription);
            let ends = world.get(&path).await.json["data"]["attributes"]["renews_at"].clone();
            world.sandbox.set_status(&made.subscription, Status::Cancelled).unwrap();
            let attributes = world.get(&path).await.json["data"]["attributes"].clone();
            assert_eq!((&attributes["status"], &attributes["cancelled"]), (&json!("cancelled"), &json!(true)));
            assert_eq!(attributes["ends_at"], ends);
            assert_eq!(world.set(&made.items[0], 5).await.status, 201, "it is still valid");
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            let attributes = world.get(&path).await.json["data"]["attributes"].clone();
            assert_eq!((&attributes["status"], &attributes["ends_at"]), (&json!("expired"), &ends));
            assert_eq!(refused(&world.set(&made.items[0], 6).await).2, "The subscription has expired.");
            let current = format!("/v1/subscription-items/{}/current-usage", made.items[0]);
            assert_eq!(world.get(&current).await.status, 404);
            assert_eq!(world.sandbox.totals(&made.items[0]).unwrap()[0].total, 5);
            assert_eq!(world.invoiced(&made.subscription).len(), expected, "{last_usage:?}");
            assert!(world.sandbox.set_status(&made.subscription, Status::Active).is_err());
        }
    });
}

#[test]
fn pauses_and_failed_payments_show_on_the_invoice() {
    run(|world| async move {
        use Status::{Active, PastDue, Paused, Unpaid};
        let words = [
            (Paused, "paused", "void"),
            (PastDue, "past_due", "pending"),
            (Unpaid, "unpaid", "pending"),
            (Active, "active", "paid"),
        ];
        for (status, word, invoice) in words {
            let made = world.subscribe(Some(Aggregation::LastDuringPeriod), "1");
            world.sandbox.set_status(&made.subscription, status).unwrap();
            let attributes =
                world.get(&format!("/v1/subscriptions/{}", made.subscription)).await.json["data"]["attributes"].clone();
            assert_eq!(
                (attributes["status"].as_str(), attributes["pause"].is_object()),
                (Some(word), status == Paused)
            );
            assert_eq!(world.set(&made.items[0], 5).await.status, 201);
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            assert_eq!(world.invoiced(&made.subscription)[1], (invoice.to_owned(), 5), "{word}");
        }
    });
}

#[test]
fn an_item_with_another_price_bills_the_period_at_the_price_of_its_end() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        world.set(&item, 10).await;
        let dearer = NewItem { aggregation: Some(Aggregation::LastDuringPeriod), unit_price: Decimal::from(9) };
        let price = world.sandbox.reprice(&item, &dearer).unwrap();
        let shown = world.get(&format!("/v1/subscription-items/{item}")).await.json;
        assert_eq!(shown["data"]["attributes"]["price_id"].to_string(), price);
        world.sandbox.set_clock(at(NEXT_MONTH)).unwrap();
        assert_eq!(world.invoiced(&world.demo.subscription)[1].1, 90);
    });
}

#[test]
fn records_are_listed_newest_first_and_in_pages() {
    run(|world| async move {
        let item = world.demo.item_api.clone();
        for quantity in 1..=12 {
            world.set(&item, quantity).await;
        }
        world.set(&world.demo.item_compute, 99).await;
        let list = format!("/v1/usage-records?filter[subscription_item_id]={item}");
        let quantities = |page: &Answer| -> Vec<i64> {
            let data = page.json["data"].as_array().unwrap().iter();
            data.map(|one| one["attributes"]["quantity"].as_i64().unwrap()).collect()
        };
        let first = world.get(&list).await;
        assert_eq!(quantities(&first), (3..=12).rev().collect::<Vec<_>>());
        let page = json!({"currentPage": 1, "from": 1, "lastPage": 2, "perPage": 10, "to": 10, "total": 12});
        assert_eq!(first.json["meta"]["page"], page);
        assert!(first.json["links"]["next"].is_string());
        let second = world.get(&format!("{list}&page[number]=2")).await;
        assert_eq!(quantities(&second), [2, 1]);
        assert_eq!(quantities(&world.get(&format!("{list}&page[size]=100")).await).len(), 12);
        let beyond = world.get(&format!("{list}&page[number]=9")).await;
        assert_eq!((beyond.status, &beyond.json["meta"]["page"]["from"]), (200, &Value::Null));
        for (wrong, at) in
            [("page[size]=101", "page.size"), ("page[size]=0", "page.size"), ("page[number]=x", "page.number")]
        {
            assert_eq!(refused(&world.get(&format!("{list}&{wrong}")).await).1, at);
        }
    });
}

#[test]
fn three_hundred_calls_a_minute_and_no_more() {
    run(|world| async move {
        let first = world.get("/v1/users/me").await;
        assert_eq!(
            (first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")),
            (Some("300"), Some("299"))
        );
        for left in (0..299).rev() {
            let answer = world.get("/v1/users/me").await;
            assert_eq!(answer.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
        }
        world.sandbox.advance(20_000_000).unwrap();
        let answer = world.get("/v1/users/me").await;
        assert_eq!((refused(&answer).0, answer.header("retry-after")), (429, Some("40")));
        world.sandbox.advance(40_000_000).unwrap();
        assert_eq!(world.get("/v1/users/me").await.status, 200);
    });
}

#[test]
fn faults_stand_before_the_work_or_after_it() {
    run(|world| async move {
        let item = world.demo.item_api.clone();
        for (effect, status, is_done) in [
            (Effect::RateLimited { reason: String::new(), retry_after: Some(7) }, Some(429), false),
            (Effect::LockTimeout, Some(429), false),
            (Effect::KeyInUse, Some(409), false),
            (Effect::Unauthorized, Some(401), false),
            (Effect::ErrorBeforeCommit, Some(500), false),
            (Effect::ErrorAfterCommit, Some(500), true),
            (Effect::CutBeforeCommit, None, false),
            (Effect::CutAfterCommit, None, true),
            (Effect::Html, Some(502), false),
            (Effect::TruncatedJson, Some(201), true),
        ] {
            let before = world.standing(&item);
            world.sandbox.fault(Fault::next(effect.clone()).on("POST", "/v1/usage-records"));
            assert_eq!(world.get("/v1/users/me").await.status, 200, "the rule waits for what it fits");
            let answer = read(world.posting(&usage(&item, &json!(before + 1), "set"))).await;
            assert_eq!(answer.as_ref().ok().map(|answer| answer.status), status, "{effect:?}");
            assert_eq!(world.standing(&item) - before, i64::from(is_done), "{effect:?}");
            let Ok(answer) = answer else { continue };
            match effect {
                Effect::RateLimited { .. } => assert_eq!(answer.header("retry-after"), Some("7")),
                Effect::TruncatedJson => assert!(answer.json.is_null() && answer.text.starts_with('{')),
                Effect::Html => assert_eq!(answer.header("content-type"), Some("text/html")),
                _ => {}
            }
        }
    });
}

#[test]
fn a_request_that_was_cut_may_arrive_in_the_next_period() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        world.behave(|behaviour| behaviour.straggles_after_s = 600);
        let end = at(NEXT_MONTH);
        world.set(&item, 20).await;
        world.sandbox.set_clock(end.minus(300_000_000)).unwrap();
        world.sandbox.fault(Fault::next(Effect::CutBeforeCommit));
        assert!(read(world.posting(&usage(&item, &json!(40), "set"))).await.is_err());
        assert_eq!(world.standing(&item), 20);
        world.sandbox.set_clock(end.plus(299_000_000)).unwrap();
        assert_eq!(world.standing(&item), 0);
        world.sandbox.set_clock(end.plus(300_000_000)).unwrap();
        let totals = world.sandbox.totals(&item).unwrap();
        assert_eq!((totals[0].total, totals[1].total), (40, 20), "as if it had been sent in the new period");
        let newest = world.get(&format!("/v1/usage-records?filter[subscription_item_id]={item}")).await.json;
        assert_eq!(newest["data"][0]["attributes"]["created_at"], "2026-12-01T00:05:00.000000Z");
    });
}

#[test]
fn a_straggler_arrives_at_its_own_time_however_far_the_clock_is_moved() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        world.behave(|behaviour| behaviour.straggles_after_s = 60);
        for _ in 0..2 {
            world.sandbox.fault(Fault::next(Effect::CutBeforeCommit));
            assert!(read(world.posting(&usage(&item, &json!(7), "set"))).await.is_err());
        }
        // Refused when it arrives, and nobody hears of it.
        world.sandbox.fault(Fault::next(Effect::CutBeforeCommit));
        assert!(read(world.posting(&usage("999", &json!(7), "set"))).await.is_err());
        world.sandbox.set_clock(at("2027-02-10T00:00:00Z")).unwrap();
        let totals: Vec<_> = world.sandbox.totals(&item).unwrap().iter().map(|one| one.total).collect();
        assert_eq!(totals, [0, 0, 0, 7]);
        world.behave(|behaviour| behaviour.straggles_after_s = 0);
        world.sandbox.fault(Fault::next(Effect::CutBeforeCommit));
        assert!(read(world.posting(&usage(&item, &json!(8), "set"))).await.is_err());
        world.sandbox.advance(DAY * 1_000_000).unwrap();
        assert_eq!(world.standing(&item), 0);
    });
}

#[test]
fn a_caller_that_goes_away_does_not_take_its_request_back() {
    run(|world| async move {
        world.sandbox.fault(Fault::next(Effect::None).delayed(200));
        let impatient = world.posting(&usage(&world.demo.item_api, &json!(3), "set"));
        assert!(read(impatient.timeout(std::time::Duration::from_millis(50))).await.is_err());
        wait_until("it is done all the same", || world.standing(&world.demo.item_api) == 3).await;
    });
}

#[test]
fn what_cannot_be_written_down_is_refused() {
    run(|world| async move {
        let item = world.demo.item_api.clone();
        assert_eq!(refused(&world.set(&item, i64::MAX).await).1, "/data/attributes/quantity");
        let much = 1_i64 << 60;
        assert_eq!(world.set(&item, much).await.status, 201);
        assert_eq!(world.set(&world.demo.item_compute, much * 4).await.status, 422, "its price makes it too much");
        assert_eq!(world.increment(&item, i64::MAX - much).await.status, 422);
        assert_eq!(world.standing(&item), much);
    });
}

#[test]
fn everything_that_was_answered_survives_a_restart() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let dir = tempfile::tempdir().unwrap();
    let wall = std::sync::Arc::new(usaged::clock::ManualClock::booted_at(at(START)));
    let open = || LemonSqueezy::open(dir.path(), SandboxClock::following(wall.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sandbox = open();
        let demo = seed_lemon_squeezy_demo(&sandbox).unwrap();
        sandbox.advance(3 * DAY * 1_000_000).unwrap();
        let behaviour = Behaviour { zero: Zero::Accepted, ..Behaviour::default() };
        sandbox.behave(behaviour).unwrap();
        let (address, serving) = serve(&sandbox).await;
        let dir = tempfile::tempdir().unwrap();
        let item = demo.item_api.clone();
        let world = World { sandbox, demo, address, client: client(), _serving: serving, _dir: dir };
        assert_eq!(world.set(&item, 4).await.status, 201);
        // The first one is still open here: nothing of it may be needed for the second to find it all.
        let again = open();
        assert_eq!(seed_lemon_squeezy_demo(&again).unwrap(), world.demo);
        assert_eq!((again.now(), again.behaviour().unwrap()), (world.sandbox.now(), behaviour));
        assert_eq!(again.total(&item, again.now()).unwrap(), 4);
    });
}

#[test]
fn the_controls_serve_programs_in_other_languages() {
    run(|world| async move {
        let order = async |path: &str, body: Value| {
            let url = format!("http://{}/_sandbox/{path}", world.address);
            read(world.client.post(url).body(body.to_string())).await.unwrap()
        };
        assert_eq!(order("clock", json!({"advance": 60})).await.json["now"], at(START).secs() + 60);
        order("faults", json!({"path": "/v1/users/me", "effect": "error_before_commit"})).await;
        assert_eq!(world.get("/v1/users/me").await.status, 500);
        let behaviour = order("behaviour", json!({"zero": "accepted"})).await.json;
        let all =
            json!({"zero": "accepted", "set_on_sum": "overwrites", "last_usage": "dropped", "straggles_after_s": 0});
        assert_eq!(behaviour, all);
        assert_eq!(order("behaviour", json!({"zero": "perhaps"})).await.status, 400);
        assert_eq!(order("behaviour", json!({"straggles_after_s": -1})).await.status, 400);
        order("limit", json!({"per_minute": 1})).await;
        assert_eq!((world.get("/v1/users/me").await.status, world.get("/v1/users/me").await.status), (200, 429));
        let subscription = world.demo.subscription.clone();
        assert_eq!(order("status", json!({"subscription": subscription, "status": "expired"})).await.status, 200);
        assert_eq!(order("status", json!({"subscription": subscription, "status": "active"})).await.status, 400);
        let books = world.get("/_sandbox/books").await.json;
        assert_eq!(books["subscriptions"][0]["attributes"]["status"], "expired");
        assert!(books["totals"][&world.demo.item_api].is_array());
        let log = world.get("/_sandbox/requests").await.json;
        assert_eq!(log["requests"][0]["fault"], "error_before_commit");
        assert_eq!(order("nothing", json!({})).await.status, 404);
    });
}
