//! Rule S5 by schedule and by command: what stands is read back and compared, and nothing is sent.

use usaged::jobs::{self, JobError, Running};
use usaged::sandbox::{Effect, Fault};
use usaged::store::StoreError;
use usaged::wire::{Cause, LinkRequest, ReconcileLine, ReconcileReport, ReconcileRequest, ReleaseRequest};

use super::closing::code;
use super::vm::{DAY, HOUR, MINUTE, SUMMARIES, USAGE, Vm, linked_at, run, settle};

const CREDITS_ONLY: &str = "compute_hours = 1000, api_credits = 0";
const HELD: &str = "SELECT count(*) FROM usage_record WHERE held_code = 'higher_than_caused'";
const ADOPTED: &str = "SELECT ifnull(sum(adopted), 0) FROM usage_record";

async fn linked() -> Vm {
    linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await
}

/// As the link that says that nobody else writes.
async fn linked_as_single_writer(included: &str) -> Vm {
    let mut vm = Vm::booted_at("2026-11-10T12:00:00Z", included).await;
    vm.start().await;
    vm.run(MINUTE);
    vm.try_link(LinkRequest { single_writer: true, ..LinkRequest::default() }).await.unwrap();
    vm.sample().await;
    vm
}

async fn try_reconcile(vm: &Vm) -> Result<ReconcileReport, JobError> {
    jobs::reconcile(vm.context(), "schedule", &ReconcileRequest::default()).await
}

/// Compares, and checks that nothing was sent by it.
async fn reconcile(vm: &Vm) -> ReconcileReport {
    let posts = |vm: &Vm| vm.stripe.requests().iter().filter(|request| request.method == "POST").count();
    let before = posts(vm);
    let report = try_reconcile(vm).await.unwrap();
    assert_eq!(posts(vm), before, "nothing is ever sent by it");
    let first_fine = report.lines.iter().position(|line| !line.needs_someone).unwrap_or(report.lines.len());
    assert!(report.lines[first_fine..].iter().all(|line| !line.needs_someone), "problems come first");
    assert_eq!(report.needs_someone, first_fine > 0);
    report
}

/// The line of the credits' item in the period that is open, or in a closed one.
async fn line(vm: &Vm, state: &str) -> ReconcileLine {
    let lines = reconcile(vm).await.lines;
    lines.into_iter().find(|line| line.meter == "api_credits" && line.state == state).unwrap()
}

async fn problem_codes(vm: &Vm) -> Vec<String> {
    let running = Running {
        since: vm.now(),
        sandbox: true,
        next_push: None,
        next_reconcile: None,
        next_compact: None,
        next_look: None,
        paths: usaged::wire::PathsStatus::default(),
    };
    jobs::status(vm.context(), running).await.unwrap().problems.into_iter().map(|problem| problem.code).collect()
}

/// Our own timestamp in the open period.
fn own_timestamp(vm: &Vm) -> i64 {
    vm.stripe.totals(&vm.demo.item_api).unwrap().into_iter().map(|total| total.from.secs()).max().unwrap() + 1
}

async fn release(vm: &Vm, adopt: bool) -> Result<(), JobError> {
    let request = ReleaseRequest { item: vm.demo.item_api.clone(), adopt, because: "looked at it".into() };
    jobs::release(vm.context(), &request, "uid:0").await.map(drop)
}

#[test]
fn s5_what_stands_as_noted_agrees_and_what_was_used_since_is_not_sent_yet() {
    run(async {
        let vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        let agrees = line(&vm, "open").await;
        assert_eq!((agrees.cause, agrees.noted, agrees.stands, agrees.target), (Cause::Agrees, Some(7), Some(7), 7));
        vm.record("b", 2).await;
        let waits = line(&vm, "open").await;
        assert_eq!((waits.cause, waits.stands, waits.target), (Cause::NotSentYet, Some(7), 9), "{}", waits.why);
        assert!(!waits.needs_someone);
        assert_eq!((vm.stands(&vm.demo.item_api), problem_codes(&vm).await), (7, Vec::<String>::new()));
        let ran = vm.context().store.read(|c| jobs::last_run(c, "reconcile")).await.unwrap().unwrap();
        assert_eq!(ran.result.as_deref(), Some("1 agrees, 1 not sent yet"));
        assert_eq!(ran.because, "schedule");
    });
}

