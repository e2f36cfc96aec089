//! Sequences that somebody who wants a wrong bill would try.

use usaged::jobs::{self, Running};
use usaged::model::Timestamp;
use usaged::sandbox::{Effect, Fault};
use usaged::wire::{LinkRequest, ReleaseRequest, Status, SyncRequest};

use super::vm::{DAY, HOUR, MINUTE, SECOND, Vm, run};

const USAGE: &str = "/v1/subscription_items/*/usage_records";
const SUMMARIES: &str = "/v1/subscription_items/*/usage_record_summaries";
const CREDITS_ONLY: &str = "compute_hours = 1000, api_credits = 0";
const CREDIT_DUE: &str = "SELECT ifnull(sum(units), 0) FROM credit_due";

async fn linked_at(at: &str, included: &str) -> Vm {
    let mut vm = Vm::booted_at(at, included).await;
    vm.start().await;
    vm.run(2 * SECOND);
    vm.link().await;
    vm.sample().await;
    vm
}

async fn settle(vm: &Vm) {
    for _ in 0..4 {
        vm.run(4 * MINUTE);
        vm.push_now().await.unwrap();
    }
}

async fn status(vm: &Vm) -> Status {
    let running = Running { since: vm.now(), sandbox: true, next_push: None, next_compact: None };
    jobs::status(vm.context(), running).await.unwrap()
}

async fn problem_codes(vm: &Vm) -> Vec<String> {
    status(vm).await.problems.into_iter().map(|problem| problem.code).collect()
}

async fn release(vm: &Vm, adopt: bool) {
    let request = ReleaseRequest { item: vm.demo.item_api.clone(), adopt, because: "looked at it".into() };
    jobs::release(vm.context(), &request, "uid:0").await.unwrap();
}

#[test]
fn a_retry_that_nothing_is_left_for_asks_for_no_other() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.record("a", 3).await;
        let limited = Effect::RateLimited { reason: "global-rate".into(), retry_after: Some(5) };
        vm.stripe.fault(Fault::next(limited).on("POST", USAGE));
        vm.push().await.unwrap();
        vm.void("a").await;
        vm.run(10 * SECOND);
        let pushed = vm.push_now().await.unwrap();
        assert!(pushed.next.unwrap() > vm.now().plus(MINUTE), "wakes at {:?}, it is {}", pushed.next, vm.now());
    });
}

#[test]
fn reads_that_failed_and_then_worked_are_no_problem_any_more() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.kill();
        vm.start().await;
        vm.stripe.fault(Fault::next(Effect::Html).on("GET", SUMMARIES).times(20));
        for _ in 0..10 {
            vm.push_now().await.unwrap();
        }
        assert!(problem_codes(&vm).await.contains(&"push_failing".to_owned()));
        vm.stripe.clear_faults();
        vm.push_now().await.unwrap();
        assert_eq!(problem_codes(&vm).await, Vec::<String>::new());
    });
}

#[test]
fn s6_what_waits_out_a_failure_is_tried_in_the_last_push() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.run(75 * MINUTE);
        vm.record("a", 4).await;
        vm.stripe.fault(Fault::next(Effect::Unauthorized).on("POST", USAGE));
        let mut next = vm.push().await.unwrap().next;
        // As the pusher does: whenever the job asks for it.
        while let Some(at) = next.filter(|at| *at < Timestamp::parse("2026-12-01T00:00:00Z").unwrap()) {
            vm.run(at.since(vm.now()).max(SECOND));
            next = jobs::push(vm.context(), "retry", jobs::Which::Due).await.unwrap().next;
        }
        assert_eq!(vm.stripe.total(&vm.demo.item_api, Timestamp::parse("2026-11-30T23:59:59Z").unwrap()).unwrap(), 4);
    });
}
