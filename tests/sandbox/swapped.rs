//! What becomes of usage whose item is given another price, taken off, or put on: every reading of Stripe.

use serde_json::Value;
use usaged::sandbox::{Account, AddedUsage, RemovedUsage, SwappedUsage, WhenRetriesFail, seed_demo};

use super::meter_invoices::end;
use super::meters::on;
use super::{Answer, World, now};

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const OLD: &str = "price_compute_overage_pro";
const NEW: &str = "price_compute_overage_starter";

/// Quantities and amounts.
type Lines = Vec<(i64, i64)>;

impl World {
    /// An event of the demo customer for its compute meter, of this very second.
    async fn compute(&self, identifier: &str, value: &str) {
        let pairs = [
            ("event_name", "compute_hours"),
            ("payload[stripe_customer_id]", self.demo.customer.as_str()),
            ("payload[value]", value),
            ("identifier", identifier),
        ];
        assert_eq!(self.post(super::meters::EVENTS, &pairs).await.status, 200);
    }

    /// Gives the demo's compute item the other price.
    async fn swap(&self, more: &[(&str, &str)]) {
        let pairs = [&[("price", self.demo.prices[NEW].as_str())], more].concat();
        self.post(&format!("/v1/subscription_items/{}", self.demo.item_compute), &pairs).await.id();
    }

    async fn take_off(&self, more: &str) -> Answer {
        let path = format!("/v1/subscription_items/{}{more}", self.demo.item_compute);
        self.send(self.request("DELETE", &path)).await
    }

    /// The demo's compute lines at the old price and at the new one, on the invoice of its first period.
    fn billed(&self) -> (Lines, Lines) {
        self.go_to(end() + HOUR);
        let invoice: Value = self.sandbox.invoices(&self.demo.subscription).unwrap().pop().unwrap();
        assert_eq!(invoice["status"], "paid");
        (self.lines_for(&invoice, OLD), self.lines_for(&invoice, NEW))
    }
}

#[test]
fn a_swapped_price_on_a_meter_bills_the_usage_before_it_as_chosen() {
    for (formula, swapped, old, new) in [
        ("sum", SwappedUsage::AtNewPrice, vec![], vec![(130, 650)]),
        ("sum", SwappedUsage::AtOldPrice, vec![(100, 400)], vec![(30, 150)]),
        ("sum", SwappedUsage::Dropped, vec![], vec![(30, 150)]),
        // What is sent as a total is billed twice where the item starts anew.
        ("last", SwappedUsage::AtNewPrice, vec![], vec![(30, 150)]),
        ("last", SwappedUsage::AtOldPrice, vec![(100, 400)], vec![(30, 150)]),
        ("last", SwappedUsage::Dropped, vec![], vec![(30, 150)]),
    ] {
        on(formula, None, |world| async move {
            world.behave(|behaviour| behaviour.swapped = swapped);
            world.compute("a", "100").await;
            world.sandbox.advance(DAY * 1_000_000).unwrap();
            world.swap(&[]).await;
            if swapped == SwappedUsage::AtOldPrice {
                let preview = world.preview().await;
                assert_eq!(world.lines_for(&preview, OLD), [(100, 400)], "shown before it is billed");
            }
            world.compute("b", "30").await;
            assert_eq!(world.billed(), (old, new), "{formula} {swapped:?}");
        });
    }
}

