//! A damaged ledger: whatever page is torn, what stands is neither lowered nor ever more than what is owed, by every way of
//! billing (rules S4, S5, S10, S11, R7).

use usaged::jobs;
use usaged::ledger::credits::Verdict;
use usaged::model::{Problem, Timestamp};
use usaged::sandbox::lemon_squeezy::{Behaviour, Zero};
use usaged::wire::LinkRequest;

use super::torn::tear;
use super::vm::{Billing, DAY, HOUR, METERS, MINUTE, SECOND, Vm, linked_at, run, settle};

const STARTED: &str = "2026-11-01T00:00:00Z";

/// What is owed, as far as it is known to this test alone.
struct Owed {
    credits: i64,
}

impl Owed {
    /// 10 credits are included; every hour since the start is billed.
    fn credits(&self) -> i64 {
        (self.credits - 10).max(0)
    }
}

async fn booted(billing: Billing, single_writer: bool) -> Vm {
    let mut vm = Vm::booted_by(billing, STARTED, "compute_hours = 0, api_credits = 10").await;
    if let Some(lemon) = &vm.lemon {
        lemon.behave(Behaviour { zero: Zero::Accepted, ..lemon.behaviour().unwrap() }).unwrap();
    }
    vm.start().await;
    vm.run(90 * SECOND);
    vm.try_link(LinkRequest { single_writer, ..LinkRequest::default() }).await.unwrap();
    vm.sample().await;
    vm
}

/// A day and a half of use, pushed now and then; all of it stands at its end.
async fn used(vm: &Vm) -> Owed {
    let mut owed = Owed { credits: 0 };
    for n in 0..6 {
        vm.run(6 * HOUR + 24 * MINUTE);
        vm.record(&format!("order-{n}"), 7).await;
        owed.credits += 7;
        vm.sample().await;
        vm.push_now().await.unwrap();
    }
    assert_eq!((vm.stands(&vm.demo.item_api), vm.stands(&vm.demo.item_compute)), (owed.credits(), 38));
    owed
}

/// Hours since the VM was booted.
fn hours(vm: &Vm) -> i64 {
    vm.now().since(Timestamp::parse(STARTED).unwrap()).div_euclid(HOUR)
}

/// Goes on for a day after the damage; what stands is looked at after every push. Returns whether all of it is billed.
async fn goes_on(vm: &Vm, owed: &mut Owed, what: &str) -> bool {
    let (api, compute) = (vm.demo.item_api.clone(), vm.demo.item_compute.clone());
    let mut stood = (vm.stands(&api), vm.stands(&compute));
    for n in 0..6 {
        vm.sample().await;
        // Whatever cannot be sent is held, and said so.
        vm.push_now().await.unwrap();
        let stands = (vm.stands(&api), vm.stands(&compute));
        assert!(stands.0 >= stood.0 && stands.1 >= stood.1, "{what}: {stood:?} stood and was lowered to {stands:?}");
        let most = (owed.credits(), hours(vm));
        assert!(stands.0 <= most.0 && stands.1 <= most.1, "{what}: {stands:?} stand, at most {most:?} are owed");
        stood = stands;
        vm.run(4 * HOUR + 24 * MINUTE);
        assert_eq!(vm.record(&format!("later-{n}"), 3).await, Verdict::Accepted, "{what}");
        owed.credits += 3;
    }
    vm.push_now().await.unwrap();
    vm.assert_books().await;
    (vm.stands(&api), vm.stands(&compute)) == (owed.credits(), hours(vm))
}

/// Tears these tables, goes on, and says whether all of it is billed, and what status says.
async fn torn(billing: Billing, single_writer: bool, tables: &[&str]) -> (bool, Vec<Problem>) {
    let mut vm = booted(billing, single_writer).await;
    let mut owed = used(&vm).await;
    vm.damage(|path| tables.iter().for_each(|table| tear(path, table))).await;
    let what = format!("{billing:?}, {tables:?}");
    let again = vm.record("order-3", 7).await;
    assert_eq!(again, Verdict::Duplicate, "{what}: it was acknowledged before");
    let is_all = goes_on(&vm, &mut owed, &what).await;
    (is_all, vm.problems().await)
}

fn by_every_way(test: impl AsyncFn(Billing)) {
    for billing in [Billing::UsageRecords, Billing::LemonSqueezy].into_iter().chain(METERS) {
        run(test(billing));
    }
}

fn codes(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| &*problem.code).collect()
}

/// What is lost with these is in what remains.
const MADE_GOOD: [&[&str]; 3] = [
    &["bucket"],
    &["credit", "meter", "reading", "round", "generation", "delivery"],
    &[
        "audit",
        "boundary",
        "carry",
        "coverage",
        "credit_due",
        "day_share",
        "job_run",
        "segment",
        "subscription",
        "unplaced",
        "unseen",
        "void",
        "waiting_since",
    ],
];

#[test]
fn s5_what_is_lost_of_usage_and_of_what_was_sent_is_made_good_by_what_remains() {
    for tables in MADE_GOOD {
        by_every_way(async |billing| {
            let (is_all, problems) = torn(billing, false, tables).await;
            assert!(is_all, "{billing:?}, {tables:?}: {problems:#?}");
            assert_eq!(codes(&problems), ["ledger_recovered"], "{billing:?}, {tables:?}: {problems:#?}");
        });
    }
}

