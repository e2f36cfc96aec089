//! The strict Stripe sandbox over real HTTP: one test per row of what it refuses and keeps.
#![cfg(feature = "sandbox")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail the test")]

mod clocks;
mod discounts;
mod events;
mod lemon_squeezy;
mod life;
mod limits;
mod meter_invoices;
mod meters;
mod portal;
mod receiver;
mod swapped;
mod thin_events;
mod webhooks;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use usaged::model::Timestamp;
use usaged::sandbox::{Demo, Effect, Fault, Sandbox, SandboxClock, seed_demo};

const START: &str = "2026-11-10T12:00:00Z";
const DAY: i64 = 86_400;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// A sandbox behind a socket, with a demo customer, and a client.
struct World {
    sandbox: Sandbox,
    demo: Demo,
    address: SocketAddr,
    client: reqwest::Client,
    _serving: Serving,
    dir: tempfile::TempDir,
}

/// The server's task, which ends with this.
type Serving = tokio::task::JoinSet<()>;

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
    json: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
    fn error(&self, field: &str) -> &str {
        self.json["error"][field].as_str().unwrap_or("")
    }
    fn id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json["id"].as_str().unwrap().to_owned()
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    run_with(|sandbox| seed_demo(sandbox).unwrap(), test);
}

fn run_with<F: Future<Output = ()>>(seed: impl FnOnce(&Sandbox) -> Demo, test: impl FnOnce(World) -> F) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(dir.path(), SandboxClock::frozen(at(START))).unwrap();
        let demo = seed(&sandbox);
        // A record without a timestamp is one of this very second, and the second a period begins in is not in it.
        sandbox.advance(1_000_000).unwrap();
        let (address, serving) = serve(&sandbox).await;
        test(World { sandbox, demo, address, client: client(), _serving: serving, dir }).await;
    });
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

async fn serve(sandbox: &Sandbox) -> (SocketAddr, Serving) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = sandbox.clone();
    let mut serving = Serving::new();
    serving.spawn(async move { sandbox.serve(listener, std::future::pending()).await });
    (address, serving)
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, text, json })
}

impl World {
    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address)).bearer_auth(&self.demo.secret_key)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    async fn try_send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        read(request).await
    }

    fn form(&self, path: &str, pairs: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.request("POST", path).header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    async fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.send(self.form(path, pairs)).await
    }

    async fn post_keyed(&self, key: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
        self.send(self.form(path, pairs).header("idempotency-key", key)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    fn usage_path(&self) -> String {
        format!("/v1/subscription_items/{}/usage_records", self.demo.item_compute)
    }

    async fn set(&self, item: &str, quantity: &str, timestamp: i64) -> Answer {
        let path = format!("/v1/subscription_items/{item}/usage_records");
        let timestamp = timestamp.to_string();
        self.post(&path, &[("quantity", quantity), ("action", "set"), ("timestamp", &timestamp)]).await
    }

    async fn metered_price(&self, aggregate: &str) -> String {
        let pairs = [
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount_decimal", "2.5"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
            ("recurring[aggregate_usage]", aggregate),
        ];
        self.post("/v1/prices", &pairs).await.id()
    }

    /// A subscription of the demo customer to one metered price; gives its id and its item's.
    async fn subscribe(&self, price: &str) -> (String, String) {
        let made =
            self.post("/v1/subscriptions", &[("customer", &self.demo.customer), ("items[0][price]", price)]).await;
        let item = made.json["items"]["data"][0]["id"].as_str().unwrap().to_owned();
        (made.id(), item)
    }

    fn standing(&self, item: &str) -> i64 {
        self.sandbox.totals(item).unwrap()[0].total
    }
}

/// Gives way to the others until this holds.
async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The sandbox's time when a test begins: one second into the demo's first period.
fn now() -> i64 {
    at(START).secs() + 1
}

#[test]
fn keys_that_are_not_test_keys_are_refused_in_stripes_words() {
    run(|world| async move {
        for key in ["sk_live_0123456789abcdef", "whatever", "rk_test_notregistered1"] {
            let answer =
                world.send(world.client.get(format!("http://{}/v1/balance", world.address)).bearer_auth(key)).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.error("type"), "invalid_request_error");
            assert!(answer.error("message").starts_with("Invalid API Key provided: "), "{}", answer.text);
            assert!(!answer.text.contains(key));
        }
        let basic = world.client.get(format!("http://{}/v1/balance", world.address)).basic_auth("sk_test_1", Some(""));
        assert_eq!(world.send(basic).await.status, 200);
        let none = world.client.get(format!("http://{}/v1/balance", world.address));
        assert!(world.send(none).await.error("message").starts_with("You did not provide an API key."));
    });
}

#[test]
fn a_restricted_key_is_told_the_permission_it_lacks() {
    run(|world| async move {
        let agent =
            |path: &str| world.client.get(format!("http://{}{path}", world.address)).bearer_auth(&world.demo.agent_key);
        let subscription = format!("/v1/subscriptions/{}", world.demo.subscription);
        assert_eq!(world.send(agent(&subscription)).await.status, 200);
        let cancel = world.client.delete(format!("http://{}{subscription}", world.address));
        let refused = world.send(cancel.bearer_auth(&world.demo.agent_key)).await;
        assert_eq!(refused.status, 403);
        assert!(refused.error("message").contains("'rak_subscription_write'"), "{}", refused.text);
    });
}

