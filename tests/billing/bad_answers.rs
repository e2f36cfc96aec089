//! What `status` and `doctor` say where the provider refuses or answers badly: what it is, what to do, and nothing any more
//! once it is over.

use usaged::jobs;
use usaged::model::Problem;
use usaged::sandbox::{Effect, Fault};
use usaged::wire::{LinkRequest, Verdict};

use super::vm::{Billing, EVENT_SUMMARIES, EVENTS, HOUR, METERS, MINUTE, Vm, linked_by, run};

const CREDITS: &str = "compute_hours = \"unlimited\", api_credits = 10";
const START: &str = "2026-11-01T00:00:00Z";

/// What the demo's key may do, less these.
const KEY_MAY: [&str; 5] =
    ["billing_meter_event_write", "billing_meter_read", "subscription_read", "customer_read", "plan_read"];

fn forbid(vm: &Vm, permission: &str) {
    let rest: Vec<&str> = KEY_MAY.into_iter().filter(|one| *one != permission).collect();
    vm.stripe.add_restricted_key(&vm.demo.agent_key, &rest).unwrap();
}

fn permit(vm: &Vm) {
    vm.stripe.add_restricted_key(&vm.demo.agent_key, &KEY_MAY).unwrap();
}

/// What `status` says under this code.
async fn named(vm: &Vm, code: &str) -> Problem {
    let problems = vm.problems().await;
    let found = problems.iter().find(|problem| problem.code == code).cloned();
    assert!(found.is_some(), "{code} is not among {problems:?}");
    found.unwrap()
}

/// What `doctor` finds wrong, with the fix.
async fn found(vm: &Vm) -> Vec<(String, String)> {
    let checks = jobs::doctor(vm.context()).await.unwrap().checks;
    let failed = checks.into_iter().filter(|check| check.verdict == Verdict::Fail);
    failed.map(|check| (check.found, check.fix)).collect()
}

/// What was wrong is over: the next push sends what waits, and nothing is left to be named.
async fn is_over(vm: &Vm, stands: i64) {
    vm.push_now().await.unwrap();
    vm.sample().await;
    assert_eq!((vm.problems().await, found(vm).await), (vec![], vec![]));
    assert_eq!(vm.stands(&vm.demo.item_api), stands);
}

#[test]
fn an_archived_meter_is_named_and_over_once_it_is_reactivated() {
    for billing in METERS {
        run(async {
            let vm = linked_by(billing, START, CREDITS).await;
            vm.record("a", 13).await;
            vm.push().await.unwrap();
            let meter = vm.demo.meter_api.clone().unwrap();
            vm.operate(&format!("/v1/billing/meters/{meter}/deactivate"), &[]).await;
            vm.record("b", 4).await;
            for _ in 0..20 {
                vm.run(HOUR);
                vm.push().await.unwrap();
            }
            let told = named(&vm, "push_refused").await;
            assert!(told.what.contains("No active meter found for event name"), "{}", told.what);
            assert!(told.hint.contains("reactivate the meter"), "{}", told.hint);
            let found = found(&vm).await;
            assert!(found[0].0.ends_with("is archived and takes no events"), "{found:?}");
            assert!(found[0].1.contains("reactivate it"), "{found:?}");
            vm.operate(&format!("/v1/billing/meters/{meter}/reactivate"), &[]).await;
            is_over(&vm, 7).await;
        });
    }
}

#[test]
fn a_key_that_may_not_send_events_is_told_which_permission_it_lacks() {
    for billing in METERS {
        run(async {
            let vm = linked_by(billing, START, CREDITS).await;
            forbid(&vm, "billing_meter_event_write");
            vm.record("a", 13).await;
            vm.push().await.unwrap();
            let told = named(&vm, "push_refused").await;
            assert!(told.what.contains("'rak_billing_meter_event_write' permission"), "{}", told.what);
            assert!(told.hint.contains("permission"), "{}", told.hint);
            assert_eq!(found(&vm).await, [(told.what, told.hint)]);
            permit(&vm);
            is_over(&vm, 3).await;
        });
    }
}

#[test]
fn a_key_that_may_not_read_summaries_is_told_which_permission_it_lacks() {
    for billing in METERS {
        run(async {
            let mut vm = linked_by(billing, START, CREDITS).await;
            vm.record("a", 13).await;
            forbid(&vm, "billing_meter_read");
            vm.kill();
            vm.start().await;
            vm.push().await.unwrap();
            let told = named(&vm, "standing_unreadable").await;
            assert!(told.what.contains("'rak_billing_meter_read' permission"), "{}", told.what);
            assert!(told.hint.contains("permission"), "{}", told.hint);
            let found = found(&vm).await;
            assert!(found[0].0.contains("'rak_billing_meter_read' permission"), "{found:?}");
            permit(&vm);
            is_over(&vm, 3).await;
        });
    }
}

#[test]
fn a_key_that_may_not_read_meters_is_told_so_when_linking() {
    run(async {
        let mut vm = Vm::booted_by(Billing::Meters("last", None), START, CREDITS).await;
        vm.start().await;
        vm.run(2 * MINUTE);
        forbid(&vm, "billing_meter_read");
        let refused = vm.try_link(LinkRequest::default()).await.unwrap_err();
        assert!(refused.to_string().contains("'rak_billing_meter_read' permission"), "{refused}");
        assert!(refused.hint().unwrap().contains("permission"), "{:?}", refused.hint());
        permit(&vm);
        vm.link().await;
        vm.record("a", 13).await;
        is_over(&vm, 3).await;
    });
}

/// Answers that nobody at the provider wrote, with the words that tell them apart.
fn bad_answers() -> [(Effect, &'static str); 3] {
    let broken = "is not the provider's answer: its body is not JSON, or not whole";
    [
        (Effect::Html, "its body is not the provider's error"),
        (Effect::TruncatedJson, broken),
        (Effect::Gigantic, "is not the provider's answer: its body is longer than 1 MiB"),
    ]
}

#[test]
fn events_that_are_badly_answered_again_and_again_are_named_and_counted_once() {
    for (effect, words) in bad_answers() {
        for billing in METERS {
            run(async {
                let vm = linked_by(billing, START, CREDITS).await;
                vm.record("a", 13).await;
                vm.stripe.fault(Fault::next(effect.clone()).on("POST", EVENTS).times(1_000));
                for _ in 0..9 {
                    vm.push_now().await.unwrap();
                }
                let told = named(&vm, "push_failing").await;
                assert!(told.what.contains(words), "{}", told.what);
                assert!(told.hint.contains("usagectl doctor"), "{}", told.hint);
                vm.stripe.clear_faults();
                is_over(&vm, 3).await;
            });
        }
    }
}

#[test]
fn summaries_that_are_badly_answered_are_named_and_nothing_is_sent_meanwhile() {
    for (effect, words) in bad_answers() {
        for billing in METERS {
            run(async {
                let mut vm = linked_by(billing, START, CREDITS).await;
                vm.record("a", 13).await;
                vm.kill();
                vm.start().await;
                vm.stripe.fault(Fault::next(effect.clone()).on("GET", EVENT_SUMMARIES).times(1_000));
                vm.push().await.unwrap();
                let told = named(&vm, "standing_unreadable").await;
                assert_eq!(vm.stands(&vm.demo.item_api), 0);
                assert!(told.what.contains(words), "{}", told.what);
                let found = found(&vm).await;
                assert!(found[0].0.contains(words) && !found[0].1.is_empty(), "{found:?}");
                vm.stripe.clear_faults();
                is_over(&vm, 3).await;
            });
        }
    }
}
