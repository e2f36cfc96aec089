//! Stripe's meters: totals by `last`, shares of days, and increments, with what can go wrong about each.

use usaged::sandbox::{Behaviour, Effect, Fault, Newest};

use super::vm::{DAY, EVENTS, HOUR, METERS, MINUTE, Vm, linked_by, run, settle};

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
