//! Rule S13: what is certified before a VM is deleted, and what is not.

use std::sync::Arc;

use usaged::config::{Config, ProviderKind};
use usaged::jobs::{self, JobError, Running, Settings};
use usaged::model::Source;
use usaged::provider::Provider;
use usaged::sandbox::{Effect, Fault};
use usaged::store::StoreError;
use usaged::wire::{DrainLine, DrainReport};

use super::closing::code;
use super::vm::{HOUR, MINUTE, SECOND, SUMMARIES, USAGE, Vm, linked_at, polled, run, settle};

const ALL_BILLED: &str = "compute_hours = 0, api_credits = 0";
const CREDITS_ONLY: &str = "compute_hours = 1000, api_credits = 0";

async fn try_drain(vm: &Vm) -> Result<DrainReport, JobError> {
    jobs::drain(vm.context(), "uid:0").await
}

async fn drain(vm: &Vm) -> DrainReport {
    try_drain(vm).await.unwrap()
}

/// It is refused, this is said, and the VM goes on as before.
async fn is_refused(vm: &Vm, why: &str) -> DrainReport {
    let report = drain(vm).await;
    assert!(!report.certified && report.intake_open, "{report:#?}");
    let whys = report.lines.iter().filter_map(|line| line.why.as_ref());
    let said: Vec<&String> = whys.chain(&report.missing).collect();
    assert!(said.iter().any(|said| said.contains(why)), "{why:?} is not in {said:#?}");
    vm.record(&format!("after-{why}"), 1).await;
    assert!(!codes(vm).await.contains(&"drained".to_owned()));
    report
}

fn credits(report: &DrainReport) -> &DrainLine {
    report.lines.iter().rfind(|line| line.meter == "api_credits").unwrap()
}

async fn codes(vm: &Vm) -> Vec<String> {
    let running = Running {
        since: vm.now(),
        sandbox: true,
        next_push: None,
        next_reconcile: None,
        next_compact: None,
        next_look: None,
        paths: usaged::wire::PathsStatus::default(),
    };
    let status = jobs::status(vm.context(), running).await.unwrap();
    status.problems.into_iter().map(|problem| problem.code).collect()
}

fn reload(vm: &Vm, edit: impl FnOnce(&mut Config)) {
    let mut config = vm.context().settings().config.clone();
    edit(&mut config);
    let provider = Provider::new(&config.provider).unwrap_or(Provider::None);
    vm.context().replace_settings(Settings { config, provider });
}

#[test]
fn s13_a_drain_sends_everything_reads_it_back_and_certifies_it() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", ALL_BILLED).await;
        vm.record("a", 7).await;
        vm.run(2 * HOUR + 30 * MINUTE);
        let report = drain(&vm).await;
        assert!(report.certified && !report.intake_open && report.missing.is_empty(), "{report:#?}");
        assert_eq!(report.until, vm.now().to_string());
        let stands = report.lines.iter().map(|line| (&*line.meter, line.target, line.stands, line.certified));
        let mut stands: Vec<_> = stands.collect();
        stands.sort_unstable();
        assert_eq!(stands, [("api_credits", 7, Some(7), true), ("compute_hours", 2, Some(2), true)]);
        assert_eq!((vm.stands(&vm.demo.item_api), vm.stands(&vm.demo.item_compute)), (7, 2));
        let hours = report.lines.iter().find(|line| line.meter == "compute_hours").unwrap();
        assert_eq!(hours.part_of_a_unit.as_deref(), Some("0.5"), "half an hour is not a whole one yet");
        assert_eq!(credits(&report).part_of_a_unit, None);
        assert_eq!(vm.ask("SELECT count(*) FROM audit WHERE action = 'drain' AND actor = 'uid:0'").await, 1);
    });
}

#[test]
fn s13_after_a_certificate_records_are_turned_away_counted_nowhere_and_taken_again_after_a_restart() {
    run(async {
        let mut vm = linked_at("2026-11-24T12:00:00Z", ALL_BILLED).await;
        vm.record("a", 7).await;
        assert!(drain(&vm).await.certified);
        for _ in 0..2 {
            let late = vm.try_record("late", 5).await.unwrap_err();
            assert!(matches!(late, JobError::Store(StoreError::Draining)), "{late}");
            assert_eq!(vm.ask("SELECT count(*) FROM credit").await, 1);
            assert!(codes(&vm).await.contains(&"drained".to_owned()));
            let again = drain(&vm).await;
            assert!(again.certified && credits(&again).stands == Some(7), "{again:#?}");
        }
        // The VM is not deleted after all: what it uses is measured and billed as before.
        vm.run(HOUR);
        vm.push().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.stands(&vm.demo.item_compute)), (7, 1));
        vm.stripe.fault(Fault::next(Effect::Unauthorized).times(1_000));
        let failed = drain(&vm).await;
        assert!(!failed.certified && !failed.intake_open, "nothing comes after a certificate: {failed:#?}");
        vm.stripe.clear_faults();
        vm.kill();
        vm.start().await;
        vm.record("late", 5).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), codes(&vm).await), (12, vec![]));
    });
}

