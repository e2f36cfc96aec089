//! Test clocks: customers that live in a time of their own.

use super::*;

/// Before the sandbox's own time, so that the two are not taken for each other.
const THEN: &str = "2025-01-31T00:00:00Z";

pub(super) async fn clock_at(world: &World, time: i64) -> String {
    world.post("/v1/test_helpers/test_clocks", &[("frozen_time", &time.to_string()), ("name", "a month")]).await.id()
}

pub(super) async fn advance(world: &World, clock: &str, to: i64) -> Answer {
    world.post(&format!("/v1/test_helpers/test_clocks/{clock}/advance"), &[("frozen_time", &to.to_string())]).await
}

/// A customer on the clock with a base and a metered price: the customer, its subscription and its metered item.
async fn subscriber(world: &World, clock: &str) -> (String, String, String) {
    let pairs = [("test_clock", clock), ("payment_method", "pm_card_visa")];
    let customer = world.post("/v1/customers", &pairs).await.id();
    let pairs = [
        ("customer", customer.as_str()),
        ("items[0][price]", &world.demo.prices["price_starter_monthly"]),
        ("items[1][price]", &world.demo.prices["price_compute_overage_starter"]),
    ];
    let made = world.post("/v1/subscriptions", &pairs).await;
    let item = made.json["items"]["data"][1]["id"].as_str().unwrap().to_owned();
    (customer, made.id(), item)
}

#[test]
fn customers_on_a_test_clock_live_in_its_time_with_all_that_is_theirs() {
    run(|world| async move {
        let then = at(THEN).secs();
        let clock = clock_at(&world, then).await;
        let (customer, subscription, item) = subscriber(&world, &clock).await;
        let shown = world.get(&format!("/v1/customers/{customer}?expand[]=test_clock")).await.json;
        assert_eq!((shown["created"].as_i64(), shown["test_clock"]["id"].as_str()), (Some(then), Some(&*clock)));
        let path = format!("/v1/subscriptions/{subscription}");
        let begun = world.get(&path).await.json;
        assert_eq!(begun["test_clock"], clock.as_str());
        assert_eq!(begun["current_period_end"], at("2025-02-28T00:00:00Z").secs());
        assert_eq!(world.set(&item, "7", then + 300).await.status, 200);
        for stamp in [then, then + 301, now()] {
            assert_eq!(world.set(&item, "1", stamp).await.error("param"), "timestamp", "{stamp}");
        }
        // The sandbox's own time is nothing to them.
        world.sandbox.advance(3 * DAY * 1_000_000).unwrap();
        assert_eq!(world.get(&path).await.json["current_period_end"], begun["current_period_end"]);
        advance(&world, &clock, at("2025-02-28T01:00:00Z").secs()).await.id();
        assert_eq!(world.get(&path).await.json["current_period_end"], at("2025-03-31T00:00:00Z").secs());
        let invoice = world.sandbox.invoices(&subscription).unwrap().pop().unwrap();
        assert_eq!((invoice["status"].as_str(), invoice["total"].as_i64()), (Some("paid"), Some(7 * 5 + 9_900)));
        assert_eq!(invoice["created"], at("2025-02-28T00:00:00Z").secs());
        assert_eq!(world.set(&item, "1", at("2025-02-28T00:00:01Z").secs()).await.status, 200);
    });
}

#[test]
fn a_clock_advances_by_two_intervals_at_most_and_never_back() {
    run(|world| async move {
        let then = at(THEN).secs();
        let clock = clock_at(&world, then).await;
        assert_eq!(advance(&world, &clock, then).await.error("param"), "frozen_time");
        assert_eq!(advance(&world, &clock, at("2027-01-31T00:00:01Z").secs()).await.status, 400);
        subscriber(&world, &clock).await;
        assert_eq!(advance(&world, &clock, at("2025-03-31T00:00:01Z").secs()).await.status, 400);
        let under_way = advance(&world, &clock, at("2025-03-31T00:00:00Z").secs()).await.json;
        assert_eq!((under_way["status"].as_str(), under_way["frozen_time"].as_i64()), (Some("advancing"), Some(then)));
        let target = &under_way["status_details"]["advancing"]["target_frozen_time"];
        let there = world.get(&format!("/v1/test_helpers/test_clocks/{clock}")).await.json;
        assert_eq!((there["status"].as_str(), &there["frozen_time"]), (Some("ready"), target));
    });
}

#[test]
fn lists_show_what_is_on_a_clock_only_to_those_who_name_it() {
    run(|world| async move {
        let clock = clock_at(&world, at(THEN).secs()).await;
        let (customer, subscription, _) = subscriber(&world, &clock).await;
        let only = |page: Answer| -> String {
            let [one] = page.json["data"].as_array().unwrap().as_slice() else { panic!("not one: {}", page.text) };
            one["id"].as_str().unwrap().to_owned()
        };
        assert_eq!(only(world.get("/v1/customers").await), world.demo.customer);
        assert_eq!(only(world.get(&format!("/v1/customers?test_clock={clock}")).await), customer);
        assert_eq!(only(world.get("/v1/subscriptions").await), world.demo.subscription);
        for filter in ["test_clock", "customer"] {
            let named = if filter == "customer" { &customer } else { &clock };
            let listed = world.get(&format!("/v1/subscriptions?{filter}={named}")).await;
            assert_eq!(only(listed), subscription, "{filter}");
        }
        assert_eq!(world.post("/v1/customers", &[("test_clock", "clock_x")]).await.error("param"), "test_clock");
    });
}