#[test]
fn parameters_are_checked_as_stripe_checks_them() {
    run(|world| async move {
        let path = world.usage_path();
        for (pairs, code, param) in [
            (vec![("quantity", "1"), ("amount", "2")], "parameter_unknown", "amount"),
            (vec![("action", "set")], "parameter_missing", "quantity"),
            (vec![("quantity", "1.5")], "parameter_invalid_integer", "quantity"),
            (vec![("quantity", "-1")], "parameter_invalid_integer", "quantity"),
            (vec![("quantity", "")], "parameter_invalid_empty", "quantity"),
            (vec![("quantity", "1"), ("action", "clear")], "", "action"),
            (vec![("quantity", "1"), ("timestamp", "yesterday")], "parameter_invalid_integer", "timestamp"),
        ] {
            let answer = world.post(&path, &pairs).await;
            assert_eq!(
                (answer.status, answer.error("code"), answer.error("param")),
                (400, code, param),
                "{}",
                answer.text
            );
            assert_eq!(answer.error("type"), "invalid_request_error");
        }
        let json = world.request("POST", &path).header("content-type", "application/json").body("{\"quantity\":1}");
        let answer = world.send(json).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error("message").starts_with("Invalid request (check that your POST content type"));
        assert_eq!(world.standing(&world.demo.item_compute), 0);
    });
}

#[test]
fn what_is_not_there_is_named() {
    run(|world| async move {
        let missing = world.get("/v1/subscriptions/sub_x").await;
        assert_eq!((missing.status, missing.error("code"), missing.error("param")), (404, "resource_missing", "id"));
        assert_eq!(missing.error("message"), "No such subscription: 'sub_x'");
        let unknown = world.get("/v1/nothing").await;
        assert_eq!(unknown.status, 404);
        assert!(unknown.error("message").starts_with("Unrecognized request URL (GET: /v1/nothing)."));
        let at = world.post("/v1/subscriptions", &[("customer", "cus_x"), ("items[0][price]", "p")]).await;
        assert_eq!((at.status, at.error("code"), at.error("param")), (400, "resource_missing", "customer"));
        for answer in [missing, unknown, at] {
            assert!(answer.header("request-id").unwrap().starts_with("req_"));
        }
    });
}

#[test]
fn usage_records_end_with_basil_and_periods_move_to_the_items() {
    run(|world| async move {
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        let pinned = world.get(&path).await.json;
        assert_eq!(pinned["current_period_end"], at("2026-12-01T00:00:00Z").secs());
        assert!(pinned["items"]["data"][0].get("current_period_end").is_none());
        let basil = "2025-03-31.basil";
        let since = world.send(world.request("GET", &path).header("stripe-version", basil)).await.json;
        assert!(since.get("current_period_end").is_none());
        assert_eq!(since["items"]["data"][0]["current_period_end"], pinned["current_period_end"]);
        let usage = world.form(&world.usage_path(), &[("quantity", "1")]).header("stripe-version", basil);
        let gone = world.send(usage).await;
        assert_eq!(gone.status, 404);
        assert!(gone.error("message").starts_with("Unrecognized request URL (POST: "), "{}", gone.text);
        let bad = world.send(world.request("GET", &path).header("stripe-version", "latest")).await;
        assert_eq!((bad.status, bad.error("message")), (400, "Invalid Stripe API version: latest"));
    });
}

#[test]
fn dates_are_the_sandboxes_own() {
    run(|world| async move {
        world.sandbox.set_clock(at("2026-11-11T08:09:10Z")).unwrap();
        assert_eq!(world.get("/v1/balance").await.header("date"), Some("Wed, 11 Nov 2026 08:09:10 GMT"));
        assert!(world.sandbox.set_clock(at(START)).is_err());
    });
}

#[test]
fn a_key_replays_its_first_answer_and_does_the_work_once() {
    run(|world| async move {
        let path = world.usage_path();
        let pairs = [("quantity", "5"), ("action", "increment")];
        let first = world.post_keyed("k1", &path, &pairs).await;
        let again = world.post_keyed("k1", &path, &pairs).await;
        assert_eq!(first.header("idempotent-replayed"), None);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.header("original-request"), first.header("request-id"));
        assert_ne!(again.header("request-id"), first.header("request-id"));
        assert_eq!((again.status, &again.text), (200, &first.text));
        assert_eq!(world.standing(&world.demo.item_compute), 5);
    });
}