#[test]
fn s13_what_is_acknowledged_while_a_drain_runs_is_in_its_certificate() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        let (mut taken, mut turned_away) = (0, 0);
        let mut draining = Box::pin(drain(&vm));
        let report = loop {
            tokio::select! {
                biased;
                report = &mut draining => break report,
                () = tokio::task::yield_now() => {}
            }
            match vm.try_record(&format!("{taken}-{turned_away}"), 1).await {
                Ok(_) => taken += 1,
                Err(_) => turned_away += 1,
            }
        };
        assert!(report.certified && turned_away > 0, "{report:#?}");
        assert_eq!((credits(&report).stands, vm.stands(&vm.demo.item_api)), (Some(taken), taken));
    });
}

#[test]
fn s13_what_the_provider_does_not_take_is_not_certified_and_records_are_taken_again() {
    let limited = || Effect::RateLimited { reason: "global-rate".into(), retry_after: Some(30) };
    for (fault, why) in [
        (Fault::next(Effect::CutBeforeCommit).on("POST", USAGE), "0 stands, 7 should"),
        (Fault::next(limited()).on("POST", USAGE), "0 stands, 7 should"),
        (Fault::next(Effect::Unauthorized).on("POST", USAGE), "0 stands, 7 should"),
        (Fault::next(limited()), "what stands cannot be read"),
        (Fault::next(Effect::Unauthorized), "what stands cannot be read"),
        (Fault::next(Effect::Html), "what stands cannot be read"),
    ] {
        run(async {
            let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
            vm.record("a", 7).await;
            vm.stripe.fault(fault.times(1_000));
            is_refused(&vm, why).await;
            vm.stripe.clear_faults();
            let report = drain(&vm).await;
            assert!(report.certified && credits(&report).stands == Some(8), "{report:#?}");
            assert_eq!(vm.stands(&vm.demo.item_api), 8);
        });
    }
}

#[test]
fn s13_a_lost_answer_is_no_obstacle_where_what_stands_can_be_read() {
    for (effect, times) in [(Effect::CutBeforeCommit, 1), (Effect::CutAfterCommit, 1_000), (Effect::TruncatedJson, 1)] {
        run(async {
            let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
            vm.record("a", 7).await;
            vm.stripe.fault(Fault::next(effect).on("POST", USAGE).times(times));
            let report = drain(&vm).await;
            assert!(report.certified && credits(&report).stands == Some(7), "{report:#?}");
        });
    }
}

#[test]
fn s13_what_is_not_read_back_is_not_certified_although_it_was_accepted() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        // Each item is read once before the push.
        vm.stripe.fault(Fault::next(Effect::None).on("GET", SUMMARIES).times(2));
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("GET", SUMMARIES).times(1_000));
        let report = is_refused(&vm, "what stands cannot be read").await;
        assert_eq!((credits(&report).stands, vm.stands(&vm.demo.item_api)), (None, 7));
    });
}

#[test]
fn s13_units_of_another_writer_are_found_and_not_certified() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 5, period.from.secs() + 60).await;
        let report = is_refused(&vm, "held: 12 units stand there and this ledger caused at most 7").await;
        assert_eq!((credits(&report).target, credits(&report).stands), (7, Some(12)));
        assert!(codes(&vm).await.contains(&"held_higher_than_caused".to_owned()));
        is_refused(&vm, "held: 12 units").await;
    });
}

#[test]
fn s5_less_than_was_noted_is_set_again_by_a_drain() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 2, period.from.secs() + 1).await;
        assert!(drain(&vm).await.certified);
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
    });
}

#[test]
fn s13_an_ended_period_is_certified_only_once_it_is_closed() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        vm.run(2 * HOUR + MINUTE);
        let report = is_refused(&vm, "the period is over, and not closed").await;
        assert_eq!(report.lines.iter().filter(|line| line.state == "ending").count(), 2);
        vm.run(4 * MINUTE);
        let report = drain(&vm).await;
        assert!(report.certified, "{report:#?}");
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), credits(&report).stands), (vec![7], Some(1)));
    });
}

#[test]
fn s13_a_carry_that_no_period_takes_is_named() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 5).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 3).await;
        settle(&vm).await;
        assert!(drain(&vm).await.certified, "what December took is in its total");
        let untaken = "UPDATE carry SET to_record = NULL";
        let dearer = "UPDATE usage_record SET unit_amount = '999' WHERE state = 'open'";
        let spoil = move |tx: &usaged::store::Tx<'_>| {
            tx.execute(untaken, [])?;
            Ok::<_, StoreError>(tx.execute(dearer, [])?)
        };
        vm.context().store.write(spoil).await.unwrap();
        let report = drain(&vm).await;
        assert!(!report.certified);
        assert_eq!(
            report.missing,
            [
                "api_credits: 3 units wait for a later period, which a deleted VM does not have: the open period's price is dearer than the one it was used at"
            ]
        );
    });
}