#[test]
fn a_swapped_legacy_price_bills_the_usage_before_it_as_chosen() {
    for (swapped, old, new) in [
        (SwappedUsage::AtNewPrice, vec![], vec![(130, 650)]),
        (SwappedUsage::AtOldPrice, vec![(100, 400)], vec![(30, 150)]),
        (SwappedUsage::Dropped, vec![], vec![(30, 150)]),
    ] {
        super::run_with(
            |sandbox| seed_demo(sandbox).unwrap(),
            |world| async move {
                world.behave(|behaviour| behaviour.swapped = swapped);
                let item = world.demo.item_compute.clone();
                let start = now() - 1;
                world.set(&item, "100", start + 1).await.id();
                world.sandbox.advance(DAY * 1_000_000).unwrap();
                world.swap(&[]).await;
                let at_swap = world.sandbox.now().secs();
                world.sandbox.advance(10_000_000).unwrap();
                let keeps = swapped == SwappedUsage::AtNewPrice;
                assert_eq!(world.standing(&item), if keeps { 100 } else { 0 });
                let before = world.set(&item, "100", at_swap).await;
                assert_eq!(before.status == 200, keeps, "the stretch before it is closed");
                if keeps {
                    world.set(&item, "0", at_swap).await.id();
                } else {
                    assert_eq!(before.error("param"), "timestamp");
                }
                world.set(&item, "30", at_swap + 1).await.id();
                let totals = world.sandbox.totals(&item).unwrap();
                if swapped == SwappedUsage::AtOldPrice {
                    let promised = totals[1].invoice.clone().unwrap();
                    assert_eq!((totals[1].from.secs(), totals[1].to.secs(), totals[1].total), (start, at_swap, 100));
                    assert_eq!(
                        (totals[0].from.secs(), totals[0].total, totals[0].invoice.as_ref()),
                        (at_swap, 30, None)
                    );
                    let listed = world.get(&format!("/v1/subscription_items/{item}/usage_record_summaries")).await.json;
                    assert_eq!(listed["data"][1]["invoice"], promised.as_str());
                    assert_eq!(world.lines_for(&world.preview_before_basil().await, OLD), [(100, 400)]);
                    assert_eq!(world.billed(), (old, new));
                    assert_eq!(world.get(&format!("/v1/invoices/{promised}")).await.json["status"], "paid");
                    let invoices = world.sandbox.totals(&item).unwrap();
                    let on_it = invoices.iter().filter(|one| one.invoice.as_ref() == Some(&promised)).count();
                    assert_eq!(on_it, 2, "both stretches are on the invoice that was promised");
                } else {
                    assert_eq!(totals.len(), 1);
                    assert_eq!(world.billed(), (old, new), "{swapped:?}");
                }
            },
        );
    }
}

impl World {
    async fn preview_before_basil(&self) -> Value {
        self.get(&format!("/v1/invoices/upcoming?subscription={}", self.demo.subscription)).await.json
    }
}

#[test]
fn usage_before_a_swap_is_not_billed_where_the_caller_wants_no_proration() {
    on("sum", None, |world| async move {
        world.behave(|behaviour| behaviour.swapped = SwappedUsage::AtOldPrice);
        world.compute("a", "100").await;
        world.sandbox.advance(1_000_000).unwrap();
        world.swap(&[("proration_behavior", "none")]).await;
        world.compute("b", "30").await;
        assert_eq!(world.billed(), (vec![], vec![(30, 150)]));
    });
}

#[test]
fn what_is_billed_at_the_old_price_is_what_was_there_at_the_swap() {
    on("sum", None, |world| async move {
        world.behave(|behaviour| behaviour.swapped = SwappedUsage::AtOldPrice);
        world.compute("a", "100").await;
        world.sandbox.advance(60_000_000).unwrap();
        world.swap(&[]).await;
        let pairs = [
            ("event_name", "compute_hours"),
            ("payload[stripe_customer_id]", world.demo.customer.as_str()),
            ("payload[value]", "9"),
            ("timestamp", &now().to_string()),
        ];
        assert_eq!(world.post(super::meters::EVENTS, &pairs).await.status, 200);
        assert_eq!(world.billed(), (vec![(100, 400)], vec![(0, 0)]), "an event of before it comes too late");
    });
}