#[test]
fn a_deleted_clock_takes_its_customers_with_it() {
    run(|world| async move {
        let (gone, forgotten) = (clock_at(&world, at(THEN).secs()).await, clock_at(&world, at(THEN).secs()).await);
        for clock in [&gone, &forgotten] {
            let (customer, subscription, item) = subscriber(&world, clock).await;
            if *clock == gone {
                let path = format!("/v1/test_helpers/test_clocks/{clock}");
                let deleted = world.send(world.request("DELETE", &path)).await;
                assert_eq!(deleted.json["deleted"], true, "{}", deleted.text);
            } else {
                world.sandbox.advance(7 * DAY * 1_000_000).unwrap();
            }
            for path in [
                format!("/v1/test_helpers/test_clocks/{clock}"),
                format!("/v1/customers/{customer}"),
                format!("/v1/subscriptions/{subscription}"),
                format!("/v1/subscription_items/{item}"),
            ] {
                assert_eq!(world.get(&path).await.status, 404, "{path}");
            }
        }
        assert_eq!(world.get(&format!("/v1/customers/{}", world.demo.customer)).await.status, 200);
    });
}

#[test]
fn meter_events_are_of_the_clocks_time_and_remembered_in_the_sandboxes() {
    meters::on("sum", None, |world| async move {
        let then = at(THEN).secs();
        let clock = clock_at(&world, then).await;
        let pairs = [("test_clock", clock.as_str()), ("payment_method", "pm_card_visa")];
        let customer = world.post("/v1/customers", &pairs).await.id();
        let pairs = [("customer", customer.as_str()), ("items[0][price]", &world.demo.prices["price_api_overage"])];
        let subscription = world.post("/v1/subscriptions", &pairs).await.id();
        let send = async |identifier: &str, timestamp: i64| {
            let pairs = [
                ("event_name", "api_credits"),
                ("payload[stripe_customer_id]", customer.as_str()),
                ("payload[value]", "5"),
                ("identifier", identifier),
                ("timestamp", &timestamp.to_string()),
            ];
            world.post(meters::EVENTS, &pairs).await
        };
        let quantity = async || {
            let pairs = [("subscription", subscription.as_str())];
            let preview = world.form("/v1/invoices/create_preview", &pairs).header("stripe-version", meters::BASIL);
            world.send(preview).await.json["lines"]["data"][0]["quantity"].as_i64().unwrap()
        };
        world.behave(|behaviour| behaviour.summary_lag_s = 60);
        assert_eq!(send("a", now()).await.error("param"), "timestamp");
        assert_eq!(send("a", then + 1).await.json["created"], now());
        let meter = world.demo.meter_api.as_deref().unwrap();
        let range = format!("customer={customer}&start_time={then}&end_time={}", then + 60);
        let summaries = format!("/v1/billing/meters/{meter}/event_summaries?{range}");
        let seen =
            async || (world.get(&summaries).await.json["data"][0]["aggregated_value"].as_f64(), quantity().await);
        assert_eq!(seen().await, (None, 0));
        advance(&world, &clock, then + 2 * DAY).await.id();
        assert_eq!(seen().await, (None, 0), "the lag is the sandbox's");
        world.sandbox.advance(60_000_000).unwrap();
        assert_eq!(seen().await, (Some(5.0), 5));
        assert_eq!(send("a", then + 2).await.status, 400);
        world.sandbox.advance((DAY - 60) * 1_000_000).unwrap();
        assert_eq!(send("a", then + 2).await.status, 200, "identifiers are forgotten in the sandbox's time");
        advance(&world, &clock, at("2025-02-28T01:00:00Z").secs()).await.id();
        let invoice = world.sandbox.invoices(&subscription).unwrap().pop().unwrap();
        assert_eq!((invoice["status"].as_str(), invoice["total"].as_i64()), (Some("paid"), Some(10)));
        // They go with their customer: the identifier is free for another one.
        let now = world.sandbox.now().secs();
        assert_eq!(world.event("a", "1", now).await.status, 400);
        let path = format!("/v1/test_helpers/test_clocks/{clock}");
        assert_eq!(world.send(world.request("DELETE", &path)).await.status, 200);
        assert_eq!(world.event("a", "1", now).await.status, 200);
    });
}

#[test]
fn no_invoice_number_is_given_twice() {
    run(|world| async move {
        let number = |subscription: &str| world.sandbox.invoices(subscription).unwrap()[0]["number"].clone();
        // A draft has none, and takes none.
        world.sandbox.set_clock(at("2026-12-01T00:00:00Z")).unwrap();
        let mut numbers = vec![number(&world.demo.subscription)];
        for _ in 0..2 {
            let clock = clock_at(&world, at(THEN).secs()).await;
            let (_, subscription, _) = subscriber(&world, &clock).await;
            numbers.push(number(&subscription));
            let path = format!("/v1/test_helpers/test_clocks/{clock}");
            world.send(world.request("DELETE", &path)).await;
        }
        assert_eq!(numbers, ["USAGED-0001", "USAGED-0002", "USAGED-0003"]);
    });
}