#[test]
fn s13_a_credit_due_and_units_that_were_neither_billed_nor_carried_are_named() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("big", 10).await;
        vm.push().await.unwrap();
        vm.run(3 * HOUR);
        settle(&vm).await;
        let hold =
            "UPDATE usage_record SET standing = 6, held_units = 4 WHERE state = 'closed' AND meter = 'api_credits'";
        vm.context().store.write(move |tx| Ok::<_, StoreError>(tx.execute(hold, [])?)).await.unwrap();
        is_refused(&vm, "4 units on").await;
        vm.void("big").await;
        let report = is_refused(&vm, "6 units too many were billed").await;
        assert!(report.lines.iter().all(|line| line.certified), "{report:#?}");
        assert!(report.missing.iter().all(|missing| !missing.contains("4 units on")), "r6: held units fall first");
    });
}

#[test]
fn s13_a_period_that_the_provider_has_not_told_leaves_usage_in_no_total() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.stripe.fault(Fault::next(Effect::Html).on("GET", "/v1/subscriptions/*").times(1_000));
        vm.run(2 * HOUR + MINUTE);
        is_refused(&vm, "the provider has told no current period").await;
    });
}

#[test]
fn m5_what_waits_for_a_trusted_clock_is_placed_by_the_first_answer_or_not_certified() {
    for away in [false, true] {
        run(async {
            let mut vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
            vm.reboot(HOUR).await;
            vm.record("before-anybody-told-the-time", 6).await;
            vm.run(SECOND);
            if away {
                vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).times(1_000));
                is_refused(&vm, "api_credits: what was used lately waits").await;
            } else {
                let report = drain(&vm).await;
                assert!(report.certified && credits(&report).stands == Some(6), "{report:#?}");
            }
        });
    }
}

#[test]
fn s13_a_total_that_was_given_up_and_may_arrive_late_is_waited_for() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 90).await;
        vm.record("b", 10).await;
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("POST", USAGE));
        vm.push().await.unwrap();
        vm.void("b").await;
        is_refused(&vm, "may still arrive").await;
        vm.run(3 * HOUR);
        assert!(drain(&vm).await.certified);
        assert_eq!(vm.stands(&vm.demo.item_api), 91);
    });
}

#[test]
fn s13_what_is_not_rated_measured_or_its_own_is_not_certified() {
    run(async {
        let mut vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        let plans = vm.context().settings().config.plans.clone();
        reload(&vm, |config| config.plans.clear());
        is_refused(&vm, "the plan pro is linked and not configured").await;
        reload(&vm, |config| config.plans = plans);
        let gone = Source::Cgroup { path: "system.slice/gone.service".into() };
        let compute = |config: &mut Config, source: Source| {
            config.meters.get_mut(&"compute_hours".parse().unwrap()).unwrap().source = source;
        };
        reload(&vm, |config| compute(config, gone));
        is_refused(&vm, "compute_hours is not measured").await;
        reload(&vm, |config| compute(config, Source::Uptime));
        assert!(drain(&vm).await.certified);
        vm.kill();
        vm.write("etc/machine-id", "fedcba9876543210fedcba9876543210\n");
        vm.start().await;
        is_refused(&vm, "made on another machine").await;
    });
}

#[test]
fn s13_a_vm_that_bills_nothing_says_so_and_one_that_should_is_refused() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.start().await;
        assert_eq!(code(&try_drain(&vm).await.unwrap_err()), "not_linked");
        vm.record("a", 1).await;
        reload(&vm, |config| config.provider.key = None);
        assert_eq!(code(&try_drain(&vm).await.unwrap_err()), "no_provider");
        vm.record("b", 1).await;
        reload(&vm, |config| config.provider.kind = ProviderKind::None);
        let report = drain(&vm).await;
        assert!(report.certified && report.lines.is_empty(), "{report:#?}");
        assert_eq!(report.notes, ["nothing is billed here: no provider is configured"]);
    });
}

#[test]
fn s13_a_linked_vm_whose_provider_was_taken_away_is_not_certified() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        reload(&vm, |config| config.provider.kind = ProviderKind::None);
        is_refused(&vm, "no billing provider is configured").await;
    });
}

#[test]
fn s13_a_drain_that_is_cut_off_anywhere_leaves_the_intake_open_and_a_ledger_that_drains() {
    for restarts in [false, true] {
        for polls in 0.. {
            let mut finished = false;
            run(async {
                let mut vm = linked_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
                vm.record("a", 7).await;
                let context = Arc::clone(vm.context());
                finished = polled(Box::pin(jobs::drain(&context, "uid:0")), polls).await.is_some();
                drop(context);
                if finished {
                    return;
                }
                if restarts {
                    vm.kill();
                    vm.start().await;
                }
                vm.record("b", 2).await;
                let report = drain(&vm).await;
                assert!(report.certified, "cut off after {polls} polls: {report:#?}");
                assert_eq!(vm.stands(&vm.demo.item_api), 9, "cut off after {polls} polls");
            });
            if finished {
                assert!(polls > 10, "it was cut off nowhere of interest");
                break;
            }
        }
    }
}
