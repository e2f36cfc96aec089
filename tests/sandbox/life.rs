//! How subscriptions live: trials, paused collection, payments that fail, anchors, items of different intervals.

use serde_json::json;
use usaged::sandbox::{Account, Behaviour, ResetUsage, WhenRetriesFail};

use super::clocks::{advance, clock_at};
use super::*;

const MIXED: &str = "2025-07-30.basil";

/// A subscription to a base and a metered price.
struct Subscribed {
    id: String,
    item: String,
}

impl World {
    async fn customer(&self, method: Option<&str>) -> String {
        let pairs: Vec<_> = method.map(|method| ("payment_method", method)).into_iter().collect();
        self.post("/v1/customers", &pairs).await.id()
    }

    /// A customer who pays, on a test clock of its own: the clock and the customer.
    async fn customer_on_clock(&self, time: i64) -> (String, String) {
        let clock = clock_at(self, time).await;
        let pairs = [("test_clock", clock.as_str()), ("payment_method", "pm_card_visa")];
        let customer = self.post("/v1/customers", &pairs).await.id();
        (clock, customer)
    }

    /// Subscribes to the starter base, EUR 99, and its compute, 5 cents.
    async fn begin(&self, customer: &str, more: &[(&str, &str)]) -> Subscribed {
        let pairs = [
            ("customer", customer),
            ("items[0][price]", &self.demo.prices["price_starter_monthly"]),
            ("items[1][price]", &self.demo.prices["price_compute_overage_starter"]),
        ];
        let made = self.post("/v1/subscriptions", &[&pairs[..], more].concat()).await;
        assert_eq!(made.status, 200, "{}", made.text);
        Subscribed { item: made.json["items"]["data"][1]["id"].as_str().unwrap().to_owned(), id: made.id() }
    }

    async fn read(&self, subscription: &str) -> Value {
        self.get(&format!("/v1/subscriptions/{subscription}")).await.json
    }

    async fn status(&self, subscription: &str) -> String {
        self.read(subscription).await["status"].as_str().unwrap().to_owned()
    }

    async fn change(&self, subscription: &str, pairs: &[(&str, &str)]) -> Answer {
        self.post(&format!("/v1/subscriptions/{subscription}"), pairs).await
    }

    /// Status and total of every invoice, oldest first.
    fn invoiced(&self, subscription: &str) -> Vec<(String, i64)> {
        let invoices = self.sandbox.invoices(subscription).unwrap();
        let seen = |one: &Value| (one["status"].as_str().unwrap().to_owned(), one["total"].as_i64().unwrap());
        invoices.iter().map(seen).collect()
    }
}

fn states(billed: &[(String, i64)]) -> Vec<(&str, i64)> {
    billed.iter().map(|(status, total)| (status.as_str(), *total)).collect()
}

/// 4000 0025 0000 3155: the bank asks who pays, once.
#[test]
fn a_card_that_has_to_be_authenticated_pays_once_it_is_and_then_by_itself() {
    run(|world| async move {
        let card = "pm_card_authenticationRequiredOnSetup";
        let authenticate = |intent: String, succeeds: bool| {
            let url = format!("http://{}/_sandbox/authenticate", world.address);
            let order = json!({ "payment_intent": intent, "succeeds": succeeds }).to_string();
            world.send(world.client.post(url).body(order))
        };
        let customer = world.customer(Some(card)).await;
        let price = world.demo.prices["price_starter_monthly"].as_str();
        let pairs =
            [("customer", customer.as_str()), ("items[0][price]", price), ("payment_behavior", "error_if_incomplete")];
        let refused = world.post("/v1/subscriptions", &pairs).await;
        assert_eq!((refused.status, refused.error("code")), (402, "subscription_payment_intent_requires_action"));

        let waiting = [pairs[0], pairs[1], ("expand[]", "latest_invoice.payment_intent")];
        let made = world.post("/v1/subscriptions", &waiting).await;
        let intent = &made.json["latest_invoice"]["payment_intent"];
        assert_eq!((&made.json["status"], &intent["status"]), (&json!("incomplete"), &json!("requires_action")));
        let intent = intent["id"].as_str().unwrap().to_owned();
        let invoice = made.json["latest_invoice"]["id"].as_str().unwrap();
        let pay = world.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
        assert_eq!((pay.status, pay.error("code")), (402, "invoice_payment_intent_requires_action"));
        assert_eq!(authenticate(intent.clone(), false).await.json["status"], "requires_payment_method");
        assert_eq!(authenticate(intent.clone(), true).await.status, 400, "it waits for nobody");
        let asked = world.post(&format!("/v1/payment_intents/{intent}/confirm"), &[("payment_method", card)]).await;
        assert_eq!((asked.status, &asked.json["status"]), (200, &json!("requires_action")));
        assert_eq!(world.status(&made.id()).await, "incomplete");
        assert_eq!(authenticate(intent, true).await.json["status"], "succeeded");
        assert_eq!(world.status(&made.id()).await, "active");
        world.sandbox.advance(32 * DAY * 1_000_000).unwrap();
        assert_eq!(world.invoiced(&made.id())[1], ("paid".to_owned(), 9_900), "the next month asks nobody");
    });
}