#[test]
fn a_key_is_for_one_endpoint_and_one_set_of_parameters() {
    run(|world| async move {
        let path = world.usage_path();
        world.post_keyed("k1", &path, &[("quantity", "5")]).await.id();
        let other = world.post_keyed("k1", &path, &[("quantity", "6")]).await;
        assert_eq!((other.status, other.error("type")), (400, "idempotency_error"));
        assert!(other.error("message").contains("with the same parameters"));
        let elsewhere = world.post_keyed("k1", "/v1/customers", &[]).await;
        assert_eq!((elsewhere.status, elsewhere.error("type")), (400, "idempotency_error"));
        assert!(elsewhere.error("message").contains("for the same endpoint"));
        let long = "k".repeat(256);
        assert_eq!(world.post_keyed(&long, "/v1/customers", &[]).await.status, 400);
        assert_eq!(world.post_keyed(&long[..255], "/v1/customers", &[]).await.status, 200);
    });
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    run(|world| async move {
        let path = world.usage_path();
        let stamp = (now() + 1).to_string();
        let pairs = [("quantity", "5"), ("action", "increment"), ("timestamp", &stamp)];
        world.post_keyed("k1", &path, &pairs).await.id();
        world.sandbox.advance((DAY - 1) * 1_000_000).unwrap();
        assert_eq!(world.post_keyed("k1", &path, &pairs).await.header("idempotent-replayed"), Some("true"));
        world.sandbox.advance(1_000_000).unwrap();
        assert_eq!(world.post_keyed("k1", &path, &pairs).await.header("idempotent-replayed"), None);
        assert_eq!(world.standing(&world.demo.item_compute), 10);
    });
}

#[test]
fn what_never_ran_is_not_kept_and_what_failed_while_running_is() {
    run(|world| async move {
        let path = world.usage_path();
        assert_eq!(world.post_keyed("validation", &path, &[("quantity", "x")]).await.status, 400);
        assert_eq!(world.post_keyed("validation", &path, &[("quantity", "1")]).await.status, 200);
        for effect in [Effect::Unauthorized, Effect::LockTimeout, Effect::KeyInUse] {
            world.sandbox.fault(Fault::next(effect));
            assert!(world.post_keyed("passing", &path, &[("quantity", "1")]).await.status >= 400);
        }
        assert_eq!(world.post_keyed("passing", &path, &[("quantity", "1")]).await.header("idempotent-replayed"), None);
        let early = [("quantity", "1"), ("timestamp", "1000")];
        for replayed in [None, Some("true")] {
            let refused = world.post_keyed("state", &path, &early).await;
            assert_eq!((refused.status, refused.header("idempotent-replayed")), (400, replayed));
        }
    });
}

#[test]
fn a_key_in_flight_is_refused_until_its_request_is_done() {
    run(|world| async move {
        let path = world.usage_path();
        world.sandbox.fault(Fault::next(Effect::None).delayed(400));
        let pairs = [("quantity", "3"), ("action", "increment")];
        let slow = world.post_keyed("k1", &path, &pairs);
        let second = async {
            wait_until("the first request is taken up", || world.sandbox.waiting_faults().is_empty()).await;
            world.post_keyed("k1", &path, &pairs).await
        };
        let (slow, second) = tokio::join!(slow, second);
        assert_eq!((second.status, second.error("code")), (409, "idempotency_key_in_use"));
        assert_eq!(slow.status, 200);
        assert_eq!(world.post_keyed("k1", &path, &pairs).await.header("idempotent-replayed"), Some("true"));
        assert_eq!(world.standing(&world.demo.item_compute), 3);
    });
}

#[test]
fn set_overwrites_one_timestamp_and_increment_adds_to_it() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        world.set(&item, "10", now() + 1).await.id();
        world.set(&item, "7", now() + 1).await.id();
        assert_eq!(world.standing(&item), 7);
        world.set(&item, "5", now() + 2).await.id();
        assert_eq!(world.standing(&item), 12);
        let stamp = (now() + 1).to_string();
        let added = world.post(&world.usage_path(), &[("quantity", "1"), ("timestamp", &stamp)]).await;
        assert_eq!(added.json["object"], "usage_record");
        assert!(added.id().starts_with("mbur_"));
        assert_eq!(world.standing(&item), 13);
    });
}

#[test]
fn each_aggregation_sees_the_same_records_differently() {
    run(|world| async move {
        for (aggregate, expected, next_period) in
            [("sum", 14, 0), ("last_during_period", 4, 0), ("last_ever", 4, 4), ("max", 10, 0)]
        {
            let price = world.metered_price(aggregate).await;
            let (_, item) = world.subscribe(&price).await;
            world.set(&item, "10", world.sandbox.now().secs() + 1).await.id();
            world.set(&item, "4", world.sandbox.now().secs() + 2).await.id();
            assert_eq!(world.standing(&item), expected, "{aggregate}");
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            let totals = world.sandbox.totals(&item).unwrap();
            assert_eq!((totals[0].total, totals[1].total), (next_period, expected), "{aggregate}");
        }
    });
}

