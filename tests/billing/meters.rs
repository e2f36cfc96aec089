//! Stripe's meters: totals by `last`, shares of days, and increments, with what can go wrong about each.

use usaged::jobs;
use usaged::sandbox::{Behaviour, Effect, Fault, Newest};
use usaged::wire::{LinkRequest, ReconcileRequest};

use super::vm::{Billing, DAY, EVENT_SUMMARIES, EVENTS, HOUR, METERS, MINUTE, Vm, linked_by, run, settle};

const CREDITS: &str = "compute_hours = 100000, api_credits = 10";

/// Both readings of which of several events is the newest.
fn readings() -> [Behaviour; 2] {
    let arrival = Behaviour { last: Newest::Arrival, window: Newest::Arrival, ..Behaviour::default() };
    [arrival, Behaviour { last: Newest::Timestamp, window: Newest::Timestamp, ..arrival }]
}

/// Runs a test by every way of meters, under both readings.
fn by_every_meter(test: impl AsyncFn(Vm)) {
    for billing in METERS {
        for behaviour in readings() {
            run(async {
                let vm = linked_by(billing, "2026-11-01T00:00:00Z", CREDITS).await;
                vm.stripe.behave(behaviour).unwrap();
                test(vm).await;
            });
        }
    }
}

/// Days of credits and pushes, with a void, and the two quiet hours after the period's end that close it.
async fn live_to_december(vm: &Vm) -> i64 {
    let mut credits = 0;
    for day in 0..30 {
        vm.record(&format!("order-{day}"), 3).await;
        credits += 3;
        vm.push().await.unwrap();
        if day == 20 {
            vm.void("order-20").await;
            credits -= 3;
            vm.push().await.unwrap();
        }
        vm.run(DAY);
    }
    credits
}

async fn close_november(vm: &Vm) {
    for _ in 0..16 {
        settle(vm).await;
    }
}

#[test]
fn s7_s8_a_month_of_totals_stands_and_is_invoiced() {
    by_every_meter(async |vm| {
        let credits = live_to_december(&vm).await;
        close_november(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [credits - 10]);
        assert_eq!(
            vm.ask("SELECT count(*) FROM usage_record WHERE state = 'closed' AND meter = 'api_credits'").await,
            1
        );
        vm.assert_books().await;
    });
}

#[test]
fn s7_late_usage_is_back_dated_while_the_invoice_is_a_draft_and_carried_afterwards() {
    by_every_meter(async |vm| {
        vm.record("early", 20).await;
        vm.push().await.unwrap();
        vm.run(30 * DAY - 2 * MINUTE);
        // Used in the last minutes of November, and told nobody before December.
        vm.record("late", 5).await;
        vm.run(5 * MINUTE);
        vm.push_now().await.unwrap();
        close_november(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [15]);
        vm.assert_books().await;
    });
}

#[test]
fn s2_a_lost_answer_of_an_event_counts_once() {
    for effect in [Effect::CutAfterCommit, Effect::CutBeforeCommit, Effect::TruncatedJson, Effect::ErrorAfterCommit] {
        by_every_meter(async |mut vm| {
            vm.record("a", 17).await;
            vm.stripe.fault(Fault::next(effect.clone()).on("POST", EVENTS));
            vm.push().await.unwrap();
            vm.kill();
            vm.start().await;
            vm.push_now().await.unwrap();
            vm.record("b", 2).await;
            vm.push_now().await.unwrap();
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 9, "{effect:?}");
        });
    }
}

#[test]
fn s8_an_answer_that_stays_lost_for_a_day_is_read_before_anything_is_sent_again() {
    for effect in [Effect::CutAfterCommit, Effect::CutBeforeCommit] {
        by_every_meter(async |vm| {
            vm.record("a", 17).await;
            vm.stripe.fault(Fault::next(effect.clone()).on("POST", EVENTS));
            vm.push().await.unwrap();
            vm.run(25 * HOUR);
            vm.record("b", 2).await;
            for _ in 0..3 {
                vm.push_now().await.unwrap();
            }
            assert_eq!(vm.stands(&vm.demo.item_api), 9, "{effect:?}");
        });
    }
}

#[test]
fn s5_a_summary_that_lags_is_neither_drift_nor_sent_again() {
    by_every_meter(async |mut vm| {
        let lagging = Behaviour { summary_lag_s: 1_800, ..vm.stripe.behaviour().unwrap() };
        vm.stripe.behave(lagging).unwrap();
        vm.record("a", 17).await;
        vm.push().await.unwrap();
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        let sent = vm.stripe.requests().iter().filter(|request| request.path == EVENTS).count();
        assert_eq!((vm.stands(&vm.demo.item_api), sent), (7, 1));
        assert_eq!(
            vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL OR drift IS NOT NULL").await,
            0
        );
    });
}

const SUM: Billing = Billing::Meters("sum", None);
const CARRIED: &str = "SELECT ifnull(sum(units), 0) FROM carry";
const HELD: &str = "SELECT ifnull(sum(held_units), 0) FROM usage_record";
const CREDIT_DUE: &str = "SELECT ifnull(sum(units), 0) FROM credit_due";

