//! Rules R4 and R5: item, price or plan change inside a period, by every way of billing and under every reading of what
//! Stripe makes of the usage before the change.
//!
//! What is right is always the same: what all invoices bill of the period, at all prices, less credits due, with what is
//! carried or listed as held, is the overage; and never more is billed than that.

use std::collections::BTreeMap;

use usaged::jobs::{self, JobError};
use usaged::sandbox::{AddedUsage, Behaviour, Effect, Fault, RemovedUsage, SwappedUsage};
use usaged::wire::{LinkRequest, ReleaseRequest, SyncRequest};

use super::closing::code;
use super::hostile::status;
use super::vm::{Billing, DAY, EVENT_SUMMARIES, EVENTS, HOUR, METERS, MINUTE, USAGE, Vm, linked_by, polled, run};

const INCLUDED: i64 = 10;
const PLANS: &str = "compute_hours = 100000, api_credits = 10";
/// Another plan, with another allowance.
const STARTER: &str = "[plans.starter]\nincluded = { compute_hours = 100000, api_credits = 20 }\n";

const SWAPS: [SwappedUsage; 3] = [SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice, SwappedUsage::Dropped];

fn ways() -> impl Iterator<Item = Billing> {
    [Billing::UsageRecords].into_iter().chain(METERS)
}

const LAST: Billing = Billing::Meters("last", None);
const DAYS: Billing = Billing::Meters("sum", Some("day"));
const SUM: Billing = Billing::Meters("sum", None);

fn swapped(swapped: SwappedUsage) -> Behaviour {
    Behaviour { swapped, ..Behaviour::default() }
}

/// A VM that is billed for credits, with everything its customer ever had on the subscription for them.
struct Shop {
    vm: Vm,
    billing: Billing,
    items: Vec<String>,
    used: i64,
    records: u32,
}

/// What became of a period's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bill {
    invoiced: i64,
    carried: i64,
    held: i64,
    credit_due: i64,
}

impl Shop {
    async fn open(billing: Billing, behaviour: Behaviour) -> Self {
        let vm = linked_by(billing, "2026-11-01T00:00:00Z", PLANS).await;
        vm.stripe.behave(behaviour).unwrap();
        let items = vec![vm.demo.item_api.clone()];
        Self { vm, billing, items, used: 0, records: 0 }
    }

    /// The same, with the plan starter configured beside pro.
    async fn with_plans(billing: Billing, behaviour: Behaviour, settings: &str) -> Self {
        let mut shop = Self::open(billing, behaviour).await;
        shop.vm.reconfigure(settings, STARTER).await;
        shop.vm.push_now().await.unwrap();
        shop
    }

    fn item(&self) -> String {
        self.items.last().unwrap().clone()
    }

    async fn record(&mut self, credits: i64) {
        self.records += 1;
        self.used += credits;
        self.vm.record(&format!("order-{}", self.records), credits).await;
    }

    /// Credits that are used, and pushed.
    async fn use_up(&mut self, credits: i64) {
        self.record(credits).await;
        self.vm.push_now().await.unwrap();
    }

    async fn void_last(&mut self, credits: i64) {
        self.used -= credits;
        self.vm.void(&format!("order-{}", self.records)).await;
    }

    /// Another price for credits, on the same meter where there is one.
    async fn price(&self, more: &[(&str, &str)]) -> String {
        let meter = self.vm.demo.meter_api.clone();
        self.price_on(meter.as_deref(), more).await
    }

    async fn price_on(&self, meter: Option<&str>, more: &[(&str, &str)]) -> String {
        let mut form = vec![
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "2"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
        ];
        form.extend(meter.map(|meter| ("recurring[meter]", meter)));
        form.extend(more);
        self.vm.operate("/v1/prices", &form).await["id"].as_str().unwrap().to_owned()
    }

    /// Another meter, of the same kind.
    async fn meter(&self) -> Option<String> {
        let Billing::Meters(formula, window) = self.billing else { return None };
        let mut form = vec![
            ("display_name", "Credits"),
            ("event_name", "other_credits"),
            ("default_aggregation[formula]", formula),
        ];
        form.extend(window.map(|window| ("event_time_window", window)));
        Some(self.vm.operate("/v1/billing/meters", &form).await["id"].as_str().unwrap().to_owned())
    }

    async fn swap(&self, price: &str) {
        self.vm.operate(&format!("/v1/subscription_items/{}", self.item()), &[("price", price)]).await;
    }