#[test]
fn timestamps_outside_the_open_period_are_refused() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        let start = now() - 1;
        for (stamp, accepted) in
            [(start - 1, false), (start, false), (start + 1, true), (now() + 300, true), (now() + 301, false)]
        {
            let answer = world.set(&item, "1", stamp).await;
            assert_eq!(answer.status == 200, accepted, "{stamp} {}", answer.text);
            if !accepted {
                assert_eq!((answer.error("param"), answer.error("code")), ("timestamp", ""));
                assert!(
                    answer.error("message").starts_with("Cannot create the usage record with this timestamp because")
                );
            }
        }
        let end = at("2026-12-01T00:00:00Z");
        world.sandbox.set_clock(end.minus(1_000_000)).unwrap();
        assert_eq!(world.set(&item, "1", end.secs()).await.status, 200, "periods are end-inclusive");
        assert_eq!(world.set(&item, "1", end.secs() + 1).await.status, 400);
        world.sandbox.set_clock(end).unwrap();
        let late = world.set(&item, "1", end.secs()).await;
        assert_eq!(late.status, 400);
        assert!(late.error("message").ends_with("(or current period start time)."), "{}", late.text);
    });
}

#[test]
fn only_legacy_metered_items_of_a_running_subscription_take_usage() {
    run(|world| async move {
        let licensed = world.set(&world.demo.item_base, "1", now() + 1).await;
        assert_eq!(licensed.status, 400);
        let meter = [("display_name", "GPU"), ("event_name", "gpu"), ("default_aggregation[formula]", "sum")];
        let meter = world.post("/v1/billing/meters", &meter).await.id();
        let price = [
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "1"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
            ("recurring[meter]", &meter),
        ];
        let price = world.post("/v1/prices", &price).await.id();
        let (subscription, item) = world.subscribe(&price).await;
        let on_meter = world.set(&item, "1", now() + 1).await;
        assert_eq!(
            on_meter.error("message"),
            format!(
                "Cannot create a usage record for `{item}` because it is not on the legacy metered billing system. \
                 Call /v1/billing/meter_events instead."
            )
        );
        let missing = world.set("si_x", "1", now() + 1).await;
        assert_eq!((missing.status, missing.error("code")), (404, "resource_missing"));
        assert_eq!(world.send(world.request("DELETE", &format!("/v1/subscriptions/{subscription}"))).await.status, 200);
        assert_eq!(
            world.set(&item, "1", now() + 1).await.error("message"),
            "Cannot create the usage record because the subscription has been canceled."
        );
    });
}

#[test]
fn under_billing_thresholds_only_increments_are_allowed() {
    run(|world| async move {
        let price = world.metered_price("sum").await;
        let made = world
            .post(
                "/v1/subscriptions",
                &[
                    ("customer", &world.demo.customer),
                    ("items[0][price]", &price),
                    ("billing_thresholds[amount_gte]", "5000"),
                ],
            )
            .await;
        let item = made.json["items"]["data"][0]["id"].as_str().unwrap().to_owned();
        let refused = world.set(&item, "1", now() + 1).await;
        assert_eq!((refused.status, refused.error("param")), (400, "action"));
        let path = format!("/v1/subscription_items/{item}/usage_records");
        world.sandbox.advance(1_000_000).unwrap();
        assert_eq!(world.post(&path, &[("quantity", "1")]).await.status, 200);
    });
}

#[test]
fn a_month_ends_in_an_invoice_with_the_overage_in_arrears_and_the_base_in_advance() {
    run(|world| async move {
        let (compute, api) = (world.demo.item_compute.clone(), world.demo.item_api.clone());
        world.set(&compute, "120", now() + 1).await.id();
        world.set(&api, "3333", now() + 1).await.id();
        let upcoming = world.get(&format!("/v1/invoices/upcoming?customer={}", world.demo.customer)).await;
        assert_eq!(upcoming.json["amount_due"], 120 * 4 + 3333 + 19_900, "{}", upcoming.text);
        assert!(upcoming.json.get("id").is_none());
        world.sandbox.set_clock(at("2026-12-01T00:30:00Z")).unwrap();
        let draft = world.sandbox.invoices(&world.demo.subscription).unwrap().remove(1);
        assert_eq!((draft["status"].as_str(), draft["total"].as_i64()), (Some("draft"), Some(23_713)));
        world.sandbox.set_clock(at("2026-12-01T01:00:00Z")).unwrap();
        let listed = world.get(&format!("/v1/invoices?subscription={}", world.demo.subscription)).await;
        let invoice = &listed.json["data"][0];
        assert_eq!((invoice["status"].as_str(), invoice["amount_paid"].as_i64()), (Some("paid"), Some(23_713)));
        let amounts: Vec<_> = invoice["lines"]["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| {
                (line["subscription_item"].as_str().unwrap(), line["quantity"].as_i64(), line["amount"].as_i64())
            })
            .collect();
        let (base, seconds) = (world.demo.item_base.as_str(), world.demo.item_seconds.as_str());
        assert_eq!(
            amounts,
            [
                (&*compute, Some(120), Some(480)),
                (&*api, Some(3333), Some(3333)),
                (seconds, Some(0), Some(0)),
                (base, Some(1), Some(19_900))
            ]
        );
        let summaries = world.get(&format!("/v1/subscription_items/{compute}/usage_record_summaries")).await.json;
        assert_eq!(summaries["object"], "list");
        assert_eq!(summaries["data"][0]["invoice"], Value::Null);
        assert_eq!(summaries["data"][0]["total_usage"], 0);
        assert_eq!(summaries["data"][1]["invoice"], invoice["id"]);
        assert_eq!(summaries["data"][1]["total_usage"], 120);
        assert_eq!(summaries["data"][1]["period"]["end"], at("2026-12-01T00:00:00Z").secs());
        let limited = world.get(&format!("/v1/subscription_items/{compute}/usage_record_summaries?limit=1")).await.json;
        assert_eq!((limited["data"].as_array().unwrap().len(), limited["has_more"].as_bool()), (1, Some(true)));
    });
}