fn events_sent(vm: &Vm) -> usize {
    vm.stripe.requests().iter().filter(|request| request.method == "POST" && request.path == EVENTS).count()
}

async fn problem_codes(vm: &Vm) -> Vec<String> {
    vm.problems().await.into_iter().map(|problem| problem.code).collect()
}

#[test]
fn s8_a_fall_on_a_plain_sum_is_a_negative_increment() {
    run(async {
        let vm = linked_by(SUM, "2026-11-01T00:00:00Z", CREDITS).await;
        vm.record("a", 20).await;
        vm.record("b", 6).await;
        vm.push().await.unwrap();
        vm.void("b").await;
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), events_sent(&vm)), (10, 2));
    });
}

#[test]
fn s8_a_fall_that_is_refused_is_given_up_and_absorbed_by_later_usage_and_the_rest_is_a_credit_due() {
    run(async {
        let mut vm = linked_by(SUM, "2026-11-01T00:00:00Z", CREDITS).await;
        vm.stripe.behave(Behaviour { negative_values: false, ..Behaviour::default() }).unwrap();
        vm.record("a", 20).await;
        vm.record("b", 6).await;
        vm.push().await.unwrap();
        vm.void("b").await;
        for _ in 0..5 {
            vm.push().await.unwrap();
            vm.run(2 * HOUR);
        }
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), events_sent(&vm)), (16, 1 + 3));
        let told = vm.problems().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].code, "cannot_fall");
        assert!(told[0].what.starts_with("6 units too many stand on "), "{}", told[0].what);
        vm.record("c", 4).await;
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), events_sent(&vm)), (16, 1 + 3), "absorbed");
        vm.record("d", 5).await;
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), problem_codes(&vm).await), (19, vec![]));
        vm.void("d").await;
        vm.push().await.unwrap();
        vm.run(30 * DAY - 11 * HOUR);
        close_november(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [19]);
        assert_eq!((vm.ask(CARRIED).await, vm.ask(HELD).await, vm.ask(CREDIT_DUE).await), (0, 0, 5));
        assert_eq!(events_sent(&vm), 1 + 3 + 1, "a fall is not tried again");
        vm.assert_books().await;
    });
}

/// An event is accepted, and the provider counts it nowhere.
async fn accepted_and_not_counted() -> Vm {
    let mut vm = linked_by(SUM, "2026-11-01T00:00:00Z", CREDITS).await;
    vm.record("a", 17).await;
    let identifier = vm.next_key().await;
    vm.push().await.unwrap();
    let cancel = [("event_name", "api_credits"), ("type", "cancel"), ("cancel[identifier]", identifier.as_str())];
    vm.operate("/v1/billing/meter_event_adjustments", &cancel).await;
    vm.run(3 * HOUR);
    vm.kill();
    vm.start().await;
    vm.push_now().await.unwrap();
    vm
}

#[test]
fn s5_an_event_that_is_accepted_and_never_counted_is_named_held_and_neither_sent_again_nor_carried() {
    run(async {
        let vm = accepted_and_not_counted().await;
        let told = vm.problems().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].code, "accepted_not_counted");
        assert!(told[0].what.ends_with("accepted, not counted: 7 were accepted, 0 are counted"), "{}", told[0].what);
        vm.record("b", 2).await;
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), events_sent(&vm)), (2, 2));
        vm.run(30 * DAY);
        close_november(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), events_sent(&vm)), (vec![2], 2));
        assert_eq!((vm.ask(CARRIED).await, vm.ask(HELD).await, vm.ask(CREDIT_DUE).await), (0, 7, 0));
        let told = vm.problems().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].code, "units_held");
        assert!(told[0].what.ends_with("carried: 9 were accepted, 2 are counted"), "{}", told[0].what);
        vm.assert_books().await;
    });
}

#[test]
fn s5_an_event_that_is_counted_very_late_is_no_problem_any_more() {
    run(async {
        let mut vm = linked_by(SUM, "2026-11-01T00:00:00Z", CREDITS).await;
        vm.stripe.behave(Behaviour { summary_lag_s: 5 * 3_600, ..Behaviour::default() }).unwrap();
        vm.record("a", 17).await;
        vm.push().await.unwrap();
        vm.run(3 * HOUR);
        vm.kill();
        vm.start().await;
        vm.push().await.unwrap();
        assert_eq!(problem_codes(&vm).await, ["accepted_not_counted"]);
        vm.run(3 * HOUR);
        vm.push().await.unwrap();
        assert_eq!((problem_codes(&vm).await, events_sent(&vm)), (vec![], 1));
    });
}