#[test]
fn a_trial_without_a_payment_method_ends_as_its_settings_say() {
    run(|world| async move {
        for (behavior, status, invoices) in
            [("create_invoice", "past_due", 2), ("cancel", "canceled", 1), ("pause", "paused", 1)]
        {
            let customer = world.customer(None).await;
            let name = "trial_settings[end_behavior][missing_payment_method]";
            let made = world.begin(&customer, &[("trial_period_days", "3"), (name, behavior)]).await;
            let shown = world.read(&made.id).await;
            assert_eq!(shown["trial_end"], world.sandbox.now().secs() + 3 * DAY);
            assert_eq!(shown["trial_settings"]["end_behavior"]["missing_payment_method"], behavior);
            world.set(&made.item, "50", world.sandbox.now().secs() + 1).await.id();
            world.sandbox.advance((3 * DAY + 3_600) * 1_000_000).unwrap();
            assert_eq!(world.status(&made.id).await, status, "{behavior}");
            assert_eq!(world.invoiced(&made.id).len(), invoices, "{behavior}");
        }
    });
}

#[test]
fn a_paused_subscription_is_resumed_with_a_whole_period_and_its_trial_usage_stays_free() {
    run(|world| async move {
        let customer = world.customer(None).await;
        let name = "trial_settings[end_behavior][missing_payment_method]";
        let made = world.begin(&customer, &[("trial_period_days", "3"), (name, "pause")]).await;
        world.set(&made.item, "50", now() + 1).await.id();
        world.sandbox.advance(5 * DAY * 1_000_000).unwrap();
        let resume = format!("/v1/subscriptions/{}/resume", made.id);
        assert_eq!(world.post(&resume, &[]).await.error("code"), "resource_missing");
        world.post(&format!("/v1/customers/{customer}"), &[("payment_method", "pm_card_visa")]).await.id();
        let resumed = world.post(&resume, &[]).await.json;
        assert_eq!(
            (resumed["status"].as_str(), resumed["current_period_start"].as_i64()),
            (Some("active"), Some(now() + 5 * DAY))
        );
        assert_eq!(states(&world.invoiced(&made.id)), [("paid", 0), ("paid", 9_900)]);
        assert_eq!(world.post(&resume, &[]).await.status, 400);
    });
}

#[test]
fn a_trial_ends_at_once_or_later_when_it_is_told_to() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[("trial_period_days", "10")]).await;
        let later = (now() + 20 * DAY).to_string();
        let extended = world.change(&made.id, &[("trial_end", &later)]).await.json;
        assert_eq!(
            (extended["status"].as_str(), extended["current_period_end"].as_i64()),
            (Some("trialing"), Some(now() + 20 * DAY))
        );
        world.sandbox.advance(15 * DAY * 1_000_000).unwrap();
        let ended = world.change(&made.id, &[("trial_end", "now")]).await.json;
        assert_eq!(
            (ended["status"].as_str(), ended["current_period_start"].as_i64()),
            (Some("active"), Some(now() + 15 * DAY))
        );
        assert_eq!(states(&world.invoiced(&made.id)), [("paid", 0), ("paid", 9_900)]);
        let twice = [
            ("customer", customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_starter_monthly"]),
            ("trial_end", &later),
            ("trial_period_days", "3"),
        ];
        assert_eq!(world.post("/v1/subscriptions", &twice).await.status, 400);
    });
}