#[test]
fn the_first_part_month_is_charged_by_its_share() {
    run(|world| async move {
        let first = world.sandbox.invoices(&world.demo.subscription).unwrap().remove(0);
        // 20.5 of 30 days of EUR 199.00, to the nearest cent.
        assert_eq!(first["total"], 13_598);
        assert_eq!(first["billing_reason"], "subscription_create");
    });
}

#[test]
fn every_period_that_was_slept_through_is_made_up_for() {
    run(|world| async move {
        world.sandbox.set_clock(at("2027-04-15T00:00:00Z")).unwrap();
        let invoices = world.sandbox.invoices(&world.demo.subscription).unwrap();
        assert_eq!(invoices.len(), 1 + 5);
        let totals = world.sandbox.totals(&world.demo.item_compute).unwrap();
        assert_eq!(totals.len(), 6);
        for pair in totals.windows(2) {
            assert_eq!(pair[0].from, pair[1].to, "periods tile time");
        }
    });
}

#[test]
fn an_annual_base_and_monthly_usage_do_not_fit_one_subscription() {
    run(|world| async move {
        let pairs = [
            ("customer", world.demo.customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_pro_annual"]),
            ("items[1][price]", &world.demo.prices["price_api_overage"]),
        ];
        let refused = world.post("/v1/subscriptions", &pairs).await;
        assert_eq!(refused.status, 400);
        assert!(refused.error("message").contains("mismatch in interval field"), "{}", refused.text);
        let pairs = [
            ("customer", world.demo.customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_api_overage"]),
            ("items[0][quantity]", "0"),
        ];
        let refused = world.post("/v1/subscriptions", &pairs).await;
        assert_eq!((refused.status, refused.error("param")), (400, "items[0][quantity]"));
    });
}

#[test]
fn prices_are_found_by_lookup_key_and_a_key_moves_only_when_told_to() {
    run(|world| async move {
        let found = world.get("/v1/prices?lookup_keys[]=price_pro_monthly&lookup_keys[]=price_api_overage").await.json;
        assert_eq!(found["data"].as_array().unwrap().len(), 2);
        let mut pairs = vec![
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "20900"),
            ("recurring[interval]", "month"),
            ("lookup_key", "price_pro_monthly"),
        ];
        assert_eq!(world.post("/v1/prices", &pairs).await.error("param"), "lookup_key");
        pairs.push(("transfer_lookup_key", "true"));
        let moved = world.post("/v1/prices", &pairs).await.id();
        let found = world.get("/v1/prices?lookup_keys[0]=price_pro_monthly").await.json;
        assert_eq!(found["data"][0]["id"], moved.as_str());
    });
}

#[test]
fn an_incomplete_subscription_waits_for_its_payment_and_then_expires() {
    run(|world| async move {
        let customer = world.post("/v1/customers", &[("email", "test@example.com")]).await.id();
        let price = world.demo.prices["price_starter_monthly"].clone();
        let pairs = [("customer", customer.as_str()), ("items[0][price]", &price)];
        assert_eq!(world.post("/v1/subscriptions", &pairs).await.error("code"), "resource_missing");
        let waiting =
            [&pairs[..], &[("payment_behavior", "default_incomplete"), ("expand[]", "latest_invoice.payment_intent")]]
                .concat();
        let made = world.post("/v1/subscriptions", &waiting).await;
        assert_eq!(made.json["status"], "incomplete");
        let intent = &made.json["latest_invoice"]["payment_intent"];
        assert!(intent["client_secret"].as_str().unwrap().contains("_secret_"));
        let confirm = format!("/v1/payment_intents/{}/confirm", intent["id"].as_str().unwrap());
        let declined = world.post(&confirm, &[("payment_method", "pm_card_chargeDeclined")]).await;
        assert_eq!((declined.status, declined.error("code")), (402, "card_declined"));
        assert_eq!(world.post(&confirm, &[("payment_method", "pm_card_visa")]).await.status, 200);
        assert_eq!(world.get(&format!("/v1/subscriptions/{}", made.id())).await.json["status"], "active");
        let unpaid = world.post("/v1/subscriptions", &[&waiting[..], &[("metadata[n]", "2")]].concat()).await.id();
        world.sandbox.advance(23 * 3_600 * 1_000_000).unwrap();
        assert_eq!(world.get(&format!("/v1/subscriptions/{unpaid}")).await.json["status"], "incomplete_expired");
    });
}

#[test]
fn expand_is_honoured_where_there_is_something_to_expand() {
    run(|world| async move {
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        let expanded = world.get(&format!("{path}?expand[]=customer&expand[]=items.data.price.product")).await.json;
        assert_eq!(expanded["customer"]["object"], "customer");
        assert_eq!(expanded["items"]["data"][0]["price"]["product"]["name"], "Magic Box Pro");
        let refused = world.get(&format!("{path}?expand[]=status")).await;
        assert_eq!(refused.error("message"), "This property cannot be expanded (status).");
    });
}

#[test]
fn a_total_that_cannot_be_written_down_is_refused() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        let most = i64::MAX.to_string();
        for stamp in [now() + 1, now() + 2] {
            let refused = world.set(&item, &most, stamp).await;
            assert_eq!((refused.status, refused.error("param")), (400, "quantity"), "{}", refused.text);
        }
        let much = 1_i64 << 60;
        assert_eq!(world.set(&item, &much.to_string(), now() + 1).await.status, 200);
        assert_eq!(world.standing(&item), much);
    });
}