    async fn add(&mut self, price: &str) {
        let form = [("subscription", self.vm.demo.subscription.as_str()), ("price", price)];
        let item = self.vm.operate("/v1/subscription_items", &form).await;
        self.items.push(item["id"].as_str().unwrap().to_owned());
    }

    async fn remove(&self, item: &str) {
        let reading = self.vm.stripe.behaviour().unwrap().removed;
        let gives_up = self.billing == Billing::UsageRecords && reading == RemovedUsage::Dropped;
        let query = if gives_up { "?clear_usage=true" } else { "" };
        self.vm.take_away(&format!("/v1/subscription_items/{item}{query}")).await;
    }

    async fn replace(&mut self, price: &str) {
        let old = self.item();
        self.remove(&old).await;
        self.add(price).await;
    }

    fn request(&self, plan: &str) -> LinkRequest {
        let items = [("api_credits", self.item()), ("compute_hours", self.vm.demo.item_compute.clone())];
        LinkRequest {
            plan: Some(plan.to_owned()),
            items: items.into_iter().map(|(meter, item)| (meter.to_owned(), item)).collect(),
            ..LinkRequest::default()
        }
    }

    async fn try_relink(&self, plan: &str) -> Result<(), JobError> {
        self.vm.try_link(self.request(plan)).await
    }

    async fn relink(&self) {
        self.try_relink("pro").await.unwrap();
    }

    /// Why rows of credits are held.
    async fn held(&self) -> Vec<String> {
        let report = jobs::sync(self.vm.context(), &SyncRequest::default()).await.unwrap();
        let held = report.lines.into_iter().filter(|line| line.action == "held" && line.meter == "api_credits");
        held.map(|line| line.why).collect()
    }

    /// Requests so far that would have set usage.
    fn sent(&self) -> usize {
        let sets = |path: &str| path == EVENTS || path.ends_with("/usage_records");
        self.vm.stripe.requests().iter().filter(|request| request.method == "POST" && sets(&request.path)).count()
    }

    /// November ends, is invoiced and closed.
    async fn end(&mut self) -> Bill {
        let end = usaged::model::Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
        self.vm.run(end.since(self.vm.now()) - 30 * MINUTE);
        self.vm.push_now().await.unwrap();
        self.vm.run(35 * MINUTE);
        self.vm.push_now().await.unwrap();
        let open = "SELECT count(*) FROM usage_record WHERE state <> 'closed' AND period_from_s < 1796083200";
        // What is in none of the provider's periods is waited for.
        for wait in [65 * MINUTE, 65 * MINUTE, 65 * MINUTE, DAY, 65 * MINUTE, 65 * MINUTE] {
            if self.vm.ask(open).await > 0 {
                self.vm.run(wait);
                self.vm.push_now().await.unwrap();
            }
        }
        assert_eq!(self.vm.ask(open).await, 0, "November is closed");
        self.vm.assert_books().await;
        Bill {
            invoiced: self.items.iter().map(|item| self.invoiced(item)).sum(),
            carried: self.vm.ask("SELECT ifnull(sum(units), 0) FROM carry").await,
            held: self.vm.ask("SELECT ifnull(sum(held_units), 0) FROM usage_record").await,
            credit_due: self.vm.ask("SELECT ifnull(sum(units), 0) FROM credit_due").await,
        }
    }

    /// What November's invoice bills on an item, at all prices.
    fn invoiced(&self, item: &str) -> i64 {
        let invoices = self.vm.stripe.invoices(&self.vm.demo.subscription).unwrap();
        let lines = invoices.iter().flat_map(|invoice| invoice["lines"]["data"].as_array().unwrap().clone());
        lines.filter(|line| line["subscription_item"] == item).map(|line| line["quantity"].as_i64().unwrap()).sum()
    }

    /// The end, compared with what is true.
    async fn comes_to(&mut self, overage: i64, of: &str) -> Bill {
        let bill = self.end().await;
        let billed = bill.invoiced - bill.credit_due;
        assert_eq!(billed + bill.carried + bill.held, overage, "{of}: {bill:?}");
        assert!(billed <= overage, "{of}: {bill:?}");
        bill
    }

    fn overage(&self) -> i64 {
        (self.used - INCLUDED).max(0)
    }
}

const fn bill(invoiced: i64) -> Bill {
    Bill { invoiced, carried: 0, held: 0, credit_due: 0 }
}