#[test]
fn an_item_taken_off_its_meter_is_billed_or_not_as_chosen() {
    for (removed, query, billed) in [
        (RemovedUsage::Dropped, "", vec![]),
        (RemovedUsage::Billed, "", vec![(100, 400)]),
        // Has no effect on a meter.
        (RemovedUsage::Billed, "?clear_usage=true", vec![(100, 400)]),
        (RemovedUsage::Billed, "?proration_behavior=none", vec![]),
    ] {
        on("sum", None, |world| async move {
            world.behave(|behaviour| behaviour.removed = removed);
            world.compute("a", "100").await;
            world.sandbox.advance(1_000_000).unwrap();
            assert_eq!(world.take_off(query).await.status, 200);
            world.compute("b", "30").await;
            assert_eq!(world.billed().0, billed, "{removed:?} {query}");
        });
    }
}

#[test]
fn a_legacy_item_taken_off_is_billed_or_given_up_as_chosen() {
    for (removed, query, status, billed) in [
        (RemovedUsage::Dropped, "", 400, vec![(100, 400)]),
        (RemovedUsage::Dropped, "?clear_usage=true", 200, vec![]),
        (RemovedUsage::Billed, "", 200, vec![(100, 400)]),
        (RemovedUsage::Billed, "?clear_usage=true", 200, vec![]),
    ] {
        super::run(|world| async move {
            world.behave(|behaviour| behaviour.removed = removed);
            world.set(&world.demo.item_compute, "100", now()).await.id();
            assert_eq!(world.take_off(query).await.status, status);
            assert_eq!(world.billed().0, billed, "{removed:?} {query}");
            if (removed, query) == (RemovedUsage::Billed, "") {
                let totals = world.sandbox.totals(&world.demo.item_compute).unwrap();
                assert!(totals[0].invoice.is_some() && totals[0].total == 100);
            }
        });
    }
}

#[test]
fn an_item_put_on_within_a_period_is_billed_since_then_or_for_all_of_it_as_chosen() {
    for (added, quantity) in [(AddedUsage::SinceAdded, 30), (AddedUsage::WholePeriod, 130)] {
        on("sum", None, |world| async move {
            world.behave(|behaviour| behaviour.added = added);
            world.compute("a", "100").await;
            world.sandbox.advance(1_000_000).unwrap();
            world.take_off("").await;
            let pairs = [("subscription", world.demo.subscription.as_str()), ("price", &world.demo.prices[NEW])];
            world.post("/v1/subscription_items", &pairs).await.id();
            world.compute("b", "30").await;
            assert_eq!(world.billed(), (vec![], vec![(quantity, quantity * 5)]), "{added:?}");
            world.go_to(end() + 10 * DAY);
            world.compute("c", "7").await;
            let preview = world.preview().await;
            assert_eq!(world.lines_for(&preview, NEW), [(7, 35)], "the next period is whole");
        });
    }
}

#[test]
fn an_invoice_that_was_promised_is_made_or_taken_back_when_the_subscription_is_cancelled() {
    for invoice_now in [true, false] {
        super::run(|world| async move {
            world.behave(|behaviour| behaviour.swapped = SwappedUsage::AtOldPrice);
            world.set(&world.demo.item_compute, "100", now()).await.id();
            world.swap(&[]).await;
            world.sandbox.advance(1_000_000).unwrap();
            let path = format!("/v1/subscriptions/{}?invoice_now={invoice_now}", world.demo.subscription);
            assert_eq!(world.send(world.request("DELETE", &path)).await.status, 200);
            let invoices = world.sandbox.invoices(&world.demo.subscription).unwrap();
            let made = invoices.iter().flat_map(|invoice| world.lines_for(invoice, OLD)).any(|line| line == (100, 400));
            assert_eq!(made, invoice_now);
            let totals = world.sandbox.totals(&world.demo.item_compute).unwrap();
            assert_eq!(totals.last().unwrap().invoice.is_some(), invoice_now);
        });
    }
}

