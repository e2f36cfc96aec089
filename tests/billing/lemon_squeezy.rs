//! Lemon Squeezy: a total counts for the period in which it arrives (rule S9).

use usaged::sandbox::lemon_squeezy::{Behaviour, Zero};
use usaged::sandbox::{Effect, Fault};

use super::vm::{Billing, DAY, HOUR, LEMON_CURRENT, LEMON_USAGE, MINUTE, Vm, linked_by, run, settle};

async fn linked() -> Vm {
    linked_by(Billing::LemonSqueezy, "2026-11-01T00:00:00Z", "compute_hours = 100000, api_credits = 10").await
}

#[test]
fn s9_a_month_of_totals_stands_and_is_invoiced() {
    run(async {
        let vm = linked().await;
        let mut credits = 0;
        for day in 0..30 {
            vm.record(&format!("order-{day}"), 3).await;
            credits += 3;
            if day == 20 {
                vm.push().await.unwrap();
                vm.void("order-20").await;
                credits -= 3;
            }
            vm.push().await.unwrap();
            vm.run(DAY);
        }
        settle(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [credits - 10]);
        vm.assert_books().await;
    });
}

#[test]
fn s9_nothing_is_sent_near_the_end_and_what_is_missing_is_carried() {
    run(async {
        let vm = linked().await;
        vm.record("early", 20).await;
        vm.push().await.unwrap();
        vm.run(30 * DAY - 4 * MINUTE);
        vm.record("late", 5).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 10, "the quiet minutes");
        vm.run(10 * MINUTE);
        settle(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [10]);
        assert_eq!(vm.stands(&vm.demo.item_api), 5, "carried into December");
        vm.assert_books().await;
    });
}

#[test]
fn s9_a_lost_answer_is_read_and_set_again() {
    for effect in [Effect::CutAfterCommit, Effect::CutBeforeCommit, Effect::TruncatedJson, Effect::ErrorBeforeCommit] {
        run(async {
            let mut vm = linked().await;
            vm.record("a", 17).await;
            vm.fault(Fault::next(effect.clone()).on("POST", LEMON_USAGE));
            vm.push().await.unwrap();
            vm.kill();
            vm.start().await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 7, "{effect:?}");
        });
    }
}

#[test]
fn s9_whether_zero_is_taken_is_tried_and_a_refusal_is_an_alarm() {
    for zero in [Zero::Accepted, Zero::Refused] {
        run(async {
            let vm = linked().await;
            let lemon = vm.lemon.as_ref().unwrap();
            lemon.behave(Behaviour { zero, ..lemon.behaviour().unwrap() }).unwrap();
            vm.record("a", 17).await;
            vm.push().await.unwrap();
            vm.void("a").await;
            vm.push().await.unwrap();
            let (stands, problems) = (vm.stands(&vm.demo.item_api), vm.context().problems());
            let alarmed = problems.iter().any(|problem| problem.code == "push_refused");
            assert_eq!((stands, alarmed), if zero == Zero::Accepted { (0, false) } else { (7, true) });
        });
    }
}

#[test]
fn s9_what_cannot_be_read_is_not_sent() {
    run(async {
        let vm = linked().await;
        vm.run(HOUR);
        vm.record("a", 17).await;
        let mut vm = vm;
        vm.kill();
        vm.start().await;
        vm.fault(Fault::next(Effect::Html).on("GET", LEMON_CURRENT).times(50));
        vm.push().await.ok();
        assert_eq!(vm.stands(&vm.demo.item_api), 0);
        vm.lemon.as_ref().unwrap().clear_faults();
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
    });
}

#[test]
fn s9_a_total_of_the_old_period_that_arrives_in_the_new_one_is_our_own() {
    for zero in [Zero::Accepted, Zero::Refused] {
        run(async {
            let vm = linked().await;
            let lemon = vm.lemon.as_ref().unwrap();
            lemon.behave(Behaviour { zero, straggles_after_s: 720, ..lemon.behaviour().unwrap() }).unwrap();
            vm.record("early", 20).await;
            vm.push().await.unwrap();
            vm.run(30 * DAY - 10 * MINUTE);
            vm.record("late", 5).await;
            vm.fault(Fault::next(Effect::CutBeforeCommit).on("POST", LEMON_USAGE));
            vm.push_now().await.unwrap();
            vm.clear_faults();
            vm.run(13 * MINUTE);
            assert_eq!(vm.stands(&vm.demo.item_api), 15, "it arrived in December");
            vm.push_now().await.unwrap();
            assert_eq!(vm.problem("held_something_stands").await, None, "nobody else wrote it");
            for _ in 0..4 {
                vm.run(HOUR);
                vm.push_now().await.unwrap();
            }
            assert_eq!(vm.invoiced_units(&vm.demo.item_api), [10]);
            assert_eq!(vm.stands(&vm.demo.item_api), 5, "carried into December");
            vm.assert_books().await;
        });
    }
}

#[test]
fn s9_a_late_total_that_cannot_be_lowered_to_nothing_is_an_alarm_until_usage_replaces_it() {
    run(async {
        let vm = linked().await;
        let lemon = vm.lemon.as_ref().unwrap();
        lemon.behave(Behaviour { zero: Zero::Refused, straggles_after_s: 720, ..lemon.behaviour().unwrap() }).unwrap();
        vm.run(30 * DAY - 10 * MINUTE);
        vm.record("late", 25).await;
        vm.fault(Fault::next(Effect::CutBeforeCommit).on("POST", LEMON_USAGE));
        vm.push_now().await.unwrap();
        vm.push_now().await.unwrap();
        vm.run(13 * MINUTE);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 15, "it arrived in December, where nothing was used");
        assert!(vm.problem("push_refused").await.is_some());
        vm.run(3 * HOUR);
        vm.record("more", 12).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.problem("push_refused").await), (2, None));
    });
}

#[test]
fn s9_a_total_that_was_sent_twice_does_not_outlast_a_fall() {
    run(async {
        let vm = linked().await;
        let lemon = vm.lemon.as_ref().unwrap();
        lemon.behave(Behaviour { straggles_after_s: 720, ..lemon.behaviour().unwrap() }).unwrap();
        vm.record("a", 19).await;
        vm.record("b", 6).await;
        vm.fault(Fault::next(Effect::CutBeforeCommit).on("POST", LEMON_USAGE));
        vm.push_now().await.unwrap();
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 15, "the second request was answered");
        vm.void("b").await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 9);
        vm.run(13 * MINUTE);
        assert_eq!(vm.stands(&vm.demo.item_api), 15, "the first one was carried out late");
        vm.run(HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 9);
    });
}