/// Whether it can be told what a swap makes of what stands.
fn is_clear(billing: Billing, swapped: SwappedUsage) -> bool {
    match swapped {
        SwappedUsage::AtNewPrice => true,
        SwappedUsage::AtOldPrice => billing != DAYS,
        SwappedUsage::Dropped => billing == LAST,
    }
}

#[test]
fn r5_a_swapped_price_bills_each_unit_once_at_both_prices_together() {
    for billing in ways() {
        for reading in SWAPS {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(17).await;
                shop.vm.run(3 * DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                shop.relink().await;
                assert_eq!(shop.held().await.is_empty(), is_clear(billing, reading), "{of}");
                shop.use_up(7).await;
                shop.vm.run(8 * DAY);
                shop.use_up(3).await;
                let overage = shop.overage();
                let found = shop.comes_to(overage, &of).await;
                if is_clear(billing, reading) {
                    assert_eq!(found, bill(17), "{of}");
                }
            });
        }
    }
}

#[test]
fn r5_a_swap_before_anything_is_billed_loses_nothing() {
    for billing in ways() {
        for reading in SWAPS {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(4).await;
                shop.vm.run(DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                shop.relink().await;
                shop.vm.run(DAY);
                shop.use_up(9).await;
                assert_eq!(shop.comes_to(3, &of).await, bill(3), "{of}");
            });
        }
    }
}

#[test]
fn r4_r5_another_plan_with_another_price_bills_what_the_latest_allowance_leaves() {
    for billing in ways() {
        for reading in [SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice] {
            // More than the new allowance leaves is billed at the old price already, or is used later.
            for (later, overage) in [(1, 0), (6, 3), (20, 17)] {
                run(async {
                    let of = format!("{billing:?} {reading:?} {later}");
                    let mut shop = Shop::with_plans(billing, swapped(reading), "").await;
                    shop.use_up(17).await;
                    shop.vm.run(3 * DAY);
                    let dearer = shop.price(&[]).await;
                    shop.swap(&dearer).await;
                    shop.try_relink("starter").await.unwrap();
                    shop.vm.run(DAY);
                    shop.use_up(later).await;
                    let found = shop.comes_to(overage, &of).await;
                    if is_clear(billing, reading) {
                        let at_old = if reading == SwappedUsage::AtOldPrice { 7 } else { 0 };
                        let expected = Bill { credit_due: (at_old - overage).max(0), ..bill(overage.max(at_old)) };
                        assert_eq!(found, expected, "{of}");
                    }
                });
            }
        }
    }
}

#[test]
fn r5_a_total_of_zero_at_the_old_price_leaves_all_to_the_new_one() {
    for billing in ways() {
        for reading in SWAPS.into_iter().filter(|reading| is_clear(billing, *reading)) {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::with_plans(billing, swapped(reading), "").await;
                shop.use_up(17).await;
                shop.vm.run(DAY);
                shop.try_relink("starter").await.unwrap();
                shop.vm.push_now().await.unwrap();
                shop.vm.run(3 * DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                shop.vm.run(HOUR);
                shop.relink().await;
                assert_eq!(shop.held().await, [""; 0], "{of}");
                shop.vm.run(DAY);
                shop.vm.push_now().await.unwrap();
                assert_eq!(shop.comes_to(7, &of).await, bill(7), "{of}");
            });
        }
    }
}

#[test]
fn r4_r5_a_prorated_allowance_follows_the_time_of_each_plan() {
    for billing in ways() {
        run(async {
            let mut shop =
                Shop::with_plans(billing, swapped(SwappedUsage::AtNewPrice), "allowance = \"prorated\"\n").await;
            let linked = usaged::model::Timestamp::from_micros(shop.vm.ask("SELECT min(from_us) FROM link").await);
            shop.use_up(33).await;
            shop.vm.run(11 * DAY);
            let dearer = shop.price(&[]).await;
            shop.swap(&dearer).await;
            shop.try_relink("starter").await.unwrap();
            let relinked = shop.vm.now();
            shop.use_up(7).await;
            let end = usaged::model::Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
            let weighed = i128::from(relinked.since(linked)) * 10 + i128::from(end.since(relinked)) * 20;
            let whole = i128::from(30 * DAY);
            let overage = (i128::from(shop.used) * whole - weighed).div_euclid(whole);
            let overage = i64::try_from(overage).unwrap();
            assert_eq!(shop.comes_to(overage, &format!("{billing:?}")).await, bill(overage));
        });
    }
}