#[test]
fn paused_collection_makes_invoices_that_nobody_pays() {
    run(|world| async move {
        for (behavior, status, advances) in
            [("void", "void", false), ("keep_as_draft", "draft", false), ("mark_uncollectible", "uncollectible", false)]
        {
            let customer = world.customer(Some("pm_card_visa")).await;
            let made = world.begin(&customer, &[]).await;
            let paused = world.change(&made.id, &[("pause_collection[behavior]", behavior)]).await.json;
            assert_eq!(paused["status"], "active");
            assert_eq!(paused["pause_collection"], json!({ "behavior": behavior, "resumes_at": null }));
            world.set(&made.item, "10", world.sandbox.now().secs() + 1).await.id();
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            let billed = world.invoiced(&made.id);
            assert_eq!(states(&billed), [("paid", 9_900), (status, 9_950)]);
            let invoice = world.sandbox.invoices(&made.id).unwrap().pop().unwrap();
            assert_eq!((invoice["auto_advance"].as_bool(), invoice["amount_paid"].as_i64()), (Some(advances), Some(0)));
            let totals = world.sandbox.totals(&made.item).unwrap();
            assert_eq!((totals[1].total, totals[1].invoice.as_deref()), (10, invoice["id"].as_str()));
            world.change(&made.id, &[("pause_collection", "")]).await.id();
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            assert_eq!(states(&world.invoiced(&made.id))[1..], [(status, 9_950), ("paid", 9_900)], "{behavior}");
        }
        let nothing = world.change(&world.demo.subscription, &[("pause_collection[resumes_at]", "9999999999")]).await;
        assert_eq!(nothing.error("param"), "pause_collection[behavior]");
    });
}

#[test]
fn paused_collection_goes_on_at_the_time_it_was_given() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[]).await;
        let resumes_at = at("2026-12-20T00:00:00Z").secs().to_string();
        let pause = [("pause_collection[behavior]", "void"), ("pause_collection[resumes_at]", resumes_at.as_str())];
        world.change(&made.id, &pause).await.id();
        world.go_to(at("2026-12-20T00:00:00Z").secs());
        assert_eq!(world.read(&made.id).await["pause_collection"], Value::Null);
        world.go_to(at("2027-01-11T00:00:00Z").secs());
        assert_eq!(states(&world.invoiced(&made.id)), [("paid", 9_900), ("void", 9_900), ("paid", 9_900)]);
    });
}

#[test]
fn open_invoices_are_voided_or_given_up_by_hand() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[]).await;
        let failing = [("default_payment_method", "pm_card_chargeCustomerFail")];
        world.change(&made.id, &failing).await.id();
        world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
        let open = world.sandbox.invoices(&made.id).unwrap().pop().unwrap();
        let path = format!("/v1/invoices/{}", open["id"].as_str().unwrap());
        let given_up = world.post(&format!("{path}/mark_uncollectible"), &[]).await.json;
        assert_eq!(given_up["status"], "uncollectible");
        assert!(given_up["status_transitions"]["marked_uncollectible_at"].is_i64());
        assert_eq!(world.post(&format!("{path}/void"), &[]).await.json["status"], "void");
        for again in ["void", "mark_uncollectible", "pay"] {
            assert_eq!(world.post(&format!("{path}/{again}"), &[]).await.status, 400, "{again}");
        }
    });
}

#[test]
fn a_declined_payment_makes_it_past_due_and_a_further_try_active_again() {
    run(|world| async move {
        world.sandbox.set_account(&Account { retry_days: vec![3, 5], ..Account::default() }).unwrap();
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[]).await;
        let method = format!("/v1/customers/{customer}");
        world.post(&method, &[("payment_method", "pm_card_chargeCustomerFail")]).await.id();
        world.go_to(at("2026-12-10T13:00:01Z").secs());
        assert_eq!(world.status(&made.id).await, "past_due");
        let tries = |world: &World| world.sandbox.invoices(&made.id).unwrap()[1]["attempt_count"].as_i64().unwrap();
        assert_eq!(tries(&world), 1);
        world.go_to(at("2026-12-13T13:00:01Z").secs());
        assert_eq!(tries(&world), 2);
        let invoice = world.sandbox.invoices(&made.id).unwrap()[1]["id"].as_str().unwrap().to_owned();
        assert_eq!(world.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await.error("code"), "card_declined");
        // Usage is taken all the same.
        assert_eq!(world.set(&made.item, "1", world.sandbox.now().secs() + 1).await.status, 200);
        world.post(&method, &[("payment_method", "pm_card_visa")]).await.id();
        world.go_to(at("2026-12-18T13:00:01Z").secs());
        assert_eq!((world.status(&made.id).await, tries(&world)), ("active".to_owned(), 3));
        assert_eq!(states(&world.invoiced(&made.id)), [("paid", 9_900), ("paid", 9_900)]);
    });
}

