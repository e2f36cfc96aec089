//! What invoices make of meter events.

use serde_json::Value;

use super::meters::{BASIL, on};
use super::{DAY, START, World, at};

const HOUR: i64 = 3_600;

/// When the demo's first period ends.
pub(super) fn end() -> i64 {
    at("2026-12-01T00:00:00Z").secs()
}

impl World {
    pub(super) fn go_to(&self, secs: i64) {
        self.sandbox.set_clock(usaged::model::Timestamp::from_secs(secs)).unwrap();
    }

    /// The status of the demo's newest invoice.
    fn newest(&self) -> Value {
        self.sandbox.invoices(&self.demo.subscription).unwrap().pop().unwrap()
    }

    /// Quantities and amounts of an invoice's lines for a price, in their order.
    pub(super) fn lines_for(&self, invoice: &Value, price: &str) -> Vec<(i64, i64)> {
        let id = self.demo.prices[price].as_str();
        let lines = invoice["lines"]["data"].as_array().unwrap().iter();
        let of_price =
            lines.filter(|line| line["price"]["id"] == id || line["pricing"]["price_details"]["price"] == id);
        of_price.map(|line| (line["quantity"].as_i64().unwrap(), line["amount"].as_i64().unwrap())).collect()
    }

    /// What all invoices of the demo so far say of a price together.
    fn billed_for(&self, price: &str) -> i64 {
        let invoices = self.sandbox.invoices(&self.demo.subscription).unwrap();
        let lines = invoices.iter().flat_map(|invoice| self.lines_for(invoice, price));
        lines.map(|(quantity, _)| quantity).sum()
    }

    pub(super) async fn preview(&self) -> Value {
        let pairs = [("subscription", self.demo.subscription.as_str())];
        let preview = self.form("/v1/invoices/create_preview", &pairs).header("stripe-version", BASIL);
        self.send(preview).await.json
    }
}

const API: &str = "price_api_overage";

#[test]
fn events_from_the_start_of_a_period_up_to_its_end_are_billed_on_it() {
    on("sum", None, |world| async move {
        let start = at(START).secs();
        for (identifier, value, stamp) in [("a", "1", start - 1), ("b", "10", start)] {
            assert_eq!(world.event(identifier, value, stamp).await.status, 200);
        }
        world.go_to(end() - 1);
        for (identifier, value, stamp) in [("c", "100", end() - 1), ("d", "1000", end())] {
            assert_eq!(world.event(identifier, value, stamp).await.status, 200);
        }
        world.go_to(end() + HOUR);
        assert_eq!(world.lines_for(&world.newest(), API), [(110, 110)]);
        world.go_to(at("2027-01-01T01:00:00Z").secs());
        assert_eq!(world.lines_for(&world.newest(), API), [(1_000, 1_000)]);
    });
}

#[test]
fn a_draft_takes_late_events_until_it_is_final_and_none_after() {
    for grace in [HOUR, 72 * HOUR, 60] {
        on("last", None, |world| async move {
            world.behave(|behaviour| behaviour.draft_grace_s = grace);
            world.go_to(end() - 10);
            world.event("a", "50", end() - 10).await;
            world.go_to(end() + grace - 1);
            assert_eq!(world.event("b", "70", end() - 5).await.status, 200);
            let draft = world.newest();
            assert_eq!((draft["status"].as_str(), world.lines_for(&draft, API)), (Some("draft"), vec![(50, 50)]));
            world.go_to(end() + grace);
            let paid = world.newest();
            assert_eq!((paid["status"].as_str(), world.lines_for(&paid, API)), (Some("paid"), vec![(70, 70)]));
            assert_eq!(paid["total"], 70 + 19_900);
            assert_eq!(paid["lines"]["data"][1]["description"].as_str().unwrap().split(' ').next(), Some("70"));
            assert_eq!(world.event("c", "90", end() - 1).await.status, 200, "accepted, and never billed");
            world.go_to(end() + 40 * DAY);
            assert_eq!(world.billed_for(API), 70);
        });
    }
}