fn replaced(removed: RemovedUsage, added: AddedUsage) -> Behaviour {
    Behaviour { removed, added, ..Behaviour::default() }
}

const REPLACED: [(RemovedUsage, AddedUsage); 4] = [
    (RemovedUsage::Dropped, AddedUsage::SinceAdded),
    (RemovedUsage::Dropped, AddedUsage::WholePeriod),
    (RemovedUsage::Billed, AddedUsage::SinceAdded),
    (RemovedUsage::Billed, AddedUsage::WholePeriod),
];

#[test]
fn r5_a_new_item_in_place_of_the_old_bills_each_unit_once() {
    for billing in ways() {
        for (removed, added) in REPLACED {
            run(async {
                let of = format!("{billing:?} {removed:?} {added:?}");
                let mut shop = Shop::open(billing, replaced(removed, added)).await;
                shop.use_up(17).await;
                shop.vm.run(3 * DAY);
                let dearer = shop.price(&[]).await;
                shop.replace(&dearer).await;
                shop.relink().await;
                let is_clear = match billing {
                    Billing::UsageRecords | Billing::LemonSqueezy | LAST => true,
                    SUM => (removed == RemovedUsage::Billed) != (added == AddedUsage::WholePeriod),
                    Billing::Meters(..) => (removed, added) == (RemovedUsage::Dropped, AddedUsage::WholePeriod),
                };
                assert_eq!(shop.held().await.is_empty(), is_clear, "{of}: {:?}", shop.held().await);
                shop.use_up(7).await;
                shop.vm.run(8 * DAY);
                shop.use_up(3).await;
                let overage = shop.overage();
                let found = shop.comes_to(overage, &of).await;
                match (billing, removed) {
                    // Usage that was given up with its item is listed, and not billed on the new one.
                    (Billing::UsageRecords, RemovedUsage::Dropped) => {
                        assert_eq!(found, Bill { held: 7, ..bill(10) }, "{of}");
                    }
                    _ if is_clear => assert_eq!(found, bill(17), "{of}"),
                    _ => {}
                }
            });
        }
    }
}

#[test]
fn r5_a_new_item_on_another_meter_bills_what_the_old_one_does_not() {
    for billing in METERS {
        for (removed, added) in REPLACED {
            run(async {
                let of = format!("{billing:?} {removed:?} {added:?}");
                let mut shop = Shop::open(billing, replaced(removed, added)).await;
                shop.use_up(17).await;
                shop.vm.run(3 * DAY);
                let meter = shop.meter().await;
                let other = shop.price_on(meter.as_deref(), &[]).await;
                shop.replace(&other).await;
                shop.relink().await;
                assert_eq!(shop.held().await, [""; 0], "{of}");
                shop.use_up(7).await;
                shop.vm.run(8 * DAY);
                shop.use_up(3).await;
                let held = if removed == RemovedUsage::Dropped { 7 } else { 0 };
                assert_eq!(shop.comes_to(17, &of).await, Bill { held, ..bill(17 - held) }, "{of}");
            });
        }
    }
}

#[test]
fn r5_two_items_at_once_bill_each_unit_on_one_of_them() {
    for billing in ways() {
        run(async {
            let of = format!("{billing:?}");
            let mut shop = Shop::open(billing, Behaviour::default()).await;
            shop.use_up(17).await;
            shop.vm.run(DAY);
            let meter = shop.meter().await;
            let other = shop.price_on(meter.as_deref(), &[]).await;
            shop.add(&other).await;
            shop.relink().await;
            shop.use_up(7).await;
            shop.vm.run(DAY);
            shop.use_up(3).await;
            // And back again.
            shop.items.rotate_left(1);
            shop.relink().await;
            shop.use_up(6).await;
            let found = shop.comes_to(23, &of).await;
            assert_eq!(found, bill(23), "{of}");
            assert_eq!((shop.invoiced(&shop.items[1]), shop.invoiced(&shop.items[0])), (13, 10), "{of}");
        });
    }
}

#[test]
fn r5_two_items_on_one_meter_are_refused_and_held() {
    for billing in METERS {
        run(async {
            let mut shop = Shop::open(billing, Behaviour::default()).await;
            shop.use_up(17).await;
            let dearer = shop.price(&[]).await;
            shop.add(&dearer).await;
            assert_eq!(code(&shop.try_relink("pro").await.unwrap_err()), "meter_twice");
            shop.vm.run(DAY);
            shop.vm.push().await.unwrap();
            assert!(shop.held().await[0].contains("on the same meter"), "{billing:?}");
        });
    }
}