#[test]
fn when_no_try_is_left_the_account_decides() {
    run(|world| async move {
        for (when, status, later) in [
            (WhenRetriesFail::PastDue, "past_due", Some("open")),
            (WhenRetriesFail::Unpaid, "unpaid", Some("draft")),
            (WhenRetriesFail::Canceled, "canceled", None),
        ] {
            let account = Account { retry_days: vec![1], when_retries_fail: when, ..Account::default() };
            world.sandbox.set_account(&account).unwrap();
            let customer = world.customer(Some("pm_card_visa")).await;
            let made = world.begin(&customer, &[]).await;
            let failing = [("default_payment_method", "pm_card_chargeCustomerFail")];
            world.change(&made.id, &failing).await.id();
            world.sandbox.advance(33 * DAY * 1_000_000).unwrap();
            assert_eq!(world.status(&made.id).await, status);
            world.sandbox.advance(31 * DAY * 1_000_000).unwrap();
            let third = world.invoiced(&made.id).get(2).map(|(status, _)| status.clone());
            assert_eq!(third.as_deref(), later, "{status}");
            if when != WhenRetriesFail::Unpaid {
                continue;
            }
            // The last that became final is the one that counts.
            let owed = world.sandbox.invoices(&made.id).unwrap()[1]["id"].as_str().unwrap().to_owned();
            let paid = world.post(&format!("/v1/invoices/{owed}/pay"), &[("payment_method", "pm_card_visa")]).await;
            assert_eq!(paid.json["status"], "paid", "{}", paid.text);
            assert_eq!(world.status(&made.id).await, "active");
        }
    });
}

#[test]
fn an_older_invoice_that_is_paid_does_not_make_it_active_again() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[]).await;
        let failing = [("default_payment_method", "pm_card_chargeCustomerFail")];
        world.change(&made.id, &failing).await.id();
        world.sandbox.advance(63 * DAY * 1_000_000).unwrap();
        assert_eq!(states(&world.invoiced(&made.id))[1..], [("open", 9_900), ("open", 9_900)]);
        for (at, status) in [(1, "past_due"), (2, "active")] {
            let owed = world.sandbox.invoices(&made.id).unwrap()[at]["id"].as_str().unwrap().to_owned();
            let pay = format!("/v1/invoices/{owed}/pay");
            assert_eq!(world.post(&pay, &[("payment_method", "pm_card_visa")]).await.json["status"], "paid");
            assert_eq!(world.status(&made.id).await, status);
        }
    });
}

#[test]
fn a_first_payment_that_is_declined_leaves_it_incomplete_or_refused() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_chargeCustomerFail")).await;
        let made = world.begin(&customer, &[]).await;
        assert_eq!(world.status(&made.id).await, "incomplete");
        let price = world.demo.prices["price_starter_monthly"].clone();
        let strict =
            [("customer", customer.as_str()), ("items[0][price]", &price), ("payment_behavior", "error_if_incomplete")];
        let reset = world.change(&made.id, &[("billing_cycle_anchor", "now")]).await;
        assert!(reset.error("message").contains("incomplete"), "{}", reset.text);
        let refused = world.post("/v1/subscriptions", &strict).await;
        assert_eq!((refused.status, refused.error("code")), (402, "card_declined"));
    });
}

#[test]
fn cancelling_now_gives_back_the_unused_base_and_bills_usage_where_both_are_asked_for() {
    run(|world| async move {
        let june = at("2026-06-01T00:00:00Z").secs();
        for (query, wanted) in [
            ("", vec![("paid", 9_900)]),
            ("?prorate=true", vec![("paid", 9_900)]),
            ("?invoice_now=true", vec![("paid", 9_900), ("paid", 500)]),
            // 15 of 30 days of EUR 99 given back, 100 at 5 cents.
            ("?invoice_now=true&prorate=true", vec![("paid", 9_900), ("paid", 500 - 4_950)]),
        ] {
            let (clock, customer) = world.customer_on_clock(june).await;
            let made = world.begin(&customer, &[]).await;
            world.set(&made.item, "100", june + 1).await.id();
            advance(&world, &clock, june + 15 * DAY).await.id();
            let path = format!("/v1/subscriptions/{}{query}", made.id);
            assert_eq!(world.send(world.request("DELETE", &path)).await.json["status"], "canceled");
            assert_eq!(states(&world.invoiced(&made.id)), wanted, "{query}");
            let late = world.set(&made.item, "1", june + 2).await;
            assert!(late.error("message").ends_with("has been canceled."), "{}", late.text);
        }
    });
}