#[test]
fn a_trial_bills_nothing_and_the_period_after_it_does() {
    run(|world| async move {
        let end = now() + 10 * DAY;
        let pairs = [
            ("customer", world.demo.customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_starter_monthly"]),
            ("items[1][price]", &world.demo.prices["price_compute_overage_starter"]),
            ("trial_end", &end.to_string()),
        ];
        let made = world.post("/v1/subscriptions", &pairs).await;
        assert_eq!(
            (made.json["status"].as_str(), made.json["current_period_end"].as_i64()),
            (Some("trialing"), Some(end))
        );
        let item = made.json["items"]["data"][1]["id"].as_str().unwrap().to_owned();
        world.set(&item, "100", now() + 1).await.id();
        world.sandbox.set_clock(Timestamp::from_secs(end)).unwrap();
        world.set(&item, "7", end + 1).await.id();
        world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
        let invoices = world.sandbox.invoices(&made.id()).unwrap();
        let totals: Vec<_> = invoices.iter().map(|one| one["total"].as_i64().unwrap()).collect();
        assert_eq!(totals, [0, 9_900, 7 * 5 + 9_900]);
    });
}

#[test]
fn what_ends_with_its_period_bills_the_usage_and_no_further_base() {
    run(|world| async move {
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        world.set(&world.demo.item_compute, "10", now() + 1).await.id();
        let ending = world.post(&path, &[("cancel_at_period_end", "true")]).await;
        assert_eq!((ending.json["status"].as_str(), ending.json["cancel_at"].is_i64()), (Some("active"), true));
        world.sandbox.set_clock(at("2027-03-01T00:00:00Z")).unwrap();
        assert_eq!(world.get(&path).await.json["status"], "canceled");
        let invoices = world.sandbox.invoices(&world.demo.subscription).unwrap();
        assert_eq!((invoices.len(), invoices[1]["total"].as_i64()), (2, Some(40)));
    });
}

#[test]
fn a_swapped_base_is_prorated_and_usage_is_billed_at_the_price_of_the_end() {
    run(|world| async move {
        world.sandbox.set_clock(at("2026-12-01T00:00:00Z")).unwrap();
        let middle = at("2026-12-16T12:00:00Z");
        world.set(&world.demo.item_compute, "100", at("2026-12-01T00:00:01Z").secs()).await.id();
        world.sandbox.set_clock(middle).unwrap();
        let pairs = [
            ("items[0][id]", world.demo.item_base.as_str()),
            ("items[0][price]", &world.demo.prices["price_enterprise_monthly"]),
            ("items[1][id]", &world.demo.item_compute),
            ("items[1][price]", &world.demo.prices["price_compute_overage_starter"]),
        ];
        assert_eq!(world.post(&format!("/v1/subscriptions/{}", world.demo.subscription), &pairs).await.status, 200);
        world.sandbox.set_clock(at("2027-01-01T00:00:00Z")).unwrap();
        let invoice = world.sandbox.invoices(&world.demo.subscription).unwrap().pop().unwrap();
        // Half of EUR 199 given back, half of EUR 499 asked for, 100 hours at 5 cents, the next month's EUR 499.
        assert_eq!(invoice["total"], -9_950 + 24_950 + 500 + 49_900);
    });
}

#[test]
fn metered_prices_need_a_meter_from_basil_on() {
    run(|world| async move {
        let pairs = [
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "1"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
        ];
        assert_eq!(world.post("/v1/prices", &pairs).await.status, 200);
        let since = world.send(world.form("/v1/prices", &pairs).header("stripe-version", "2025-03-31.basil")).await;
        assert_eq!((since.status, since.error("param")), (400, "recurring[meter]"));
    });
}

#[test]
fn lists_come_newest_first_and_in_pages() {
    run(|world| async move {
        let mut made = vec![world.demo.customer.clone()];
        for name in ["a", "b", "c"] {
            made.push(world.post("/v1/customers", &[("name", name)]).await.id());
        }
        let ids = |page: &Value| -> Vec<String> {
            page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
        };
        let first = world.get("/v1/customers?limit=2").await.json;
        assert_eq!((ids(&first), first["has_more"].as_bool()), (vec![made[3].clone(), made[2].clone()], Some(true)));
        let second = world.get(&format!("/v1/customers?limit=2&starting_after={}", made[2])).await.json;
        assert_eq!((ids(&second), second["has_more"].as_bool()), (vec![made[1].clone(), made[0].clone()], Some(false)));
        let back = world.get(&format!("/v1/customers?limit=1&ending_before={}", made[1])).await.json;
        assert_eq!((ids(&back), back["has_more"].as_bool()), (vec![made[2].clone()], Some(true)));
        assert_eq!(world.get("/v1/customers?limit=0").await.error("param"), "limit");
    });
}

#[test]
fn taking_an_item_away_drops_its_usage_only_when_told_to() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        world.set(&item, "10", now() + 1).await.id();
        let path = format!("/v1/subscription_items/{item}");
        assert_eq!(world.send(world.request("DELETE", &path)).await.status, 400);
        let deleted = world.send(world.request("DELETE", &format!("{path}?clear_usage=true"))).await;
        assert_eq!(deleted.json["deleted"], true, "{}", deleted.text);
        assert_eq!(world.get(&path).await.status, 404);
        let message = world.set(&item, "1", now() + 1).await;
        assert!(message.error("message").contains("no longer active"), "{}", message.text);
    });
}

