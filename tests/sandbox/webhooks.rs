//! Events of what happens, and their delivery to a receiver that verifies them by hand.

use ring::hmac;
use serde_json::{Value, json};
use usaged::sandbox::{Account, Sandbox, SandboxClock, Tamper, Tampering};

use super::receiver::{Letter, Receiver, unhex};
use super::{Answer, DAY, START, World, at, now, run, serve, wait_until};

const BASIL: &str = "2025-03-31.basil";
/// So long a receiver takes a signature for fresh, seconds.
const TOLERANCE: i64 = 300;

impl Letter {
    fn kind(&self) -> String {
        self.event()["type"].as_str().unwrap().to_owned()
    }

    fn id(&self) -> String {
        self.event()["id"].as_str().unwrap().to_owned()
    }

    fn parts(&self, name: &str) -> Vec<&str> {
        self.header("stripe-signature")
            .split(',')
            .filter_map(|part| part.split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// As Stripe's libraries do it.
    fn verify(&self, secret: &str, now: i64) -> Result<(), &'static str> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signed = format!("{}.{}", self.parts("t")[0], self.body);
        let is_good = |hex: &&str| unhex(hex).is_some_and(|tag| hmac::verify(&key, signed.as_bytes(), &tag).is_ok());
        if !self.parts("v1").iter().any(is_good) {
            return Err("no signature fits");
        }
        let age = now - self.parts("t")[0].parse::<i64>().unwrap();
        if age > TOLERANCE { Err("too old") } else { Ok(()) }
    }
}

fn kinds(receiver: &Receiver) -> Vec<String> {
    receiver.came().iter().map(Letter::kind).collect()
}

impl World {
    /// An endpoint at this receiver; gives its id and its secret.
    async fn endpoint(&self, receiver: &Receiver, events: &[&str], more: &[(&str, &str)]) -> (String, String) {
        let url = [("url", receiver.url.as_str())];
        let events: Vec<_> = events.iter().map(|event| ("enabled_events[]", *event)).collect();
        let made = self.post("/v1/webhook_endpoints", &[&url[..], &events, more].concat()).await;
        (made.id(), made.json["secret"].as_str().unwrap().to_owned())
    }

    async fn control(&self, name: &str, order: Value) -> Answer {
        let answer = self.send(self.request("POST", &format!("/_sandbox/{name}")).body(order.to_string())).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer
    }

    async fn deliveries(&self) -> Vec<Value> {
        self.get("/_sandbox/deliveries").await.json["deliveries"].as_array().unwrap().clone()
    }

    /// Waits until nothing is to be sent at this time of the sandbox.
    async fn quiet(&self) -> Vec<Value> {
        loop {
            let deliveries = self.deliveries().await;
            let now = self.sandbox.now().secs();
            if deliveries.iter().all(|one| one["due"].as_i64().is_none_or(|due| due > now)) {
                return deliveries;
            }
        }
    }
}

#[test]
fn a_restricted_key_needs_the_permission_for_events_and_endpoints() {
    run(|world| async move {
        let key = "rk_test_webhooks";
        for (path, permission) in [("/v1/events", "event_read"), ("/v1/webhook_endpoints", "webhook_read")] {
            let ask = || world.client.get(format!("http://{}{path}", world.address)).bearer_auth(key);
            world.sandbox.add_restricted_key(key, &["customer_read"]).unwrap();
            let refused = world.send(ask()).await;
            assert!(refused.error("message").contains(&format!("rak_{permission}")), "{}", refused.text);
            world.sandbox.add_restricted_key(key, &[permission]).unwrap();
            assert_eq!(world.send(ask()).await.status, 200);
        }
    });
}

#[test]
fn endpoints_are_kept_shown_changed_and_deleted() {
    run(|world| async move {
        let pairs = [
            ("url", "https://example.com/hook"),
            ("enabled_events[]", "invoice.paid"),
            ("enabled_events[]", "charge.refunded"),
            ("api_version", BASIL),
            ("description", "mine"),
            ("metadata[a]", "b"),
        ];
        let made = world.post("/v1/webhook_endpoints", &pairs).await;
        let path = format!("/v1/webhook_endpoints/{}", made.id());
        assert!(made.json["secret"].as_str().unwrap().starts_with("whsec_"));
        let mut wanted = made.json.clone();
        wanted.as_object_mut().unwrap().remove("secret");
        let read = world.get(&path).await.json;
        assert_eq!(read, wanted, "the secret is shown once");
        assert_eq!(read["enabled_events"], json!(["invoice.paid", "charge.refunded"]));
        assert_eq!((read["status"].as_str(), read["api_version"].as_str()), (Some("enabled"), Some(BASIL)));
        let changed = world
            .post(&path, &[("disabled", "true"), ("url", "https://example.com/new"), ("enabled_events[]", "*")])
            .await;
        assert_eq!(
            (changed.json["status"].as_str(), changed.json["url"].as_str()),
            (Some("disabled"), Some("https://example.com/new"))
        );
        assert_eq!(changed.json["enabled_events"], json!(["*"]));
        assert_eq!(world.get("/v1/webhook_endpoints").await.json["data"], json!([changed.json]));
        let deleted = world.send(world.request("DELETE", &path)).await.json;
        assert_eq!(deleted, json!({ "id": made.json["id"], "object": "webhook_endpoint", "deleted": true }));
        assert_eq!(world.get(&path).await.status, 404);
    });
}

#[test]
fn endpoints_that_cannot_be_are_refused_by_the_parameter() {
    run(|world| async move {
        let good = [("url", "https://example.com/hook"), ("enabled_events[]", "*")];
        for (instead, param) in [
            (("url", "example.com/hook"), "url"),
            (("url", "ftp://example.com/hook"), "url"),
            (("url", "http://example.com/hook"), "url"),
            (("url", "http://192.0.2.1/hook"), "url"),
            (("enabled_events[]", "invoice.payed"), "enabled_events[0]"),
            (("api_version", "latest"), "api_version"),
            (("connect", "true"), "connect"),
            (("secret", "whsec_mine"), "secret"),
        ] {
            let mut pairs: Vec<_> = good.into_iter().filter(|(name, _)| *name != instead.0).collect();
            pairs.push(instead);
            let refused = world.post("/v1/webhook_endpoints", &pairs).await;
            assert_eq!((refused.status, refused.error("param")), (400, param), "{instead:?}: {}", refused.text);
        }
        for (left_out, param) in [(0, "url"), (1, "enabled_events")] {
            let pairs = [good[1 - left_out]];
            assert_eq!(world.post("/v1/webhook_endpoints", &pairs).await.error("param"), param);
        }
        for url in ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/"] {
            world.post("/v1/webhook_endpoints", &[("url", url), good[1]]).await.id();
        }
        for _ in 3..16 {
            world.post("/v1/webhook_endpoints", &good).await.id();
        }
        assert_eq!(world.post("/v1/webhook_endpoints", &good).await.status, 400, "the 17th");
    });
}