#[test]
fn anchors_at_the_end_of_the_month_fall_on_its_last_day_and_come_back() {
    run(|world| async move {
        for (day, ends) in [
            ("29", ["2027-12-29", "2028-01-29", "2028-02-29", "2028-03-29"]),
            ("30", ["2027-12-30", "2028-01-30", "2028-02-29", "2028-03-30"]),
            ("31", ["2027-12-31", "2028-01-31", "2028-02-29", "2028-03-31"]),
        ] {
            let (clock, customer) = world.customer_on_clock(at("2027-12-05T00:00:00Z").secs()).await;
            let anchor: Vec<(String, &str)> = [("day_of_month", day), ("hour", "6"), ("minute", "0"), ("second", "0")]
                .map(|(part, value)| (format!("billing_cycle_anchor_config[{part}]"), value))
                .to_vec();
            let anchor: Vec<(&str, &str)> = anchor.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let made = world.begin(&customer, &anchor).await;
            for end in ends {
                let end = at(&format!("{end}T06:00:00Z")).secs();
                assert_eq!(world.read(&made.id).await["current_period_end"], end, "{day}");
                advance(&world, &clock, end).await.id();
            }
        }
    });
}

#[test]
fn an_anchor_set_to_now_cuts_the_period_short_and_bills_it() {
    run(|world| async move {
        let june = at("2026-06-01T00:00:00Z").secs();
        for (usage, proration, total) in [
            // The usage, half of EUR 99 given back, a whole month in advance.
            (ResetUsage::Billed, "create_prorations", 500 - 4_950 + 9_900),
            (ResetUsage::Billed, "none", 500 + 9_900),
            (ResetUsage::Dropped, "none", 9_900),
        ] {
            world.sandbox.behave(Behaviour { reset: usage, ..Behaviour::default() }).unwrap();
            let (clock, customer) = world.customer_on_clock(june).await;
            let made = world.begin(&customer, &[]).await;
            world.set(&made.item, "100", june + 1).await.id();
            let middle = june + 15 * DAY;
            advance(&world, &clock, middle).await.id();
            let reset = [("billing_cycle_anchor", "now"), ("proration_behavior", proration)];
            let moved = world.change(&made.id, &reset).await.json;
            assert_eq!(
                (moved["billing_cycle_anchor"].as_i64(), moved["current_period_start"].as_i64()),
                (Some(middle), Some(middle))
            );
            assert_eq!(moved["current_period_end"], at("2026-07-16T00:00:00Z").secs());
            let invoice = world.sandbox.invoices(&made.id).unwrap().pop().unwrap();
            assert_eq!(
                (invoice["billing_reason"].as_str(), invoice["total"].as_i64()),
                (Some("subscription_update"), Some(total))
            );
            assert_eq!(moved["latest_invoice"], invoice["id"]);
            let totals = world.sandbox.totals(&made.item).unwrap();
            let closed = totals.get(1).map(|one| (one.from.secs(), one.to.secs(), one.total));
            let kept = usage == ResetUsage::Billed;
            assert_eq!(closed, kept.then_some((june, middle, 100)));
            let late = world.set(&made.item, "1", june + 2).await;
            assert!(late.error("message").ends_with("(or current period start time)."), "{}", late.text);
            assert_eq!(world.set(&made.item, "1", middle + 1).await.status, 200);
        }
    });
}

#[test]
fn from_endive_on_an_anchor_is_an_object() {
    run(|world| async move {
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        for (version, name, status) in [
            ("2025-02-24.acacia", "billing_cycle_anchor[type]", 400),
            ("2026-10-28.endive", "billing_cycle_anchor", 400),
            ("2026-10-28.endive", "billing_cycle_anchor[type]", 200),
        ] {
            let request = world.form(&path, &[(name, "now")]).header("stripe-version", version);
            assert_eq!(world.send(request).await.status, status, "{version} {name}");
        }
        assert_eq!(world.read(&world.demo.subscription).await["billing_cycle_anchor"], now());
    });
}