#[test]
fn a_draft_that_is_made_final_by_hand_is_settled_then() {
    on("sum", None, |world| async move {
        world.go_to(end());
        world.event("a", "5", end() - 1).await;
        let draft = world.newest()["id"].as_str().unwrap().to_owned();
        let paid = world.post(&format!("/v1/invoices/{draft}/finalize"), &[]).await.json;
        assert_eq!((paid["status"].as_str(), world.lines_for(&paid, API)), (Some("paid"), vec![(5, 5)]));
        world.event("b", "5", end() - 1).await;
        world.go_to(end() + 2 * HOUR);
        assert_eq!(world.billed_for(API), 5);
    });
}

#[test]
fn previews_show_what_the_meter_has_come_to_after_the_lag() {
    on("sum", None, |world| async move {
        world.event("a", "30", super::now()).await;
        assert_eq!(world.lines_for(&world.preview().await, API), [(30, 30)]);
        let upcoming = world.get(&format!("/v1/invoices/upcoming?customer={}", world.demo.customer)).await.json;
        assert_eq!(world.lines_for(&upcoming, API), [(30, 30)]);
        world.behave(|behaviour| behaviour.summary_lag_s = 60);
        world.event("b", "4", super::now()).await;
        assert_eq!(world.lines_for(&world.preview().await, API), [(0, 0)]);
        world.sandbox.advance(60_000_000).unwrap();
        assert_eq!(world.lines_for(&world.preview().await, API), [(34, 34)]);
        world.go_to(end() - 1);
        world.event("c", "6", end() - 1).await;
        world.behave(|behaviour| behaviour.draft_grace_s = 0);
        world.go_to(end());
        assert_eq!(world.lines_for(&world.newest(), API), [(40, 40)], "an invoice does not lag");
    });
}

#[test]
fn usage_below_zero_is_billed_as_none_and_decimals_to_the_cent() {
    on("sum", None, |world| async move {
        world.event("a", "-5", super::now()).await;
        assert_eq!(world.lines_for(&world.preview().await, API), [(0, 0)]);
        world.behave(|behaviour| behaviour.decimal_values = true);
        world.event("b", "7.5", super::now()).await;
        assert_eq!(world.lines_for(&world.preview().await, API), [(2, 3)], "2.5 units at one cent");
    });
}

#[test]
fn cancelling_bills_a_meter_at_once_only_when_told_to_and_an_ending_one_in_its_grace() {
    for (invoice_now, billed) in [("false", 0), ("true", 12)] {
        on("sum", None, |world| async move {
            world.event("a", "12", super::now()).await;
            world.sandbox.advance(1_000_000).unwrap();
            let path = format!("/v1/subscriptions/{}?invoice_now={invoice_now}", world.demo.subscription);
            assert_eq!(world.send(world.request("DELETE", &path)).await.json["status"], "canceled");
            assert_eq!(world.billed_for(API), billed);
        });
    }
    on("sum", None, |world| async move {
        let path = format!("/v1/subscriptions/{}", world.demo.subscription);
        world.post(&path, &[("cancel_at_period_end", "true")]).await.id();
        world.go_to(end() + 10);
        assert_eq!(world.get(&path).await.json["status"], "canceled");
        world.event("a", "3", end() - 1).await;
        world.go_to(end() + HOUR);
        assert_eq!(world.billed_for(API), 3);
    });
}

#[test]
fn a_trial_bills_no_meter() {
    on("sum", None, |world| async move {
        let trial_end = super::now() + 10 * DAY;
        let pairs = [
            ("customer", world.demo.customer.as_str()),
            ("items[0][price]", &world.demo.prices[API]),
            ("trial_end", &trial_end.to_string()),
        ];
        let subscription = world.post("/v1/subscriptions", &pairs).await.id();
        world.event("a", "100", super::now()).await;
        world.go_to(trial_end + HOUR);
        let totals = world.sandbox.invoices(&subscription).unwrap();
        assert_eq!(totals.iter().map(|one| one["total"].as_i64().unwrap()).sum::<i64>(), 0);
    });
}