#[test]
fn a_delivery_is_the_event_signed_for_the_endpoint() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["customer.updated"], &[]).await;
        world.rename("Ada").await.id();
        world.post("/v1/products", &[("name", "not asked for")]).await.id();
        let [letter] = receiver.wait_for(1).await.try_into().unwrap();
        assert_eq!(letter.verify(&secret, now()), Ok(()));
        assert_eq!(letter.verify("whsec_another", now()), Err("no signature fits"));
        assert_eq!(letter.parts("t"), [now().to_string()], "the sandbox's time");
        assert!(letter.header("content-type").starts_with("application/json"));
        let event = letter.event();
        assert_eq!((event["pending_webhooks"].as_i64(), event["type"].as_str()), (Some(1), Some("customer.updated")));
        let [delivery] = world.quiet().await.try_into().unwrap();
        assert_eq!((&delivery["status"], &delivery["delivered"]), (&json!(200), &json!(now())));
        let read = world.get(&format!("/v1/events/{}", letter.id())).await.json;
        assert_eq!((read["pending_webhooks"].as_i64(), &read["data"]), (Some(0), &event["data"]));
    });
}

#[test]
fn each_endpoint_gets_its_own_events_in_its_own_version() {
    run(|world| async move {
        let (old, new) = (Receiver::start().await, Receiver::start().await);
        let (_, secret) = world.endpoint(&old, &["*"], &[]).await;
        let (_, other) = world.endpoint(&new, &["customer.subscription.updated"], &[("api_version", BASIL)]).await;
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        world.post(&path, &[("metadata[a]", "b")]).await.id();
        let ([old], [new]) = (old.wait_for(1).await.try_into().unwrap(), new.wait_for(1).await.try_into().unwrap());
        assert_eq!((old.verify(&secret, now()), old.verify(&other, now())), (Ok(()), Err("no signature fits")));
        assert_eq!((old.id(), &new.event()["api_version"]), (new.id(), &json!(BASIL)));
        let of = |letter: &Letter| letter.event()["data"]["object"]["current_period_end"].is_null();
        assert_eq!((of(&old), of(&new)), (false, true));
        let account = Account { api_version: Some(BASIL.to_owned()), ..Account::default() };
        world.sandbox.set_account(&account).unwrap();
        world.post(&path, &[("metadata[a]", "c")]).await.id();
        assert_eq!(world.events("").await.pop().unwrap()["api_version"], BASIL);
        let bad = Account { api_version: Some("latest".to_owned()), ..Account::default() };
        world.sandbox.set_account(&bad).unwrap_err();
    });
}