#[test]
fn r5_a_void_after_the_change_is_a_credit_due_where_it_cannot_be_lowered() {
    for billing in ways() {
        for reading in [SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice] {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(12).await;
                shop.use_up(5).await;
                shop.vm.run(3 * DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                shop.relink().await;
                shop.void_last(5).await;
                shop.vm.push_now().await.unwrap();
                shop.vm.run(HOUR);
                shop.record(1).await;
                shop.vm.push_now().await.unwrap();
                let found = shop.comes_to(3, &of).await;
                if is_clear(billing, reading) {
                    let at_old = if reading == SwappedUsage::AtOldPrice { 7 } else { 3 };
                    assert_eq!(found, Bill { credit_due: at_old - 3, ..bill(at_old) }, "{of}");
                }
            });
        }
    }
}

#[test]
fn r5_late_usage_after_the_end_is_billed_or_carried() {
    for billing in ways() {
        for reading in [SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice] {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(17).await;
                shop.vm.run(3 * DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                shop.relink().await;
                shop.use_up(2).await;
                let end = usaged::model::Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
                shop.vm.run(end.since(shop.vm.now()) - MINUTE);
                shop.record(6).await;
                shop.vm.run(5 * MINUTE);
                shop.vm.push_now().await.unwrap();
                for _ in 0..4 {
                    shop.vm.run(65 * MINUTE);
                    shop.vm.push_now().await.unwrap();
                }
                let carried = shop.vm.ask("SELECT ifnull(sum(units), 0) FROM carry").await;
                let held = shop.vm.ask("SELECT ifnull(sum(held_units), 0) FROM usage_record").await;
                assert_eq!(shop.invoiced(&shop.item()) + carried + held, 15, "{of}: {carried} {held}");
                assert_eq!(held == 0, is_clear(billing, reading), "{of}");
                shop.vm.assert_books().await;
            });
        }
    }
}

#[test]
fn r5_a_swap_that_nobody_told_is_noticed_held_and_released_by_another_link() {
    for billing in ways() {
        for reading in SWAPS {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(17).await;
                let dearer = shop.price(&[]).await;
                shop.vm.run(DAY);
                shop.swap(&dearer).await;
                shop.vm.push().await.unwrap();
                assert!(shop.held().await[0].contains("the price changed from"), "{of}");
                let sent = shop.sent();
                shop.use_up(7).await;
                shop.vm.run(DAY);
                shop.use_up(3).await;
                assert_eq!(shop.sent(), sent, "{of}: nothing is sent meanwhile");
                shop.relink().await;
                assert_eq!(shop.held().await.is_empty(), is_clear(billing, reading), "{of}");
                shop.vm.push_now().await.unwrap();
                let found = shop.comes_to(17, &of).await;
                if is_clear(billing, reading) {
                    assert_eq!(found, bill(17), "{of}");
                }
            });
        }
    }
}

#[test]
fn r5_a_swap_that_is_never_settled_lists_what_was_not_billed() {
    for billing in ways() {
        for reading in SWAPS {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(17).await;
                let dearer = shop.price(&[]).await;
                shop.vm.run(DAY);
                shop.swap(&dearer).await;
                shop.use_up(7).await;
                let invoiced = if reading == SwappedUsage::Dropped { 0 } else { 7 };
                assert_eq!(shop.comes_to(14, &of).await, Bill { held: 14 - invoiced, ..bill(invoiced) }, "{of}");
            });
        }
    }
}

#[test]
fn r5_totals_that_were_sent_before_the_swap_was_noticed_are_not_billed_twice() {
    for billing in ways() {
        for reading in SWAPS {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(17).await;
                let dearer = shop.price(&[]).await;
                shop.vm.run(2 * HOUR);
                shop.swap(&dearer).await;
                // The subscription was read not long ago.
                shop.use_up(4).await;
                shop.vm.run(3 * DAY);
                shop.relink().await;
                shop.use_up(2).await;
                shop.comes_to(13, &of).await;
            });
        }
    }
}