#[test]
fn s5_more_than_a_ledger_caused_that_was_kept_without_a_break_is_another_writers() {
    run(async {
        let vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.run(5 * HOUR);
        vm.write_behind(&vm.demo.item_api, 40, own_timestamp(&vm) + 60).await;
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.noted, found.stands), (Cause::AnotherWriter, Some(7), Some(47)));
        assert!(found.why.contains("kept without a break since 2026-11-10T"), "{}", found.why);
        assert!(found.needs_someone && found.held.is_some());
        assert!(found.hint.as_deref().unwrap().contains("usagectl release"), "{:?}", found.hint);
        // Held as before a push, so nothing goes on top of it.
        vm.record("b", 1).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.ask(HELD).await), (47, 1));
        let again = line(&vm, "open").await;
        assert_eq!((again.cause, again.noted, again.held), (Cause::AnotherWriter, Some(7), found.held));
        release(&vm, true).await.unwrap();
        vm.push_now().await.unwrap();
        assert_eq!(line(&vm, "open").await.cause, Cause::Agrees);
        assert!(!problem_codes(&vm).await.iter().any(|code| code.starts_with("held_")));
        assert_eq!(vm.ask("SELECT count(*) FROM audit WHERE action = 'release'").await, 1);
    });
}

#[test]
fn s5_a_restart_is_no_sign_of_a_restored_disk() {
    run(async {
        let mut vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.write_behind(&vm.demo.item_api, 40, own_timestamp(&vm)).await;
        vm.kill();
        vm.run(MINUTE);
        vm.start().await;
        assert_eq!(line(&vm, "open").await.cause, Cause::AnotherWriter);
    });
}

#[test]
fn s5_a_long_stop_that_was_noted_leaves_both_explanations() {
    run(async {
        let mut vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.write_behind(&vm.demo.item_api, 40, own_timestamp(&vm)).await;
        vm.sample().await;
        jobs::note_stop(vm.context(), false).await.unwrap();
        vm.kill();
        vm.run(5 * HOUR);
        vm.start().await;
        let found = line(&vm, "open").await;
        assert_eq!(found.cause, Cause::AnotherWriterOrOlderLedger, "{}", found.why);
        assert!(found.why.contains("5 hours"), "{}", found.why);
    });
}

/// A ledger that is brought back to before the seventh of twelve credits, five hours later; the rest was pushed.
async fn restored(vm: &mut Vm) {
    vm.record("a", 7).await;
    vm.push().await.unwrap();
    let copy = vm.snapshot().await;
    vm.run(4 * HOUR);
    vm.record("b", 5).await;
    vm.push().await.unwrap();
    vm.run(HOUR);
    vm.restore(&copy).await;
}

#[test]
fn s5_a_restored_disk_is_told_by_what_is_missing_in_it_and_held() {
    run(async {
        let mut vm = linked().await;
        restored(&mut vm).await;
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.noted, found.stands), (Cause::OlderLedger, Some(7), Some(12)), "{}", found.why);
        assert!(found.needs_someone);
        vm.record("c", 3).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.ask(HELD).await), (12, 1), "nothing is lowered, nothing is added");
        release(&vm, true).await.unwrap();
        // Ten of the twelve are known by then, so two are taken over: too little rather than too much.
        vm.push_now().await.unwrap();
        vm.record("d", 2).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 14);
        vm.assert_books().await;
    });
}

#[test]
fn s5_a_restored_disk_of_a_single_writer_is_taken_over_by_itself_once_in_a_period() {
    run(async {
        let mut vm = linked_as_single_writer(CREDITS_ONLY).await;
        restored(&mut vm).await;
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.stands, found.needs_someone), (Cause::OlderLedger, Some(12), false));
        assert!(found.why.contains("5 were taken over"), "{}", found.why);
        assert_eq!((vm.ask(ADOPTED).await, vm.ask(HELD).await), (5, 0));
        assert_eq!(vm.ask("SELECT count(*) FROM audit WHERE action = 'adopt'").await, 1);
        // What is used after the restore is billed on top, and what was billed before is billed no second time.
        vm.record("c", 3).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 15);
        assert_eq!(line(&vm, "open").await.cause, Cause::Agrees);
        // A second time in the same period nobody believes it unasked.
        let copy = vm.snapshot().await;
        vm.run(4 * HOUR);
        vm.record("e", 4).await;
        vm.push_now().await.unwrap();
        vm.run(HOUR);
        vm.restore(&copy).await;
        let again = line(&vm, "open").await;
        assert_eq!((again.cause, again.stands, again.needs_someone), (Cause::OlderLedger, Some(19), true));
        assert_eq!((vm.ask(ADOPTED).await, vm.ask(HELD).await), (5, 1));
        release(&vm, true).await.unwrap();
        vm.record("f", 1).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 20);
        vm.run(25 * DAY);
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![20], 0));
        vm.assert_books().await;
    });
}