#[test]
fn s8_days_too_old_to_be_set_stay_as_they_stand_and_later_days_of_the_year_make_up_for_it() {
    run(async {
        let days = Billing::Meters("sum", Some("day"));
        let mut vm =
            Vm::booted_by(days, "2026-03-01T00:00:00Z", "compute_hours = \"unlimited\", api_credits = 10").await;
        by_the_year(&mut vm).await;
        vm.start().await;
        vm.run(2 * MINUTE);
        let items = [("api_credits".to_owned(), vm.demo.item_api.clone())].into_iter().collect();
        vm.try_link(LinkRequest { items, ..LinkRequest::default() }).await.unwrap();
        vm.record("a", 25).await;
        vm.record("b", 5).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 20);
        vm.run(40 * DAY);
        // The first day's share would be 15 now, but the provider takes no event for it any more.
        vm.void("b").await;
        vm.record("c", 3).await;
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), events_sent(&vm)), (20, 1), "a fixed day is not sent again");
        let told = vm.problems().await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].what.starts_with("2 units too many stand on "), "{}", told[0].what);
        vm.run(DAY);
        vm.record("d", 4).await;
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), problem_codes(&vm).await), (22, vec![]), "later days make up for it");
        vm.run(60 * DAY);
        vm.record("e", 6).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 28);
        assert_eq!(vm.ask("SELECT ifnull(sum(standing), 0) FROM day_share").await, 28);
    });
}

/// From here on `vm.demo` is a subscription whose one metered price is billed once a year.
async fn by_the_year(vm: &mut Vm) {
    let meter = vm.demo.meter_api.clone().unwrap();
    let form = [
        ("product", "prod_magicbox_pro"),
        ("currency", "eur"),
        ("unit_amount", "1"),
        ("recurring[interval]", "year"),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", meter.as_str()),
    ];
    let price = vm.operate("/v1/prices", &form).await;
    let form = [("customer", vm.demo.customer.as_str()), ("items[0][price]", price["id"].as_str().unwrap())];
    let subscription = vm.operate("/v1/subscriptions", &form).await;
    subscription["id"].as_str().unwrap().clone_into(&mut vm.demo.subscription);
    subscription["items"]["data"][0]["id"].as_str().unwrap().clone_into(&mut vm.demo.item_api);
}

#[test]
fn s7_the_ended_period_and_the_current_one_are_told_one_after_the_other() {
    by_every_meter(async |vm| {
        vm.record("early", 20).await;
        vm.push().await.unwrap();
        vm.run(30 * DAY - 2 * MINUTE);
        vm.record("late", 5).await;
        vm.run(4 * MINUTE);
        vm.record("december", 40).await;
        // So slow that two calls at once would meet on the meter.
        vm.stripe.fault(Fault { delay_ms: 300, ..Fault::next(Effect::None).on("POST", EVENTS).times(2) });
        vm.push_now().await.unwrap();
        let requests = vm.stripe.requests();
        let answers: Vec<u16> = requests.iter().filter(|one| one.path == EVENTS).map(|one| one.status).collect();
        assert_eq!(answers, [200; 3]);
    });
}

#[test]
fn s8_an_increment_that_may_not_be_repeated_now_does_not_ask_for_a_push_again_and_again() {
    run(async {
        let vm = linked_by(Billing::Meters("sum", None), "2026-11-01T00:00:00Z", CREDITS).await;
        vm.record("a", 13).await;
        vm.fault(Fault::next(Effect::CutAfterCommit).on("POST", EVENTS));
        vm.push().await.unwrap();
        vm.fault(Fault::next(Effect::CutBeforeCommit).times(1_000));
        // So shortly before its identifier is forgotten it is not repeated.
        vm.run(22 * HOUR);
        let pushed = vm.push().await.unwrap();
        assert!(pushed.next.unwrap() >= vm.now().plus(5 * MINUTE), "{pushed:?}");
        vm.clear_faults();
        vm.run(2 * HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 3);
    });
}

#[test]
fn s8_falls_of_several_days_arrive_by_one_push_though_summaries_lag() {
    run(async {
        let vm = linked_by(Billing::Meters("sum", Some("day")), "2026-11-01T00:00:00Z", CREDITS).await;
        vm.stripe.behave(Behaviour { summary_lag_s: 1_800, ..Behaviour::default() }).unwrap();
        for day in 0..6 {
            vm.record(&format!("order-{day}"), 20).await;
            vm.push().await.unwrap();
            vm.run(DAY);
        }
        for day in 1..5 {
            vm.void(&format!("order-{day}")).await;
        }
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 30);
        assert_eq!(vm.ask("SELECT count(*) FROM delivery WHERE quantity = 0").await, 4, "each day is told once");
        vm.run(3 * HOUR);
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.problems().await), (30, vec![]));
    });
}

#[test]
fn s5_what_could_not_be_read_is_no_news_any_more_once_another_job_has_read_it() {
    by_every_meter(async |mut vm| {
        vm.record("a", 13).await;
        vm.push().await.unwrap();
        vm.kill();
        vm.start().await;
        vm.fault(Fault::next(Effect::CutBeforeCommit).on("GET", EVENT_SUMMARIES).times(2));
        vm.push().await.unwrap();
        assert!(vm.problem("standing_unreadable").await.is_some());
        vm.clear_faults();
        vm.run(HOUR);
        jobs::reconcile(vm.context(), "schedule", &ReconcileRequest::default()).await.unwrap();
        vm.push().await.unwrap();
        assert_eq!(vm.problem("standing_unreadable").await, None);
    });
}