#[test]
fn what_is_not_taken_comes_again_at_growing_pauses_for_three_days() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["customer.updated"], &[]).await;
        receiver.answer(&[500, 302, 404, 400, 500, 500, 500, 500, 500, 500, 500, 500]);
        world.rename("Ada").await.id();
        let mut pauses = Vec::new();
        loop {
            let [delivery] = world.quiet().await.try_into().unwrap();
            let Some(due) = delivery["due"].as_i64() else { break };
            pauses.push(due - world.sandbox.now().secs());
            world.sandbox.advance((due - world.sandbox.now().secs()) * 1_000_000).unwrap();
        }
        assert_eq!(pauses, [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 76_800]);
        let came = receiver.wait_for(10).await;
        assert!(came.iter().all(|letter| letter.id() == came[0].id()), "the same event");
        let last = came.last().unwrap();
        assert_eq!(last.verify(&secret, world.sandbox.now().secs()), Ok(()), "signed anew each time");
        let event = world.get(&format!("/v1/events/{}", last.id())).await.json;
        assert_eq!(event["pending_webhooks"], 1, "it never arrived");
        assert_eq!(world.events("&delivery_success=false").await, [event]);
    });
}

#[test]
fn an_endpoint_that_is_disabled_or_deleted_gets_no_further_try() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (endpoint, _) = world.endpoint(&receiver, &["customer.updated"], &[]).await;
        let path = format!("/v1/webhook_endpoints/{endpoint}");
        receiver.answer(&[500, 500]);
        world.rename("a").await.id();
        receiver.wait_for(1).await;
        world.quiet().await;
        world.post(&path, &[("disabled", "true")]).await.id();
        world.rename("not told to it").await.id();
        world.sandbox.advance(300_000_000).unwrap();
        let [delivery] = world.quiet().await.try_into().unwrap();
        assert_eq!((&delivery["due"], &delivery["attempts"]), (&Value::Null, &json!(1)));
        world.post(&path, &[("disabled", "false")]).await.id();
        world.rename("b").await.id();
        receiver.wait_for(2).await;
        world.quiet().await;
        world.send(world.request("DELETE", &path)).await.id();
        world.sandbox.advance(DAY * 1_000_000).unwrap();
        assert_eq!(world.deliveries().await, Vec::<Value>::new());
        assert_eq!(receiver.came().len(), 2);
    });
}

#[test]
fn while_a_secret_rolls_both_sign() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (endpoint, old) = world.endpoint(&receiver, &["customer.updated"], &[]).await;
        let order = json!({ "webhook_endpoint": endpoint, "old_valid_s": 600 });
        let rolled = world.control("roll_secret", order).await;
        let new = rolled.json["secret"].as_str().unwrap().to_owned();
        assert_ne!(old, new);
        world.rename("a").await.id();
        let letter = receiver.wait_for(1).await.pop().unwrap();
        assert_eq!(letter.parts("v1").len(), 2);
        assert_eq!((letter.verify(&old, now()), letter.verify(&new, now())), (Ok(()), Ok(())));
        world.sandbox.advance(600_000_000).unwrap();
        world.rename("b").await.id();
        let letter = receiver.wait_for(2).await.pop().unwrap();
        assert_eq!(
            (letter.verify(&old, now() + 600), letter.verify(&new, now() + 600)),
            (Err("no signature fits"), Ok(()))
        );
        let too_long = json!({ "webhook_endpoint": endpoint, "old_valid_s": DAY + 1 }).to_string();
        assert_eq!(world.send(world.request("POST", "/_sandbox/roll_secret").body(too_long)).await.status, 400);
    });
}

#[test]
fn deliveries_come_twice_late_and_out_of_order_where_that_is_asked_for() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        world.endpoint(&receiver, &["customer.updated", "product.created"], &[]).await;
        world.sandbox.tamper(Tampering::next(Tamper::Twice));
        world.rename("a").await.id();
        let twice = receiver.wait_for(2).await;
        assert_eq!(twice[0].body, twice[1].body);

        world.control("tamperings", json!({ "type": "customer.updated", "effect": "out_of_order" })).await;
        world.rename("b").await.id();
        wait_until("the rule is taken up", || world.sandbox.waiting_tamperings().is_empty()).await;
        world.post("/v1/products", &[("name", "first")]).await.id();
        receiver.wait_for(4).await;
        assert_eq!(kinds(&receiver)[2..], ["product.created", "customer.updated"]);

        world.sandbox.tamper(Tampering::next(Tamper::Late(3_600)));
        world.rename("c").await.id();
        wait_until("the rule is taken up", || world.sandbox.waiting_tamperings().is_empty()).await;
        let late = world.quiet().await.pop().unwrap();
        assert_eq!((&late["due"], &late["attempts"]), (&json!(now() + 3_600), &json!(0)));
        world.rename("d").await.id();
        receiver.wait_for(5).await;
        world.sandbox.advance(3_600_000_000).unwrap();
        let names: Vec<_> =
            receiver.wait_for(6).await.iter().map(|one| one.event()["data"]["object"]["name"].clone()).collect();
        assert_eq!(names[4..], ["d", "c"]);
        let created = receiver.came()[5].event()["created"].clone();
        assert_eq!(created, now(), "the event is as old as it is");
    });
}