#[test]
fn r5_a_second_change_in_the_same_period_is_billed_once_as_well() {
    for billing in ways() {
        for reading in [SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice] {
            // To a third price, or back to the first.
            for is_back in [false, true] {
                run(async {
                    let of = format!("{billing:?} {reading:?} back: {is_back}");
                    let mut shop = Shop::open(billing, swapped(reading)).await;
                    let (second, third) = (shop.price(&[]).await, shop.price(&[]).await);
                    let first = shop.vm.demo.prices["price_api_overage"].clone();
                    shop.use_up(17).await;
                    shop.vm.run(DAY);
                    shop.swap(&second).await;
                    shop.relink().await;
                    shop.vm.run(DAY);
                    shop.use_up(7).await;
                    shop.vm.run(DAY);
                    shop.swap(if is_back { &first } else { &third }).await;
                    shop.relink().await;
                    shop.vm.run(DAY);
                    shop.use_up(6).await;
                    let found = shop.comes_to(20, &of).await;
                    if is_clear(billing, reading) {
                        assert_eq!(found, bill(20), "{of}");
                    }
                });
            }
        }
    }
}

#[test]
fn r5_a_link_that_is_killed_at_any_step_is_made_again() {
    for billing in ways() {
        for polls in (2..50).step_by(12) {
            run(async {
                let of = format!("{billing:?} after {polls} polls");
                let mut shop = Shop::open(billing, swapped(SwappedUsage::AtOldPrice)).await;
                shop.use_up(17).await;
                shop.vm.run(DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                let request = LinkRequest {
                    customer: shop.vm.demo.customer.clone(),
                    subscription: shop.vm.demo.subscription.clone(),
                    ..shop.request("pro")
                };
                let context = std::sync::Arc::clone(shop.vm.context());
                polled(Box::pin(async { jobs::link(&context, &request, "uid:0").await }), polls).await;
                drop(context);
                shop.vm.kill();
                shop.vm.start().await;
                shop.vm.push_now().await.unwrap();
                shop.relink().await;
                shop.use_up(7).await;
                let found = shop.comes_to(14, &of).await;
                if is_clear(billing, SwappedUsage::AtOldPrice) {
                    assert_eq!(found, bill(14), "{of}");
                }
            });
        }
    }
}

#[test]
fn r5_a_lost_answer_at_the_swap_is_neither_billed_twice_nor_lost() {
    for billing in ways() {
        for reading in [SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice] {
            for effect in [Effect::CutAfterCommit, Effect::CutBeforeCommit] {
                run(async {
                    let of = format!("{billing:?} {reading:?} {effect:?}");
                    let mut shop = Shop::open(billing, swapped(reading)).await;
                    shop.use_up(13).await;
                    shop.vm.run(DAY);
                    let path = if billing == Billing::UsageRecords { USAGE } else { EVENTS };
                    shop.vm.stripe.fault(Fault::next(effect.clone()).on("POST", path));
                    shop.use_up(4).await;
                    let dearer = shop.price(&[]).await;
                    shop.swap(&dearer).await;
                    shop.relink().await;
                    shop.vm.push_now().await.unwrap();
                    shop.vm.run(3 * HOUR);
                    shop.relink().await;
                    shop.use_up(7).await;
                    let found = shop.comes_to(14, &of).await;
                    if is_clear(billing, reading) {
                        assert_eq!(found, bill(14), "{of}");
                    }
                });
            }
        }
    }
}

#[test]
fn r5_a_lost_answer_after_the_swap_counts_once() {
    for billing in ways() {
        for effect in [Effect::CutAfterCommit, Effect::CutBeforeCommit, Effect::ErrorAfterCommit] {
            run(async {
                let of = format!("{billing:?} {effect:?}");
                let mut shop = Shop::open(billing, swapped(SwappedUsage::AtOldPrice)).await;
                shop.use_up(17).await;
                shop.vm.run(DAY);
                let dearer = shop.price(&[]).await;
                shop.swap(&dearer).await;
                shop.relink().await;
                let path = if billing == Billing::UsageRecords { USAGE } else { EVENTS };
                shop.vm.stripe.fault(Fault::next(effect.clone()).on("POST", path));
                shop.vm.run(10 * MINUTE);
                shop.use_up(7).await;
                shop.vm.kill();
                shop.vm.start().await;
                shop.vm.push_now().await.unwrap();
                let found = shop.comes_to(14, &of).await;
                if is_clear(billing, SwappedUsage::AtOldPrice) {
                    assert_eq!(found, bill(14), "{of}");
                }
            });
        }
    }
}

#[test]
fn r5_without_the_permission_to_read_invoices_the_change_is_held_and_the_permission_named() {
    const MAY: [&str; 8] = [
        "usage_record_write",
        "billing_meter_event_write",
        "billing_meter_read",
        "subscription_read",
        "customer_read",
        "plan_read",
        "product_read",
        "balance_read",
    ];
    for billing in ways() {
        run(async {
            let of = format!("{billing:?}");
            let mut shop = Shop::open(billing, swapped(SwappedUsage::AtOldPrice)).await;
            let key = std::mem::replace(&mut shop.vm.demo.agent_key, "rk_test_withoutInvoices".to_owned());
            shop.vm.stripe.add_restricted_key("rk_test_withoutInvoices", &MAY).unwrap();
            shop.vm.kill();
            shop.vm.start().await;
            shop.vm.push_now().await.unwrap();
            shop.use_up(17).await;
            shop.vm.run(DAY);
            let dearer = shop.price(&[]).await;
            shop.swap(&dearer).await;
            shop.relink().await;
            assert!(shop.held().await[0].contains("invoice"), "{of}: {:?}", shop.held().await);
            let sent = shop.sent();
            shop.use_up(7).await;
            assert_eq!(shop.sent(), sent, "{of}");
            // Once the key may, another link settles it.
            shop.vm.demo.agent_key = key;
            shop.vm.kill();
            shop.vm.start().await;
            shop.relink().await;
            shop.vm.push_now().await.unwrap();
            let found = shop.comes_to(14, &of).await;
            if is_clear(billing, SwappedUsage::AtOldPrice) {
                assert_eq!(found, bill(14), "{of}");
            }
        });
    }
}

#[test]
fn r5_what_stands_cannot_be_read_so_nothing_is_linked_or_sent() {
    run(async {
        let mut shop = Shop::open(LAST, swapped(SwappedUsage::AtOldPrice)).await;
        shop.use_up(17).await;
        shop.vm.run(DAY);
        let dearer = shop.price(&[]).await;
        shop.swap(&dearer).await;
        shop.vm.stripe.fault(Fault::next(Effect::ErrorBeforeCommit).on("GET", EVENT_SUMMARIES));
        assert!(shop.try_relink("pro").await.is_err());
        let sent = shop.sent();
        shop.use_up(7).await;
        assert_eq!(shop.sent(), sent);
        shop.relink().await;
        shop.vm.push_now().await.unwrap();
        assert_eq!(shop.comes_to(14, "after a failed read").await, bill(14));
    });
}

#[test]
fn r5_an_item_whose_period_overlaps_the_old_one_is_held_and_named() {
    // Day windows are refused there (rule S10).
    for billing in ways().filter(|billing| *billing != DAYS) {
        run(async {
            let of = format!("{billing:?}");
            let mut shop = Shop::open(billing, Behaviour::default()).await;
            shop.use_up(17).await;
            shop.vm.run(10 * DAY);
            // A subscription of the same customer, whose periods begin today.
            let meter = shop.meter().await;
            let (credits, compute) = (
                shop.price_on(meter.as_deref(), &[]).await,
                shop.vm.demo.prices["price_compute_overage_starter"].clone(),
            );
            let form = [
                ("customer", shop.vm.demo.customer.clone()),
                ("items[0][price]", credits.clone()),
                ("items[1][price]", compute),
            ];
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let made = shop.vm.operate("/v1/subscriptions", &form).await;
            let items: BTreeMap<String, String> = made["items"]["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| {
                    let meter = if item["price"]["id"] == credits.as_str() { "api_credits" } else { "compute_hours" };
                    (meter.to_owned(), item["id"].as_str().unwrap().to_owned())
                })
                .collect();
            let new = items["api_credits"].clone();
            let old = std::mem::replace(&mut shop.vm.demo.subscription, made["id"].as_str().unwrap().to_owned());
            let request = LinkRequest { items, ..LinkRequest::default() };
            shop.vm.try_link(request).await.unwrap();
            shop.vm.demo.subscription = old;
            let held = shop.held().await;
            assert!(held[0].contains("a period that overlaps the one of"), "{of}: {held:?}");
            let sent = shop.sent();
            shop.use_up(5).await;
            assert_eq!((shop.sent(), shop.vm.stands(&new)), (sent, 0), "{of}");
        });
    }
}