#[test]
fn an_anchor_set_to_now_makes_the_invoice_that_was_promised() {
    super::run(|world| async move {
        world.behave(|behaviour| behaviour.swapped = SwappedUsage::AtOldPrice);
        let item = world.demo.item_compute.clone();
        world.set(&item, "100", now()).await.id();
        world.swap(&[]).await;
        let promised = world.sandbox.totals(&item).unwrap()[1].invoice.clone();
        world.sandbox.advance(DAY * 1_000_000).unwrap();
        world.set(&item, "30", now() + DAY).await.id();
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        let moved = world.post(&path, &[("billing_cycle_anchor", "now")]).await.json;
        assert_eq!(moved["latest_invoice"].as_str(), promised.as_deref());
        let totals = world.sandbox.totals(&item).unwrap();
        let closed: Vec<_> = totals.iter().skip(1).map(|one| (one.total, one.invoice.clone())).collect();
        assert_eq!(closed, [(30, promised.clone()), (100, promised)]);
    });
}

#[test]
fn a_promise_is_taken_back_where_declined_payments_end_the_subscription() {
    super::run(|world| async move {
        world.behave(|behaviour| behaviour.swapped = SwappedUsage::AtOldPrice);
        let account = Account { when_retries_fail: WhenRetriesFail::Canceled, ..Account::default() };
        world.sandbox.set_account(&account).unwrap();
        let customer = format!("/v1/customers/{}", world.demo.customer);
        world.post(&customer, &[("payment_method", "pm_card_chargeCustomerFail")]).await.id();
        world.go_to(end() + 60);
        world.set(&world.demo.item_compute, "100", end() + 60).await.id();
        world.swap(&[]).await;
        let promised = || {
            world
                .sandbox
                .totals(&world.demo.item_compute)
                .unwrap()
                .iter()
                .any(|one| one.total == 100 && one.invoice.is_some())
        };
        assert!(promised());
        world.go_to(end() + HOUR);
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        assert_eq!(world.get(&path).await.json["status"], "canceled");
        assert!(!promised());
    });
}

#[test]
fn a_swapped_item_with_a_period_of_its_own_is_billed_from_where_that_began() {
    on("sum", None, |world| async move {
        world.behave(|behaviour| behaviour.swapped = SwappedUsage::AtOldPrice);
        let meter = world.demo.meter_api.clone().unwrap();
        let yearly = async |cents: &str| {
            let pairs = [
                ("product", "prod_magicbox_pro"),
                ("currency", "eur"),
                ("unit_amount_decimal", cents),
                ("recurring[interval]", "year"),
                ("recurring[usage_type]", "metered"),
                ("recurring[meter]", meter.as_str()),
            ];
            world.post("/v1/prices", &pairs).await.id()
        };
        let (old, new) = (yearly("2").await, yearly("3").await);
        let pairs = [
            ("customer", world.demo.customer.as_str()),
            ("items[0][price]", &world.demo.prices["price_starter_monthly"]),
            ("items[1][price]", &old),
            ("billing_mode[type]", "flexible"),
        ];
        let made = world.form("/v1/subscriptions", &pairs).header("stripe-version", "2025-07-30.basil");
        let made = world.send(made).await;
        let item = made.json["items"]["data"][1]["id"].as_str().unwrap().to_owned();
        assert_eq!(world.event("a", "100", now()).await.status, 200);
        world.go_to(now() + 40 * DAY);
        world.post(&format!("/v1/subscription_items/{item}"), &[("price", &new)]).await.id();
        world.go_to(now() + 65 * DAY);
        let invoice = world.sandbox.invoices(&made.id()).unwrap().pop().unwrap();
        let lines = invoice["lines"]["data"].as_array().unwrap();
        let line = lines.iter().find(|line| line["price"]["id"] == old.as_str()).unwrap();
        assert_eq!((line["quantity"].as_i64(), line["amount"].as_i64()), (Some(100), Some(200)));
    });
}