#[test]
fn cancelling_at_once_bills_usage_only_when_told_to() {
    run(|world| async move {
        for (invoice_now, billed) in [("false", 0), ("true", 28)] {
            let price = world.metered_price("sum").await;
            let (subscription, item) = world.subscribe(&price).await;
            // 11 at 2.5 cents are 27.5: a half is rounded away from zero.
            world.set(&item, "11", world.sandbox.now().secs() + 1).await.id();
            world.sandbox.advance(1_000_000).unwrap();
            let path = format!("/v1/subscriptions/{subscription}?invoice_now={invoice_now}");
            assert_eq!(world.send(world.request("DELETE", &path)).await.json["status"], "canceled");
            let invoices = world.sandbox.invoices(&subscription).unwrap();
            let total: i64 = invoices.iter().map(|one| one["total"].as_i64().unwrap()).sum();
            assert_eq!(total, billed);
        }
    });
}

#[test]
fn faults_stand_before_the_work_or_after_it() {
    run(|world| async move {
        let item = world.demo.item_compute.clone();
        let path = world.usage_path();
        let stamp = (now() + 1).to_string();
        for (effect, status, is_done) in [
            (Effect::RateLimited { reason: "endpoint-rate".to_owned(), retry_after: Some(7) }, Some(429), false),
            (Effect::LockTimeout, Some(429), false),
            (Effect::KeyInUse, Some(409), false),
            (Effect::Unauthorized, Some(401), false),
            (Effect::ErrorBeforeCommit, Some(500), false),
            (Effect::ErrorAfterCommit, Some(500), true),
            (Effect::CutBeforeCommit, None, false),
            (Effect::CutAfterCommit, None, true),
            (Effect::Html, Some(502), false),
            (Effect::TruncatedJson, Some(200), true),
        ] {
            let before = world.standing(&item);
            let quantity = (before + 1).to_string();
            world.sandbox.fault(Fault::next(effect.clone()).on("POST", "/v1/subscription_items/*/usage_records"));
            assert_eq!(world.get("/v1/balance").await.status, 200, "the rule waits for what it fits");
            let pairs = [("quantity", quantity.as_str()), ("action", "set"), ("timestamp", &stamp)];
            let answer = world.try_send(world.form(&path, &pairs)).await;
            assert_eq!(answer.as_ref().ok().map(|answer| answer.status), status, "{effect:?}");
            assert_eq!(world.standing(&item) - before, i64::from(is_done), "{effect:?}");
            let Ok(answer) = answer else { continue };
            match effect {
                Effect::RateLimited { .. } => {
                    assert_eq!(answer.header("stripe-rate-limited-reason"), Some("endpoint-rate"));
                    assert_eq!(answer.header("retry-after"), Some("7"));
                }
                Effect::LockTimeout => assert_eq!(answer.error("code"), "lock_timeout"),
                Effect::TruncatedJson => assert!(answer.json.is_null() && answer.text.starts_with('{')),
                Effect::Html => assert_eq!(answer.header("content-type"), Some("text/html")),
                _ => {}
            }
        }
    });
}