#[test]
fn s5_running_time_that_a_restored_ledger_counts_again_is_billed_once() {
    run(async {
        let mut vm = linked_as_single_writer("compute_hours = 0, api_credits = 0").await;
        vm.run(3 * HOUR);
        vm.push().await.unwrap();
        let copy = vm.snapshot().await;
        vm.run(2 * HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 5);
        vm.run(2 * HOUR);
        // The counters ran on, so the ledger has all seven hours, though five of them stand already.
        vm.restore(&copy).await;
        reconcile(&vm).await;
        assert_eq!(vm.ask(ADOPTED).await, 0, "what is known by now is not taken over");
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 7);
        vm.run(HOUR);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 8);
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await, 0);
    });
}

#[test]
fn s5_less_than_was_noted_is_named_and_set_again_by_the_next_push() {
    run(async {
        let vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.write_behind(&vm.demo.item_api, 2, own_timestamp(&vm)).await;
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.noted, found.stands), (Cause::Lowered, Some(7), Some(2)));
        assert!(!found.needs_someone, "it mends itself");
        assert_eq!((vm.stands(&vm.demo.item_api), problem_codes(&vm).await), (2, vec!["drift".to_owned()]));
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
        assert_eq!(line(&vm, "open").await.cause, Cause::Agrees);
    });
}

#[test]
fn s5_a_request_whose_answer_was_lost_is_our_own() {
    run(async {
        let vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.record("b", 2).await;
        vm.stripe.fault(Fault::next(Effect::CutAfterCommit).on("POST", USAGE));
        let next = vm.push().await.unwrap().next;
        let found = line(&vm, "open").await;
        assert_eq!(
            (found.cause, found.noted, found.stands),
            (Cause::OwnLateRequest, Some(7), Some(9)),
            "{}",
            found.why
        );
        assert!(!found.needs_someone);
        // A row that waits out a failure keeps its turn.
        let retry = "SELECT next_attempt_us FROM usage_record WHERE next_attempt_us IS NOT NULL";
        assert_eq!(vm.ask(retry).await, next.unwrap().micros());
        vm.run(HOUR);
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.stands), (Cause::OwnLateRequest, Some(9)));
        assert_eq!(vm.ask("SELECT count(*) FROM delivery WHERE state = 'accepted'").await, 2, "its answer was read");
        assert_eq!(line(&vm, "open").await.cause, Cause::Agrees);
    });
}

#[test]
fn s5_what_cannot_be_read_says_so_and_is_over_once_it_can() {
    run(async {
        let vm = linked().await;
        vm.push().await.unwrap();
        vm.stripe.fault(Fault::next(Effect::Unauthorized).on("GET", SUMMARIES).times(2));
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.stands, found.needs_someone), (Cause::Unreadable, None, true));
        assert!(problem_codes(&vm).await.contains(&"reconcile_unreadable".to_owned()));
        assert_eq!(line(&vm, "open").await.cause, Cause::Agrees);
        assert_eq!(problem_codes(&vm).await, Vec::<String>::new());
    });
}

#[test]
fn s6_a_period_that_is_over_is_compared_and_taken_as_it_is() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        // In the last minutes no push could start, so no read changes anything either.
        vm.write_behind(&vm.demo.item_api, 40, own_timestamp(&vm) + 60).await;
        assert_eq!(line(&vm, "open").await.cause, Cause::AnotherWriter);
        assert_eq!(vm.ask(HELD).await, 0);
        vm.run(3 * MINUTE);
        vm.push_now().await.unwrap();
        let found = line(&vm, "ending").await;
        assert_eq!((found.cause, found.stands, found.noted), (Cause::AnotherWriter, Some(47), Some(7)));
        assert!(found.hint.as_deref().unwrap().contains("credit due"), "{:?}", found.hint);
        settle(&vm).await;
        assert_eq!(line(&vm, "closed").await.cause, Cause::Agrees, "closed with what stands");
        assert_eq!(vm.ask("SELECT sum(units) FROM credit_due").await, 40);
        vm.assert_books().await;
    });
}

/// Changes the ledger behind the agent's back, for what the sandbox cannot be made to do.
async fn tamper(vm: &Vm, sql: &'static str) {
    vm.context().store.write(move |tx| Ok::<_, StoreError>(tx.execute(sql, [])?)).await.unwrap();
}