#[test]
fn an_annual_base_and_monthly_usage_are_two_subscriptions_of_one_customer() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let subscribe = |price: &str| {
            let pairs = [("customer", customer.clone()), ("items[0][price]", world.demo.prices[price].clone())];
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            world.send(world.form("/v1/subscriptions", &pairs))
        };
        let base = subscribe("price_pro_annual").await;
        let usage = subscribe("price_api_overage").await;
        assert_eq!(base.json["current_period_end"], at("2027-11-10T12:00:01Z").secs());
        assert_eq!(usage.json["current_period_end"], at("2026-12-10T12:00:01Z").secs());
        let item = usage.json["items"]["data"][0]["id"].as_str().unwrap();
        world.set(item, "1500", now() + 1).await.id();
        world.go_to(at("2027-11-09T00:00:00Z").secs());
        assert_eq!(states(&world.invoiced(&base.id())), [("paid", 199_000)]);
        let billed = world.invoiced(&usage.id());
        assert_eq!((billed.len(), billed[1].1, billed.iter().map(|one| one.1).sum::<i64>()), (12, 1_500, 1_500));
    });
}

#[test]
fn items_of_a_flexible_subscription_have_periods_of_their_own() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let pairs = [
            ("customer", customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_pro_annual"]),
            ("items[1][price]", &world.demo.prices["price_starter_monthly"]),
            ("billing_mode[type]", "flexible"),
        ];
        let send = |version: &str, pairs: &[(&str, &str)]| {
            world.send(world.form("/v1/subscriptions", pairs).header("stripe-version", version.to_owned()))
        };
        assert_eq!(send("2025-02-24.acacia", &pairs).await.error("param"), "billing_mode");
        for (version, pairs) in [("2025-06-30.basil", &pairs[..]), (MIXED, &pairs[..3])] {
            let refused = send(version, pairs).await;
            assert!(refused.error("message").contains("mismatch in interval field"), "{version} {}", refused.text);
        }
        assert_eq!(send("2025-09-30.clover", &pairs[..3]).await.json["billing_mode"]["type"], "flexible");
        let made = send(MIXED, &pairs).await;
        let ends = |shown: &Value| -> Vec<i64> {
            let items = shown["items"]["data"].as_array().unwrap();
            items.iter().map(|item| item["current_period_end"].as_i64().unwrap()).collect()
        };
        let (month, year) = (at("2026-12-10T12:00:01Z").secs(), at("2027-11-10T12:00:01Z").secs());
        assert_eq!(ends(&made.json), [year, month]);
        // Earlier versions see the period that ends first.
        assert_eq!(world.read(&made.id()).await["current_period_end"], month);
        world.go_to(at("2027-11-10T12:00:00Z").secs());
        let billed = world.invoiced(&made.id());
        assert_eq!((billed.len(), billed[0].1), (12, 199_000 + 9_900));
        assert!(billed[1..].iter().all(|(_, total)| *total == 9_900));
        let starts = |shown: &Value| -> Vec<i64> {
            let items = shown["items"]["data"].as_array().unwrap();
            items.iter().map(|item| item["current_period_start"].as_i64().unwrap()).collect()
        };
        let path = format!("/v1/subscriptions/{}", made.id());
        let shown = world.send(world.request("GET", &path).header("stripe-version", MIXED)).await.json;
        assert_eq!((ends(&shown), starts(&shown)), (vec![year, year], vec![now(), at("2027-10-10T12:00:01Z").secs()]));
        world.go_to(at("2027-11-10T12:00:01Z").secs());
        assert_eq!(world.invoiced(&made.id()).pop().unwrap().1, 199_000 + 9_900);
        let later = world.send(world.request("GET", &path).header("stripe-version", MIXED)).await.json;
        assert_eq!(ends(&later), [at("2028-11-10T12:00:01Z").secs(), at("2027-12-10T12:00:01Z").secs()]);
    });
}