#[test]
fn forged_old_and_bogus_signatures_come_where_that_is_asked_for_and_the_next_try_is_good() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["customer.updated"], &[]).await;
        for (effect, wanted) in [
            (json!("forged"), Err("no signature fits")),
            (json!({ "old": 301 }), Err("too old")),
            (json!({ "old": 300 }), Ok(())),
            (json!("bogus"), Ok(())),
        ] {
            let (came, begin) = (receiver.came().len(), world.sandbox.now().secs());
            world.control("tamperings", json!({ "effect": effect })).await;
            receiver.answer(&[if wanted.is_ok() { 200 } else { 400 }]);
            world.rename(&effect.to_string()).await.id();
            let letter = receiver.wait_for(came + 1).await.pop().unwrap();
            assert_eq!(letter.verify(&secret, begin), wanted, "{effect}");
            if effect == "bogus" {
                assert_eq!((letter.parts("v1")[0], letter.parts("v0").len()), ("potato", 1));
            }
            if wanted.is_err() {
                world.quiet().await;
                world.sandbox.advance(300_000_000).unwrap();
                let again = receiver.wait_for(came + 2).await.pop().unwrap();
                assert_eq!((again.id(), again.verify(&secret, begin + 300)), (letter.id(), Ok(())));
            }
            world.quiet().await;
        }
        world.control("tamperings", json!({ "effect": "forged", "times": 5 })).await;
        let cleared = world.send(world.request("DELETE", "/_sandbox/tamperings")).await;
        assert_eq!(cleared.json["waiting"], json!([]));
    });
}

#[test]
fn deliveries_go_on_after_a_restart() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["customer.updated"], &[]).await;
        receiver.answer(&[500]);
        world.rename("Ada").await.id();
        let first = receiver.wait_for(1).await.pop().unwrap();
        world.quiet().await;
        let World { sandbox, dir, _serving: mut serving, .. } = world;
        serving.shutdown().await;
        drop(sandbox);
        let later = at(START).plus(301 * 1_000_000);
        let again = Sandbox::open(dir.path(), SandboxClock::frozen(later)).unwrap();
        let (_, _serving) = serve(&again).await;
        let letter = receiver.wait_for(2).await.pop().unwrap();
        assert_eq!((letter.id(), letter.verify(&secret, later.secs())), (first.id(), Ok(())));
    });
}

#[test]
fn an_endpoint_that_does_not_answer_holds_up_neither_answers_nor_other_endpoints() {
    run(|world| async move {
        // Takes connections into its queue, and never reads one.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        world.post("/v1/webhook_endpoints", &[("url", &url), ("enabled_events[]", "*")]).await.id();
        let receiver = Receiver::start().await;
        world.endpoint(&receiver, &["*"], &[]).await;
        for name in ["a", "b", "c"] {
            world.rename(name).await.id();
        }
        let names: Vec<_> =
            receiver.wait_for(3).await.iter().map(|one| one.event()["data"]["object"]["name"].clone()).collect();
        assert_eq!(names, ["a", "b", "c"], "in order where nobody wants it otherwise");
    });
}

#[test]
fn what_happened_while_the_clock_leapt_is_delivered_in_order_however_old_it_is() {
    run(|world| async move {
        let receiver = Receiver::start().await;
        let (_, secret) = world.endpoint(&receiver, &["invoice.paid"], &[]).await;
        let to = at("2027-03-15T00:00:00Z");
        world.sandbox.set_clock(to).unwrap();
        let came = receiver.wait_for(4).await;
        let created: Vec<_> = came.iter().map(|letter| letter.event()["created"].as_i64().unwrap()).collect();
        let firsts = ["2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01"];
        assert_eq!(created, firsts.map(|day| at(&format!("{day}T01:00:00Z")).secs()));
        assert!(came.iter().all(|letter| letter.verify(&secret, to.secs()).is_ok()), "signed when they are sent");
    });
}

#[test]
fn where_nobody_listens_it_is_tried_again_too() {
    run(|world| async move {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        world.post("/v1/webhook_endpoints", &[("url", &url), ("enabled_events[]", "customer.updated")]).await.id();
        world.rename("Ada").await.id();
        let [delivery] = world.quiet().await.try_into().unwrap();
        let found = (&delivery["attempts"], &delivery["status"], &delivery["due"]);
        assert_eq!(found, (&json!(1), &Value::Null, &json!(now() + 300)));
    });
}