#[test]
fn a_stored_500_is_replayed_and_a_lost_answer_is_found_again() {
    run(|world| async move {
        let path = world.usage_path();
        let pairs = [("quantity", "3")];
        for (key, effect, done) in [("a", Effect::ErrorBeforeCommit, 0), ("b", Effect::ErrorAfterCommit, 3)] {
            world.sandbox.fault(Fault { should_retry: Some(false), ..Fault::next(effect) });
            let failed = world.post_keyed(key, &path, &pairs).await;
            assert_eq!((failed.status, failed.header("stripe-should-retry")), (500, Some("false")));
            let again = world.post_keyed(key, &path, &pairs).await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (500, Some("true")));
            assert_eq!(world.standing(&world.demo.item_compute), done);
        }
        for (key, effect, replayed) in
            [("c", Effect::CutAfterCommit, Some("true")), ("d", Effect::CutBeforeCommit, None)]
        {
            world.sandbox.fault(Fault::next(effect));
            let keyed = world.form(&path, &pairs).header("idempotency-key", key);
            assert!(world.try_send(keyed).await.is_err());
            let again = world.post_keyed(key, &path, &pairs).await;
            assert_eq!((again.status, again.header("idempotent-replayed")), (200, replayed));
        }
        assert_eq!(world.standing(&world.demo.item_compute), 9);
    });
}

#[test]
fn a_caller_that_goes_away_does_not_take_its_request_back() {
    run(|world| async move {
        world.sandbox.fault(Fault::next(Effect::None).delayed(200));
        let impatient = world.form(&world.usage_path(), &[("quantity", "3")]).timeout(Duration::from_millis(50));
        assert!(world.try_send(impatient).await.is_err());
        wait_until("it is done all the same", || world.standing(&world.demo.item_compute) > 0).await;
        assert_eq!(world.standing(&world.demo.item_compute), 3);
    });
}

#[test]
fn a_rate_limit_counts_requests_of_one_second() {
    run(|world| async move {
        world.sandbox.limit_rate(Some(2));
        assert_eq!(world.get("/v1/balance").await.status, 200);
        assert_eq!(world.get("/v1/balance").await.status, 200);
        let refused = world.get("/v1/balance").await;
        assert_eq!((refused.status, refused.error("code")), (429, "rate_limit"));
        world.sandbox.advance(1_000_000).unwrap();
        assert_eq!(world.get("/v1/balance").await.status, 200);
    });
}

#[test]
fn everything_that_was_answered_survives_a_restart() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let dir = tempfile::tempdir().unwrap();
    let wall = std::sync::Arc::new(usaged::clock::ManualClock::booted_at(at(START)));
    let open = |path: &Path| Sandbox::open(path, SandboxClock::following(wall.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sandbox = open(dir.path());
        let demo = seed_demo(&sandbox).unwrap();
        sandbox.advance(3 * DAY * 1_000_000).unwrap();
        let (address, _first) = serve(&sandbox).await;
        let path = format!("http://{address}/v1/subscription_items/{}/usage_records", demo.item_api);
        let send = |url: String| {
            let request = client().post(url).bearer_auth(&demo.agent_key).header("idempotency-key", "k");
            request.header("content-type", "application/x-www-form-urlencoded").body("quantity=4").send()
        };
        assert_eq!(send(path).await.unwrap().status().as_u16(), 200);

        // The first one is still open here: nothing of it may be needed for the second to find it all.
        let again = open(dir.path());
        assert_eq!(seed_demo(&again).unwrap(), demo);
        assert_eq!(again.now(), sandbox.now());
        let (address, _second) = serve(&again).await;
        let path = format!("http://{address}/v1/subscription_items/{}/usage_records", demo.item_api);
        let replayed = send(path).await.unwrap();
        assert_eq!(replayed.headers().get("idempotent-replayed").unwrap(), "true");
        assert_eq!(again.total(&demo.item_api, again.now()).unwrap(), 4);
    });
}

#[test]
fn the_controls_serve_programs_in_other_languages() {
    run(|world| async move {
        let order = |path: &str, body: &str| {
            world.send(world.client.post(format!("http://{}/_sandbox/{path}", world.address)).body(body.to_owned()))
        };
        let moved = order("clock", "{\"advance\": 60}").await;
        assert_eq!(moved.json["now"], now() + 60);
        assert_eq!(order("clock", "{\"set\": 5}").await.status, 400);
        order("faults", "{\"method\": \"GET\", \"path\": \"/v1/balance\", \"effect\": \"lock_timeout\"}").await;
        assert_eq!(world.get("/v1/balance").await.status, 429);
        let limited = "{\"effect\": {\"rate_limited\": {\"reason\": \"global-rate\"}}, \"times\": 2}";
        assert_eq!(order("faults", limited).await.json["waiting"][0]["times"], 2);
        world.send(world.client.delete(format!("http://{}/_sandbox/faults", world.address))).await;
        assert!(world.sandbox.waiting_faults().is_empty());
        order("keys", "{\"key\": \"rk_test_mine\", \"permissions\": [\"balance_read\"]}").await;
        let mine = world.client.get(format!("http://{}/v1/balance", world.address)).bearer_auth("rk_test_mine");
        assert_eq!(world.send(mine).await.status, 200);
        let books = world.get("/_sandbox/books").await.json;
        assert_eq!(books["invoices"].as_array().unwrap().len(), 1);
        assert!(books["totals"][&world.demo.item_compute].is_array());
        let log = world.get("/_sandbox/requests").await.json;
        assert_eq!(log["requests"][0]["fault"], "lock_timeout");
        assert_eq!(order("nothing", "{}").await.status, 404);
        assert_eq!(order("faults", "{\"effekt\": 1}").await.status, 400);
    });
}