#[test]
fn usage_of_an_item_is_billed_when_its_own_period_ends() {
    run(|world| async move {
        let yearly = [
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "3"),
            ("recurring[interval]", "year"),
            ("recurring[usage_type]", "metered"),
        ];
        let yearly = world.post("/v1/prices", &yearly).await.id();
        let customer = world.customer(Some("pm_card_visa")).await;
        let pairs = [
            ("customer", customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_starter_monthly"]),
            ("items[1][price]", &yearly),
            ("billing_mode[type]", "flexible"),
        ];
        let made = world.send(world.form("/v1/subscriptions", &pairs).header("stripe-version", MIXED)).await;
        let item = made.json["items"]["data"][1]["id"].as_str().unwrap();
        world.set(item, "70", now() + 1).await.id();
        world.go_to(at("2027-03-01T00:00:00Z").secs());
        // Of a month that is over, but of a year that is not.
        world.set(item, "30", now() + 2).await.id();
        assert_eq!(world.standing(item), 100);
        world.go_to(at("2027-11-11T00:00:00Z").secs());
        let totals: Vec<i64> = world.invoiced(&made.id()).iter().map(|one| one.1).collect();
        assert_eq!((totals.len(), totals[12]), (13, 9_900 + 300));
        assert!(totals[..12].iter().all(|total| *total == 9_900), "{totals:?}");
        let summaries = world.sandbox.totals(item).unwrap();
        assert_eq!((summaries[0].total, summaries[1].total, summaries.len()), (0, 100, 2));
    });
}

#[test]
fn an_item_of_another_interval_joins_and_leaves_a_flexible_subscription() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let pairs = [
            ("customer", customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_pro_annual"]),
            ("billing_mode[type]", "flexible"),
        ];
        let made = world.send(world.form("/v1/subscriptions", &pairs).header("stripe-version", MIXED)).await;
        let (year, month) = (at("2027-11-10T12:00:01Z").secs(), at("2026-12-10T12:00:01Z").secs());
        assert_eq!(world.read(&made.id()).await["current_period_end"], year);
        let monthly = world.demo.prices["price_starter_monthly"].as_str();
        let pairs = [("subscription", made.json["id"].as_str().unwrap()), ("price", monthly)];
        let joined = world.post("/v1/subscription_items", &pairs).await.id();
        assert_eq!(world.read(&made.id()).await["current_period_end"], month);
        // The end of a period is the first one's.
        let ending = world.change(&made.id(), &[("cancel_at_period_end", "true")]).await.json;
        assert_eq!(ending["cancel_at"], month);
        world.change(&made.id(), &[("cancel_at_period_end", "false")]).await.id();
        let left = world.send(world.request("DELETE", &format!("/v1/subscription_items/{joined}"))).await;
        assert_eq!(left.status, 200, "{}", left.text);
        assert_eq!(world.read(&made.id()).await["current_period_end"], year);
    });
}

#[test]
fn the_account_is_chosen_over_http() {
    run(|world| async move {
        let url = format!("http://{}/_sandbox/account", world.address);
        let body = "{\"retry_days\": [3, 5, 7], \"when_retries_fail\": \"unpaid\"}";
        let set = world.send(world.client.post(&url).body(body)).await.json;
        assert_eq!(set["when_retries_fail"], "unpaid");
        assert_eq!(world.send(world.client.get(&url)).await.json, set);
        let wrong = world.send(world.client.post(&url).body("{\"when_retries_fail\": \"shrug\"}")).await;
        assert_eq!(wrong.status, 400);
    });
}

#[test]
fn an_end_within_the_period_ends_it_and_gives_back_the_rest() {
    run(|world| async move {
        for (proration, total) in [("create_prorations", 500 - 4_950), ("none", 500)] {
            let customer = world.customer(Some("pm_card_visa")).await;
            let made = world.begin(&customer, &[]).await;
            let (begun, end) = (world.sandbox.now().secs(), world.sandbox.now().secs() + 15 * DAY);
            let pairs = [("cancel_at", &*end.to_string()), ("proration_behavior", proration)];
            let told = world.change(&made.id, &pairs).await.json;
            let told_of = [&told["cancel_at"], &told["current_period_end"], &told["canceled_at"]].map(Value::as_i64);
            assert_eq!(told_of, [Some(end), Some(end), Some(begun)]);
            assert_eq!((told["status"].as_str(), &told["cancel_at_period_end"]), (Some("active"), &json!(false)));
            assert_eq!(world.read(&made.id).await["cancel_at"], end);
            world.set(&made.item, "100", begun + 1).await.id();
            world.sandbox.advance((15 * DAY - 10) * 1_000_000).unwrap();
            assert_eq!(world.set(&made.item, "1", end + 1).await.error("param"), "timestamp");
            world.sandbox.advance((3_600 + 10) * 1_000_000).unwrap();
            let ended = world.read(&made.id).await;
            assert_eq!((ended["status"].as_str(), ended["ended_at"].as_i64()), (Some("canceled"), Some(end)));
            assert_eq!(states(&world.invoiced(&made.id)), [("paid", 9_900), ("paid", total)], "{proration}");
            let totals = world.sandbox.totals(&made.item).unwrap();
            assert_eq!((totals.len(), totals[0].to.secs(), totals[0].total), (1, end, 100));
        }
    });
}