#[test]
fn r5_a_price_that_was_replaced_under_its_lookup_key_is_gone_on_with_by_itself() {
    for billing in ways() {
        for reading in SWAPS {
            run(async {
                let of = format!("{billing:?} {reading:?}");
                let mut shop = Shop::open(billing, swapped(reading)).await;
                shop.use_up(17).await;
                shop.vm.run(DAY);
                let transfer = [("lookup_key", "price_api_overage"), ("transfer_lookup_key", "true")];
                let dearer = shop.price(&transfer).await;
                shop.swap(&dearer).await;
                shop.use_up(7).await;
                assert_eq!(shop.held().await.is_empty(), is_clear(billing, reading), "{of}");
                let links = shop.vm.ask("SELECT count(*) FROM link").await;
                assert_eq!(links, if is_clear(billing, reading) { 2 } else { 1 }, "{of}");
                shop.vm.run(DAY);
                shop.use_up(3).await;
                assert_eq!(shop.vm.ask("SELECT count(*) FROM link").await, links, "{of}: once");
                let found = shop.comes_to(17, &of).await;
                if is_clear(billing, reading) {
                    assert_eq!(found, bill(17), "{of}");
                }
            });
        }
    }
}

#[test]
fn r5_another_lookup_key_is_nobodys_word_that_only_the_price_changed() {
    run(async {
        let mut shop = Shop::open(LAST, Behaviour::default()).await;
        shop.use_up(17).await;
        shop.vm.run(DAY);
        let other = shop.price(&[("lookup_key", "price_api_special")]).await;
        shop.swap(&other).await;
        shop.use_up(7).await;
        assert!(shop.held().await[0].contains("the price changed from"));
        assert_eq!(shop.vm.ask("SELECT count(*) FROM link").await, 1);
    });
}