#[test]
fn s5_totals_that_are_lost_are_found_again_or_wait_for_a_person() {
    by_every_way(async |billing| {
        let (is_all, problems) = torn(billing, true, &["usage_record", "delivery"]).await;
        assert!(is_all, "{billing:?}: {problems:#?}");
        let (is_all, problems) = torn(billing, false, &["usage_record"]).await;
        assert!(!is_all && codes(&problems).contains(&"held_higher_than_caused"), "{billing:?}: {problems:#?}");
    });
}

#[test]
fn s5_with_totals_and_usage_lost_nothing_is_lowered_and_nothing_billed_twice() {
    by_every_way(async |billing| {
        for single_writer in [true, false] {
            let (_, problems) = torn(billing, single_writer, &["usage_record", "bucket", "delivery", "carry"]).await;
            assert!(codes(&problems).contains(&"ledger_recovered"), "{billing:?}: {problems:#?}");
        }
    });
}

#[test]
fn r1_without_its_link_nothing_is_sent_until_it_is_linked_again() {
    by_every_way(async |billing| {
        for tables in [&["link", "item", "usage_record"][..], &["item"]] {
            let (is_all, problems) = torn(billing, true, tables).await;
            assert!(!is_all, "{billing:?}, {tables:?}");
            let recovered = problems.iter().find(|problem| problem.code == "ledger_recovered").unwrap();
            assert!(recovered.hint.contains("usagectl link"), "{recovered:?}");
            // A plan that is gone may have included more than what is left of them.
            let is_held = codes(&problems).contains(&"held_ledger_damaged");
            assert_eq!(is_held, !tables.contains(&"usage_record"), "{billing:?}, {tables:?}: {problems:#?}");
        }
    });
}

#[test]
fn s11_a_ledger_that_lost_whose_it_is_waits_for_somebody_to_say_so() {
    by_every_way(async |billing| {
        let (is_all, problems) = torn(billing, true, &["meta"]).await;
        assert!(!is_all && codes(&problems).contains(&"identity_changed"), "{billing:?}: {problems:#?}");
    });
}

/// Three credits of November are billed in December, as carried units, beside four of December's own.
async fn carried() -> Vm {
    let vm = linked_at("2026-11-30T22:00:00Z", "compute_hours = 1000, api_credits = 0").await;
    vm.record("early", 5).await;
    vm.push().await.unwrap();
    vm.run(HOUR + 58 * MINUTE);
    vm.record("late", 3).await;
    settle(&vm).await;
    vm.run(HOUR);
    vm.record("december", 4).await;
    vm.push_now().await.unwrap();
    assert_eq!(vm.stands(&vm.demo.item_api), 7);
    vm
}

#[test]
fn r6_what_was_carried_is_neither_lowered_nor_carried_again() {
    for tables in [&["carry"][..], &["carry", "bucket"], &["usage_record"], &["usage_record", "carry", "delivery"]] {
        for next_period in [false, true] {
            run(async {
                let mut vm = carried().await;
                if next_period {
                    vm.run(31 * DAY);
                    settle(&vm).await;
                }
                let december = 7;
                vm.damage(|path| tables.iter().for_each(|table| tear(path, table))).await;
                for n in 0..6 {
                    vm.run(3 * HOUR);
                    vm.record(&format!("later-{n}"), 1).await;
                    vm.push_now().await.unwrap();
                }
                settle(&vm).await;
                let what = format!("{tables:?}, in the next period: {next_period}");
                let stands = vm.stands(&vm.demo.item_api);
                let (least, most) = if next_period { (0, 6) } else { (december, december + 6) };
                assert!(least <= stands && stands <= most, "{what}: {stands} stand");
                if !tables.contains(&"usage_record") {
                    assert_eq!(stands, most, "{what}");
                    assert_eq!(codes(&vm.problems().await), ["ledger_recovered"], "{what}");
                }
                if next_period {
                    assert_eq!(vm.invoiced_units(&vm.demo.item_api), [5, december], "{what}");
                }
                assert_eq!(vm.ask("SELECT ifnull(sum(units), 0) FROM credit_due").await, 0, "{what}");
                vm.assert_books().await;
            });
        }
    }
}

#[test]
fn a_page_that_nobody_reads_is_found_torn_by_the_daily_look() {
    run(async {
        let vm = booted(Billing::UsageRecords, false).await;
        used(&vm).await;
        vm.context().store.checkpoint().await.unwrap();
        jobs::compact(vm.context(), "schedule").await.unwrap();
        let damage = vm.context().store.damage();
        assert_eq!(*damage.borrow(), None);
        tear(vm.context().store.path(), "void");
        vm.context().store.checkpoint().await.unwrap();
        drop(jobs::compact(vm.context(), "schedule").await);
        assert!(damage.borrow().is_some());
        assert!(vm.try_record("refused", 1).await.unwrap_err().to_string().contains("usage.db is damaged"));
    });
}

#[test]
fn m9_what_is_taken_back_after_a_recovery_is_taken_off_what_was_made_good() {
    by_every_way(async |billing| {
        let mut vm = booted(billing, false).await;
        let owed = used(&vm).await;
        vm.damage(|path| tear(path, "bucket")).await;
        vm.void("order-2").await;
        for _ in 0..3 {
            vm.run(MINUTE);
            vm.push_now().await.unwrap();
        }
        assert_eq!(vm.stands(&vm.demo.item_api), owed.credits() - 7, "{billing:?}");
        vm.assert_books().await;
    });
}
