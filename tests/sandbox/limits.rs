//! What an account may ask for, and which limit a 429 names.

use usaged::sandbox::Limits;

use super::*;

impl Answer {
    fn limited(&self) -> Option<&str> {
        assert_eq!(self.status == 429, self.error("code") == "rate_limit", "{}", self.text);
        self.header("stripe-rate-limited-reason")
    }
}

#[test]
fn a_sandbox_account_is_refused_beyond_25_requests_a_second() {
    run(|world| async move {
        world.sandbox.limit(Limits::SANDBOX);
        for at in 0..25 {
            let path = if at % 2 == 0 { "/v1/balance" } else { "/v1/customers" };
            assert_eq!(world.get(path).await.limited(), None);
        }
        assert_eq!(world.get("/v1/balance").await.limited(), Some("global-rate"));
        world.sandbox.advance(1_000_000).unwrap();
        assert_eq!(world.get("/v1/balance").await.limited(), None);
    });
}

#[test]
fn an_endpoint_is_the_same_whatever_object_it_is_asked_for() {
    run(|world| async move {
        world.sandbox.limit(Limits { per_endpoint: Some(2), ..Limits::default() });
        let [base, compute, api] = [&world.demo.item_base, &world.demo.item_compute, &world.demo.item_api];
        for item in [base, compute] {
            assert_eq!(world.get(&format!("/v1/subscription_items/{item}")).await.limited(), None);
        }
        assert_eq!(world.get(&format!("/v1/subscription_items/{api}")).await.limited(), Some("endpoint-rate"));
        assert_eq!(world.set(api, "1", now() + 1).await.limited(), None);
    });
}

#[test]
fn requests_at_once_are_counted_while_they_run() {
    run(|world| async move {
        for (limits, reason) in [
            (Limits { at_once: Some(1), ..Limits::default() }, "global-concurrency"),
            (Limits { at_once_per_endpoint: Some(1), ..Limits::default() }, "endpoint-concurrency"),
        ] {
            world.sandbox.limit(limits);
            world.sandbox.fault(Fault::next(Effect::None).delayed(400));
            let second = async {
                wait_until("the first request is taken up", || world.sandbox.waiting_faults().is_empty()).await;
                world.get("/v1/balance").await
            };
            let (slow, second) = tokio::join!(world.get("/v1/balance"), second);
            assert_eq!((slow.limited(), second.limited()), (None, Some(reason)));
            assert_eq!(world.get("/v1/balance").await.limited(), None);
        }
    });
}

#[test]
fn one_subscription_can_be_changed_so_often_in_an_hour() {
    run(|world| async move {
        world.sandbox.limit(Limits { subscription_changes_per_hour: Some(1), ..Limits::default() });
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        for (limited, note) in [(None, "a"), (Some("resource-specific"), "b")] {
            assert_eq!(world.post(&path, &[("metadata[note]", note)]).await.limited(), limited);
        }
        assert_eq!(world.get(&path).await.limited(), None);
        world.sandbox.advance(3_600 * 1_000_000).unwrap();
        assert_eq!(world.post(&path, &[("metadata[note]", "c")]).await.limited(), None);
    });
}

#[test]
fn limits_are_chosen_one_by_one_or_by_the_kind_of_account() {
    run(|world| async move {
        let order = |body: &str| {
            world.send(world.client.post(format!("http://{}/_sandbox/limit", world.address)).body(body.to_owned()))
        };
        assert_eq!(order("{\"preset\": \"live\"}").await.json["meter_events"], 1_000);
        assert_eq!(order("{\"per_second\": 1}").await.json["per_second"], 1);
        assert_eq!(world.get("/v1/balance").await.limited(), None);
        assert_eq!(world.get("/v1/balance").await.limited(), Some("global-rate"));
        order("{\"per_second\": null}").await;
        assert_eq!(world.get("/v1/balance").await.limited(), None);
        for wrong in ["{\"preset\": \"other\"}", "{\"per_minute\": 1}", "{\"preset\": \"live\", \"per_second\": 1}"] {
            assert_eq!(order(wrong).await.status, 400, "{wrong}");
        }
    });
}