#[test]
fn r5_a_change_is_settled_by_another_link_and_not_by_a_release() {
    run(async {
        let mut shop = Shop::open(Billing::UsageRecords, Behaviour::default()).await;
        shop.use_up(17).await;
        shop.vm.run(DAY);
        let other = shop.price(&[]).await;
        shop.swap(&other).await;
        shop.use_up(7).await;
        let request = ReleaseRequest { item: shop.item(), adopt: false, because: "a try".to_owned() };
        let refused = jobs::release(shop.vm.context(), &request, "uid:0").await.unwrap_err();
        assert_eq!(code(&refused), "segment_changed");
        assert!(refused.hint().unwrap().starts_with("usagectl link --customer cus_"), "{:?}", refused.hint());
        let problems = status(&shop.vm).await.problems;
        let held = problems.iter().find(|problem| problem.code == "held_segment_changed").unwrap();
        assert!(held.hint.contains("usagectl link --customer cus_") && !held.hint.contains("release"), "{}", held.hint);
    });
}

#[test]
fn r5_each_closed_segment_is_shown() {
    run(async {
        let mut shop = Shop::open(Billing::UsageRecords, swapped(SwappedUsage::AtOldPrice)).await;
        shop.use_up(17).await;
        shop.vm.run(DAY);
        let (first, second, third) =
            (shop.vm.demo.prices["price_api_overage"].clone(), shop.price(&[]).await, shop.price(&[]).await);
        let old = shop.item();
        shop.swap(&second).await;
        shop.relink().await;
        shop.vm.run(MINUTE);
        shop.use_up(4).await;
        shop.add(&third).await;
        shop.relink().await;
        shop.vm.run(MINUTE);
        shop.use_up(2).await;
        let report = jobs::sync(shop.vm.context(), &SyncRequest::default()).await.unwrap();
        let line = |item: &str| report.lines.iter().find(|line| line.item == item).unwrap().clone();
        let last = line(&shop.item());
        let shown: Vec<_> =
            last.segments.iter().map(|one| (one.item.as_str(), one.price.as_str(), one.units)).collect();
        assert_eq!(shown, [(old.as_str(), first.as_str(), 7), (old.as_str(), second.as_str(), 4)]);
        assert_eq!((last.overage, last.closed_segments, last.target, last.stands), (13, 11, 2, Some(2)));
        assert_eq!((line(&old).state.as_str(), line(&old).action.as_str()), ("superseded", "closed"));
        let status = status(&shop.vm).await;
        let meter = status.meters.iter().find(|meter| meter.name == "api_credits").unwrap();
        assert_eq!(meter.segments, last.segments);
    });
}
