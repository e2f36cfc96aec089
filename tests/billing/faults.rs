//! Lost answers, refusals, restarts and clocks that are set: the bill stays exact.

use std::collections::BTreeSet;

use usaged::sandbox::{Effect, Fault};

use super::vm::{DAY, HOUR, SECOND, USAGE, Vm, linked_at, run};

async fn linked(included: &str) -> Vm {
    linked_at("2026-11-24T12:00:00Z", included).await
}

fn keys(vm: &Vm) -> Vec<String> {
    let posts = vm.stripe.requests().into_iter().filter(|request| request.path.ends_with("/usage_records"));
    posts.filter_map(|request| request.idempotency_key).collect()
}

#[test]
fn s1_a_total_that_stands_is_not_pushed_again() {
    run(async {
        let vm = linked("compute_hours = 100, api_credits = 0").await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.run(HOUR);
        vm.push().await.unwrap();
        assert_eq!(keys(&vm).len(), 1);
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
    });
}

#[test]
fn s2_a_lost_answer_is_asked_about_again_under_the_same_key_also_after_a_restart() {
    for effect in [Effect::CutAfterCommit, Effect::CutBeforeCommit, Effect::TruncatedJson] {
        run(async {
            let mut vm = linked("compute_hours = 100, api_credits = 0").await;
            vm.record("a", 7).await;
            vm.stripe.fault(Fault::next(effect.clone()).on("POST", USAGE));
            vm.push().await.unwrap();
            vm.kill();
            vm.start().await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 7, "{effect:?}");
            let different: BTreeSet<String> = keys(&vm).into_iter().collect();
            assert_eq!(different.len(), 1, "{effect:?}");
            assert_eq!(vm.ask("SELECT count(*) FROM delivery WHERE state = 'accepted'").await, 1, "{effect:?}");
        });
    }
}

#[test]
fn s2_a_key_that_got_a_stored_500_is_given_up_for_a_new_one() {
    for effect in [Effect::ErrorBeforeCommit, Effect::ErrorAfterCommit] {
        run(async {
            let vm = linked("compute_hours = 100, api_credits = 0").await;
            vm.record("a", 7).await;
            vm.stripe.fault(Fault::next(effect).on("POST", USAGE));
            for _ in 0..4 {
                vm.push_now().await.unwrap();
            }
            assert_eq!(vm.stands(&vm.demo.item_api), 7);
            assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE target <> ifnull(standing, 0)").await, 0);
        });
    }
}

#[test]
fn s5_a_fall_that_was_given_up_and_arrived_is_nobody_elses() {
    run(async {
        let vm = linked("compute_hours = 100, api_credits = 0").await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.void("a").await;
        vm.stripe.fault(Fault::next(Effect::ErrorAfterCommit).on("POST", USAGE));
        for _ in 0..4 {
            vm.push_now().await.unwrap();
        }
        assert_eq!(vm.stands(&vm.demo.item_api), 0);
        assert_eq!(vm.problem("drift").await, None);
        vm.assert_books().await;
    });
}

#[test]
fn s2_a_hundred_ninety_a_hundred_within_a_day_all_arrive() {
    run(async {
        let vm = linked("compute_hours = 100, api_credits = 0").await;
        vm.record("a", 90).await;
        vm.record("b", 10).await;
        vm.push().await.unwrap();
        vm.void("b").await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 90);
        vm.record("c", 10).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 100);
    });
}

#[test]
fn s5_before_a_lowering_what_stands_is_read() {
    run(async {
        let vm = linked("compute_hours = 100, api_credits = 0").await;
        vm.record("a", 9).await;
        vm.push().await.unwrap();
        vm.void("a").await;
        // Somebody else raised it meanwhile: nothing is lowered.
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 5, period.from.secs() + 60).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 14);
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code = 'higher_than_caused'").await, 1);
    });
}

#[test]
fn passing_errors_wait_and_permanent_ones_are_named() {
    run(async {
        let vm = linked("compute_hours = 100, api_credits = 0").await;
        vm.record("a", 3).await;
        let limited = Effect::RateLimited { reason: "global-rate".into(), retry_after: Some(30) };
        vm.stripe.fault(Fault::next(limited).on("POST", USAGE));
        let pushed = vm.push().await.unwrap();
        assert_eq!((pushed.set, pushed.waiting), (0, 1));
        assert!(pushed.next.unwrap() >= vm.now().plus(30 * SECOND), "Retry-After is honoured");
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 0, "the schedule leaves a row alone that waits");
        vm.run(31 * SECOND);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 3);
        vm.record("b", 1).await;
        vm.stripe.fault(Fault::next(Effect::Unauthorized).on("POST", USAGE));
        vm.push().await.unwrap();
        let problems = vm.context().problems();
        assert!(problems.iter().any(|problem| problem.code == "push_refused"), "{problems:?}");
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 4);
        assert_eq!(vm.context().problems(), []);
    });
}

#[test]
fn one_stuck_item_does_not_block_another() {
    run(async {
        let vm = linked("compute_hours = 0, api_credits = 0").await;
        vm.record("a", 3).await;
        vm.run(2 * HOUR);
        let stuck = format!("/v1/subscription_items/{}/usage_records", vm.demo.item_api);
        vm.stripe.fault(Fault::next(Effect::ErrorBeforeCommit).on("POST", &stuck).times(100));
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.stands(&vm.demo.item_compute)), (0, 2));
    });
}

#[test]
fn m5_a_wall_clock_that_is_set_moves_no_usage_and_no_deadline() {
    run(async {
        let vm = linked("compute_hours = 0, api_credits = 0").await;
        for step in [3 * DAY, -5 * DAY, 20 * DAY, -18 * DAY] {
            vm.run(HOUR);
            vm.sample().await;
            vm.clock.step_wall(step);
            vm.run(HOUR);
            vm.push().await.unwrap();
        }
        vm.run(HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 9);
        assert!(vm.ask("SELECT count(*) FROM generation WHERE because = 'wall clock jumped'").await >= 4);
    });
}
