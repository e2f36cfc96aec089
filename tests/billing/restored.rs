//! What a restored ledger takes over is usage that it forgot (rule S5): a begun unit, the allowance and a void count once
//! with it.

use usaged::jobs;
use usaged::model::Timestamp;
use usaged::sandbox::lemon_squeezy::{Behaviour, Zero};
use usaged::sandbox::{Effect, Fault};
use usaged::wire::{LinkRequest, ReleaseRequest};

use super::vm::{Billing, DAY, HOUR, METERS, MINUTE, SECOND, Vm, run};

const STARTED: &str = "2026-11-01T00:00:00Z";

/// Whether more than was caused is taken over by itself, or by a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Itself,
    Release,
}

/// Runs a test by every way of billing and of taking over.
fn by_every_way(included: &str, test: &impl AsyncFn(&mut Vm, By)) {
    for billing in [Billing::UsageRecords, Billing::LemonSqueezy].into_iter().chain(METERS) {
        for by in [By::Itself, By::Release] {
            run(async {
                let mut vm = Vm::booted_by(billing, STARTED, included).await;
                if let Some(lemon) = &vm.lemon {
                    lemon.behave(Behaviour { zero: Zero::Accepted, ..lemon.behaviour().unwrap() }).unwrap();
                }
                vm.start().await;
                vm.run(90 * SECOND);
                link(&vm, by, "pro").await;
                vm.sample().await;
                test(&mut vm, by).await;
            });
        }
    }
}

async fn link(vm: &Vm, by: By, plan: &str) {
    let single_writer = by == By::Itself;
    let plan = Some(plan.to_owned());
    vm.try_link(LinkRequest { plan, single_writer, ..LinkRequest::default() }).await.unwrap();
}

/// The first pushes of a ledger that is older than what stands on this item.
async fn take_over(vm: &Vm, by: By, item: &str) {
    vm.push_now().await.unwrap();
    if by == By::Release {
        let request = ReleaseRequest { item: item.to_owned(), adopt: true, because: "it was restored".to_owned() };
        jobs::release(vm.context(), &request, "uid:0").await.unwrap();
    }
    for _ in 0..2 {
        vm.push_now().await.unwrap();
    }
    assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await, 0, "{by:?}");
}

#[test]
fn s5_a_unit_that_was_begun_is_not_finished_twice() {
    by_every_way("compute_hours = 0, api_credits = 1000", &async |vm: &mut Vm, by: By| {
        vm.run(10 * HOUR + 54 * MINUTE);
        vm.push().await.unwrap();
        let copy = vm.snapshot().await;
        vm.run(HOUR + 7 * MINUTE);
        vm.push().await.unwrap();
        let item = vm.demo.item_compute.clone();
        assert_eq!(vm.stands(&item), 12);
        vm.reboot(10 * MINUTE).await;
        vm.restore(&copy).await;
        take_over(vm, by, &item).await;
        assert_eq!(vm.stands(&item), 12, "{by:?}");
        vm.run(50 * MINUTE);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&item), 12, "twelve hours and less than another were used, {by:?}");
        vm.run(11 * MINUTE);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&item), 13, "what is used from then on is billed, {by:?}");
    });
}

/// 30 credits are known to the ledger, 5 more it forgot, 10 are included: 25 stand and are taken over.
async fn forget_five(vm: &mut Vm, by: By) -> String {
    vm.record("known", 30).await;
    vm.push().await.unwrap();
    let copy = vm.snapshot().await;
    vm.run(HOUR);
    vm.record("forgotten", 5).await;
    vm.push().await.unwrap();
    let item = vm.demo.item_api.clone();
    assert_eq!(vm.stands(&item), 25);
    vm.restore(&copy).await;
    take_over(vm, by, &item).await;
    assert_eq!(vm.stands(&item), 25, "{by:?}");
    item
}

#[test]
fn s5_a_void_takes_what_was_taken_over_into_the_allowance() {
    by_every_way("compute_hours = 100000, api_credits = 10", &async |vm: &mut Vm, by: By| {
        let item = forget_five(vm, by).await;
        vm.void("known").await;
        for _ in 0..2 {
            vm.push_now().await.unwrap();
        }
        assert_eq!(vm.stands(&item), 0, "the five that are left are included, {by:?}");
        vm.record("more", 8).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&item), 3, "thirteen less the ten included, {by:?}");
    });
}

/// Of 30 credits 10 are included; 5 more were forgotten. Before anything is read again all 30 are taken back.
#[test]
fn s5_what_fell_before_the_first_read_is_not_taken_over() {
    by_every_way("compute_hours = 100000, api_credits = 10", &async |vm: &mut Vm, by: By| {
        vm.record("known", 30).await;
        vm.push().await.unwrap();
        let copy = vm.snapshot().await;
        vm.run(HOUR);
        vm.record("forgotten", 5).await;
        vm.push().await.unwrap();
        let item = vm.demo.item_api.clone();
        vm.restore(&copy).await;
        vm.void("known").await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&item), 25, "it waits for a person, {by:?}");
        assert!(vm.problem("held_higher_than_caused").await.is_some(), "{by:?}");
        let request = ReleaseRequest { item: item.clone(), adopt: true, because: "it was restored".to_owned() };
        jobs::release(vm.context(), &request, "uid:0").await.unwrap();
        for _ in 0..2 {
            vm.push_now().await.unwrap();
        }
        assert_eq!(vm.stands(&item), 5, "what was forgotten stays, what fell does not, {by:?}");
    });
}