#[test]
fn an_end_in_a_later_period_is_charged_by_the_share_of_that() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[]).await;
        let end = at("2026-12-25T12:00:01Z").secs();
        let told = world.change(&made.id, &[("cancel_at", &end.to_string())]).await.json;
        assert_eq!((told["cancel_at"].as_i64(), &told["current_period_end"]), (Some(end), &json!(now() + 30 * DAY)));
        world.go_to(now() + 30 * DAY + 3_600);
        assert_eq!(world.read(&made.id).await["current_period_end"], end);
        world.go_to(end + 3_600);
        assert_eq!(world.status(&made.id).await, "canceled");
        // 15 of 31 days.
        assert_eq!(states(&world.invoiced(&made.id)), [("paid", 9_900), ("paid", 4_790), ("paid", 0)]);
    });
}

#[test]
fn an_end_is_taken_back_by_an_empty_one() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let made = world.begin(&customer, &[]).await;
        let end = (now() + 15 * DAY).to_string();
        world.change(&made.id, &[("cancel_at", &end)]).await.id();
        let stands = world.change(&made.id, &[("cancel_at_period_end", "false")]).await.json;
        assert_eq!(stands["cancel_at"].to_string(), end);
        let back = world.change(&made.id, &[("cancel_at", "")]).await.json;
        assert_eq!((&back["cancel_at"], &back["canceled_at"]), (&Value::Null, &Value::Null));
        assert_eq!(back["current_period_end"], now() + 30 * DAY);
        world.go_to(now() + 30 * DAY + 3_600);
        assert_eq!(states(&world.invoiced(&made.id)), [("paid", 9_900), ("paid", 9_900)]);
        for (refused, param) in [
            (vec![("cancel_at", "1000")], "cancel_at"),
            (vec![("cancel_at", "soon")], "cancel_at"),
            (vec![("cancel_at", "max_period_end")], "cancel_at"),
            (vec![("cancel_at", "1900000000"), ("cancel_at_period_end", "true")], ""),
        ] {
            let answer = world.change(&made.id, &refused).await;
            assert_eq!((answer.status, answer.error("param")), (400, param), "{refused:?}");
        }
    });
}

#[test]
fn an_end_cuts_short_the_own_periods_of_items() {
    run(|world| async move {
        let customer = world.customer(Some("pm_card_visa")).await;
        let pairs = [
            ("customer", customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_pro_annual"]),
            ("items[1][price]", &world.demo.prices["price_starter_monthly"]),
            ("billing_mode[type]", "flexible"),
        ];
        let made = world.send(world.form("/v1/subscriptions", &pairs).header("stripe-version", MIXED)).await.id();
        // 73 days, a fifth of the year.
        let end = now() + 73 * DAY;
        world.change(&made, &[("cancel_at", &end.to_string())]).await.id();
        let ends = async || {
            let path = format!("/v1/subscriptions/{made}");
            let read = world.send(world.request("GET", &path).header("stripe-version", MIXED)).await.json;
            [0, 1].map(|at: usize| read["items"]["data"][at]["current_period_end"].as_i64().unwrap())
        };
        assert_eq!(ends().await, [end, now() + 30 * DAY]);
        world.go_to(now() + 61 * DAY + 3_600);
        assert_eq!(ends().await, [end, end]);
        world.go_to(end + 3_600);
        assert_eq!(world.status(&made).await, "canceled");
        // Four fifths of EUR 1990 are given back; the last month is charged for 12 of its 31 days.
        let back = -159_200;
        let expected = [("paid", 199_000 + 9_900), ("paid", back + 9_900), ("paid", 3_832), ("paid", 0)];
        assert_eq!(states(&world.invoiced(&made)), expected);
    });
}