#[test]
fn s5_a_closed_period_that_differs_later_is_a_problem_and_changes_no_books() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.run(3 * HOUR);
        settle(&vm).await;
        assert_eq!(line(&vm, "closed").await.cause, Cause::Agrees);
        // As if four had stood when it was closed, and the other three been carried.
        let books = "SELECT ifnull(sum(units), 0) * 1000 + (SELECT sum(standing) FROM usage_record) FROM carry";
        tamper(&vm, "UPDATE usage_record SET standing = 4 WHERE state = 'closed' AND standing = 7").await;
        vm.push_now().await.unwrap();
        let before = vm.ask(books).await;
        let found = line(&vm, "closed").await;
        assert_eq!((found.noted, found.stands, found.needs_someone), (Some(4), Some(7), true));
        assert_eq!(found.cause, Cause::OwnLateRequest, "seven were ours");
        assert!(problem_codes(&vm).await.contains(&"closed_period_differs".to_owned()));
        assert_eq!(vm.ask(books).await, before);
        vm.assert_books().await;
        tamper(&vm, "UPDATE usage_record SET standing = 7 WHERE state = 'closed' AND standing = 4").await;
        assert_eq!(line(&vm, "closed").await.cause, Cause::Agrees);
        assert!(!problem_codes(&vm).await.contains(&"closed_period_differs".to_owned()));
    });
}

#[test]
fn s10_shared_items_are_left_out_and_named() {
    run(async {
        let vm = linked().await;
        vm.push().await.unwrap();
        tamper(&vm, "UPDATE usage_record SET shared = 1 WHERE meter = 'api_credits'").await;
        let reads = |vm: &Vm| vm.stripe.requests().iter().filter(|r| r.path.ends_with("summaries")).count();
        let before = reads(&vm);
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.stands, found.needs_someone), (Cause::Shared, None, false));
        assert_eq!(reads(&vm), before + 1, "only the other one is read");
    });
}

#[test]
fn s11_a_copied_ledger_compares_nothing_and_takes_nothing_over() {
    run(async {
        let mut vm = linked_as_single_writer(CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.write_behind(&vm.demo.item_api, 40, own_timestamp(&vm)).await;
        vm.kill();
        vm.write("etc/machine-id", "fedcba9876543210fedcba9876543210\n");
        vm.run(HOUR);
        vm.start().await;
        assert_eq!(code(&try_reconcile(&vm).await.unwrap_err()), "identity_changed");
        assert_eq!(vm.ask(ADOPTED).await, 0);
    });
}

#[test]
fn r5_a_changed_price_is_settled_by_no_release() {
    run(async {
        let vm = linked_as_single_writer(CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        tamper(
            &vm,
            "UPDATE usage_record SET held_code = 'segment_changed', held_because = 'the price changed' WHERE meter = 'api_credits'",
        )
        .await;
        // Nor does a comparison take over what stands above it.
        vm.write_behind(&vm.demo.item_api, 40, own_timestamp(&vm)).await;
        assert_eq!(line(&vm, "open").await.cause, Cause::AnotherWriter);
        assert_eq!(vm.ask(ADOPTED).await, 0);
        for adopt in [true, false] {
            assert_eq!(code(&release(&vm, adopt).await.unwrap_err()), "segment_changed");
        }
        let found = line(&vm, "open").await;
        assert!(found.needs_someone && found.held.is_some());
        assert!(found.hint.unwrap().contains("usagectl link"));
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code = 'segment_changed'").await, 1);
    });
}

#[test]
fn s7_a_meters_period_that_is_over_can_be_released_while_it_takes_totals() {
    run(async {
        let vm = linked().await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        tamper(
            &vm,
            r#"UPDATE usage_record SET state = 'ending', held_code = 'higher_than_caused', held_because = 'more stands',
                   channel = '{"meter":{"id":"mtr_1","event_name":"e","customer_key":"c","value_key":"v","formula":"last"}}'
               WHERE meter = 'api_credits'"#,
        )
        .await;
        // It is found, and read; this account has no such meter.
        let error = release(&vm, true).await.unwrap_err();
        assert!(matches!(error, JobError::Provider(_)), "{error}");
        tamper(&vm, r#"UPDATE usage_record SET channel = '"usage_records"'"#).await;
        assert_eq!(code(&release(&vm, true).await.unwrap_err()), "not_held", "nothing is sent for it any more");
    });
}

#[test]
fn s4_what_stood_before_a_restored_ledger_knew_the_period_is_held_and_explained() {
    run(async {
        let mut vm = linked_at("2026-11-30T20:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        let copy = vm.snapshot().await;
        vm.run(4 * HOUR + 10 * MINUTE);
        settle(&vm).await;
        vm.record("in-december", 6).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 6);
        vm.run(HOUR);
        vm.restore(&copy).await;
        let found = line(&vm, "open").await;
        assert_eq!((found.cause, found.noted, found.stands), (Cause::OlderLedger, None, Some(6)), "{}", found.why);
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code = 'something_stands'").await, 1);
        settle(&vm).await;
        assert_eq!(vm.stands(&vm.demo.item_api), 6);
        vm.assert_books().await;
    });
}