#[test]
fn r4_s5_a_larger_allowance_covers_what_was_taken_over() {
    let both = "compute_hours = 100000, api_credits = 10 }\n[plans.enterprise]\nincluded = { api_credits = 32";
    by_every_way(both, &async |vm: &mut Vm, by: By| {
        let item = forget_five(vm, by).await;
        link(vm, by, "enterprise").await;
        for _ in 0..2 {
            vm.push_now().await.unwrap();
        }
        assert_eq!(vm.stands(&item), 3, "35 less the 32 included, {by:?}");
    });
}

/// What stands on an item in November and in December.
fn stands_in_both(vm: &Vm, item: &str) -> i64 {
    let Some(meter) = vm.meter_of(item) else {
        return vm.totals(item).iter().map(|period| period.total).sum();
    };
    let months = ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"];
    let begin = months.map(|month| Timestamp::parse(month).unwrap());
    let in_month = |month: &[Timestamp]| vm.stripe.meter_total(meter, &vm.demo.customer, month[0], month[1]).unwrap();
    begin.windows(2).map(in_month).sum()
}

/// Samples and pushes hour by hour.
async fn go_on(vm: &Vm, hours: u32) {
    for _ in 0..hours {
        vm.run(HOUR);
        vm.sample().await;
        vm.push_now().await.unwrap();
    }
}

#[test]
fn r6_s5_units_that_a_lost_ledger_carried_are_not_carried_again_by_the_one_it_was_restored_to() {
    by_every_way("compute_hours = 100000, api_credits = 0", &async |vm: &mut Vm, by: By| {
        let item = vm.demo.item_api.clone();
        vm.record("pushed", 30).await;
        vm.push().await.unwrap();
        // The provider cannot be reached over the end of the period.
        vm.run(29 * DAY + 12 * HOUR);
        vm.sample().await;
        vm.fault(Fault::next(Effect::CutBeforeCommit).times(100_000));
        vm.record("known", 8).await;
        let copy = vm.snapshot().await;
        go_on(vm, 6).await;
        vm.record("late", 4).await;
        go_on(vm, 13).await;
        vm.clear_faults();
        go_on(vm, 8).await;
        vm.record("december", 5).await;
        go_on(vm, 4).await;
        assert_eq!(stands_in_both(vm, &item), 30 + 8 + 4 + 5, "{by:?}");
        vm.restore(&copy).await;
        go_on(vm, 6).await;
        if vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await > 0 {
            let request = ReleaseRequest { item: item.clone(), adopt: true, because: "it was restored".to_owned() };
            jobs::release(vm.context(), &request, "uid:0").await.unwrap();
        }
        go_on(vm, 3).await;
        vm.record("more", 7).await;
        go_on(vm, 4).await;
        assert_eq!(stands_in_both(vm, &item), 30 + 8 + 4 + 5 + 7, "{by:?}");
        vm.assert_books().await;
    });
}

/// November is closed, and six of ten included hours of December are known to the copy; the VM ran ten more and rebooted.
async fn forget_ten_hours(vm: &mut Vm, by: By) -> String {
    vm.run(29 * DAY + 21 * HOUR + 50 * MINUTE);
    go_on(vm, 9).await;
    assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE state = 'closed'").await, 2, "{by:?}");
    let copy = vm.snapshot().await;
    go_on(vm, 10).await;
    let item = vm.demo.item_compute.clone();
    assert_eq!(vm.stands(&item), 6, "{by:?}");
    vm.reboot(10 * MINUTE).await;
    vm.restore(&copy).await;
    vm.sample().await;
    take_over(vm, by, &item).await;
    assert_eq!(vm.stands(&item), 6, "{by:?}");
    item
}

#[test]
fn s5_hours_that_a_restored_ledger_can_have_forgotten_use_the_allowance() {
    by_every_way("compute_hours = 10, api_credits = 1000", &async |vm: &mut Vm, by: By| {
        let item = forget_ten_hours(vm, by).await;
        go_on(vm, 3).await;
        assert_eq!(vm.stands(&item), 9, "nineteen hours and some minutes less the ten included, {by:?}");
        vm.assert_books().await;
    });
}

#[test]
fn s5_s8_a_fall_of_what_was_taken_over_is_not_held_because_a_summary_lags() {
    run(async {
        let both = "compute_hours = 100000, api_credits = 0 }\n[plans.enterprise]\nincluded = { api_credits = 1000";
        let mut vm = Vm::booted_by(Billing::Meters("sum", Some("day")), STARTED, both).await;
        vm.start().await;
        vm.run(90 * SECOND);
        link(&vm, By::Itself, "pro").await;
        vm.record("known", 30).await;
        vm.push().await.unwrap();
        vm.run(DAY);
        // On one day with what is forgotten, and not sent by whoever takes that over.
        vm.record("not sent", 3).await;
        let copy = vm.snapshot().await;
        vm.record("forgotten", 5).await;
        vm.push().await.unwrap();
        vm.restore(&copy).await;
        let item = vm.demo.item_api.clone();
        take_over(&vm, By::Itself, &item).await;
        vm.run(DAY);
        vm.record("more", 4).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&item), 42);
        let behaviour = vm.stripe.behaviour().unwrap();
        vm.stripe.behave(usaged::sandbox::Behaviour { summary_lag_s: 1_800, ..behaviour }).unwrap();
        vm.run(DAY);
        link(&vm, By::Itself, "enterprise").await;
        go_on(&vm, 3).await;
        assert_eq!(vm.stands(&item), 0, "all of it is included now");
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await, 0);
    });
}
