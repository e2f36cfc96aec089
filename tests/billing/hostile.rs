//! Sequences that somebody who wants a wrong bill would try.

use usaged::config::Config;
use usaged::jobs::{self, Running, Settings};
use usaged::ledger::credits::{NewCredit, Verdict};
use usaged::model::{Included, Micros, Report, SourceName, Timestamp};
use usaged::provider::Provider;
use usaged::sandbox::{Effect, Fault};
use usaged::store::StoreError;
use usaged::wire::{LinkRequest, ReleaseRequest, Status, SyncRequest};

use super::vm::{DAY, HOUR, MINUTE, SECOND, SUMMARIES, USAGE, Vm, linked_at, run, settle};

const CREDITS_ONLY: &str = "compute_hours = 1000, api_credits = 0";
const CREDIT_DUE: &str = "SELECT ifnull(sum(units), 0) FROM credit_due";

pub(crate) async fn status(vm: &Vm) -> Status {
    let running = Running {
        since: vm.now(),
        sandbox: true,
        next_push: None,
        next_reconcile: None,
        next_compact: None,
        next_look: None,
        paths: usaged::wire::PathsStatus::default(),
    };
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
fn status_keeps_when_a_total_was_last_accepted_while_later_ones_are_not() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        assert_eq!(status(&vm).await.push.last_accepted_at, None);
        vm.record("a", 7).await;
        vm.push().await.unwrap();
        let accepted = status(&vm).await.push.last_accepted_at;
        assert_eq!(accepted, Some(vm.now().to_string()));
        vm.run(HOUR);
        vm.record("b", 7).await;
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("POST", USAGE));
        vm.push().await.unwrap();
        let push = status(&vm).await.push;
        assert_eq!((push.last_outcome.as_deref(), push.last_accepted_at), (Some("unknown"), accepted));
        assert_eq!(status(&vm).await.sample_every_s, 60);
    });
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
fn s11_a_retry_that_waits_for_an_identity_does_not_spin() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.record("a", 3).await;
        let limited = Effect::RateLimited { reason: "global-rate".into(), retry_after: Some(5) };
        vm.stripe.fault(Fault::next(limited).on("POST", USAGE));
        vm.push().await.unwrap();
        vm.kill();
        vm.write("etc/machine-id", "fedcba9876543210fedcba9876543210\n");
        vm.start().await;
        vm.run(10 * SECOND);
        let pushed = vm.push().await.unwrap();
        assert!(pushed.next.unwrap() > vm.now().plus(MINUTE), "wakes at {:?}, it is {}", pushed.next, vm.now());
        let request = SyncRequest { commit: true, ..SyncRequest::default() };
        let report = jobs::sync(vm.context(), &request).await.unwrap();
        let line = report.lines.iter().find(|line| line.meter == "api_credits").unwrap();
        assert!(line.why.contains("another machine"), "{}: {}", line.action, line.why);
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
fn a_refusal_of_one_item_is_not_forgotten_because_another_was_accepted() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", "compute_hours = 0, api_credits = 0").await;
        vm.push().await.unwrap();
        vm.record("a", 3).await;
        vm.run(2 * HOUR);
        let api = format!("/v1/subscription_items/{}/usage_records", vm.demo.item_api);
        vm.stripe.fault(Fault::next(Effect::Unauthorized).on("POST", &api).times(50));
        vm.push_now().await.unwrap();
        // The other one alone.
        let compute = SyncRequest { commit: true, subscription_item: Some(vm.demo.item_compute.clone()), month: None };
        vm.run(2 * HOUR);
        jobs::sync(vm.context(), &compute).await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 4);
        assert!(problem_codes(&vm).await.contains(&"push_refused".to_owned()));
        // What was refused is taken back: nothing is left that could be refused.
        vm.void("a").await;
        vm.push_now().await.unwrap();
        assert_eq!(problem_codes(&vm).await, Vec::<String>::new());
    });
}

#[test]
fn s5_a_release_gives_up_what_was_in_flight() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.record("a", 40).await;
        vm.stripe.fault(Fault::next(Effect::CutAfterCommit).on("POST", USAGE));
        vm.push().await.unwrap();
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 90, period.from.secs() + 1).await;
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await, 1);
        release(&vm, false).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 40, "overwritten, as was asked for");
    });
}

#[test]
fn s5_overwriting_what_stands_at_another_timestamp_is_read_back_and_adopting_settles_it() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 9).await;
        vm.push().await.unwrap();
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 5, period.from.secs() + 60).await;
        vm.void("a").await;
        vm.record("b", 4).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code = 'higher_than_caused'").await, 1);
        release(&vm, false).await;
        vm.push_now().await.unwrap();
        // 4 are ours, and 5 lie where no set of ours reaches: the ledger must not believe that 4 stand.
        assert_eq!(vm.stands(&vm.demo.item_api), 9);
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code = 'probe_unclear'").await, 1);
        release(&vm, true).await;
        vm.push_now().await.unwrap();
        assert_eq!(
            vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await,
            0,
            "there is a way out"
        );
        vm.record("c", 2).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 11);
    });
}

#[test]
fn s5_an_unclear_probe_has_a_way_out() {
    for adopt in [true, false] {
        run(async {
            let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
            vm.start().await;
            vm.run(HOUR);
            let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
            vm.write_behind(&vm.demo.item_api, 50, period.from.secs() + 600).await;
            vm.try_link(LinkRequest { on_top: true, ..LinkRequest::default() }).await.unwrap();
            // Another one comes between the link and the first push.
            vm.record("a", 3).await;
            vm.write_behind(&vm.demo.item_api, 7, period.from.secs() + 900).await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 60);
            assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code = 'probe_unclear'").await, 1);
            release(&vm, adopt).await;
            vm.push_now().await.unwrap();
            if !adopt {
                // Nothing of ours can lower what stands elsewhere, so it is held again; adopting ends it.
                release(&vm, true).await;
                vm.push_now().await.unwrap();
            }
            assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE held_code IS NOT NULL").await, 0, "{adopt}");
            assert_eq!(vm.stands(&vm.demo.item_api), 60);
            vm.record("b", 4).await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 64, "adopt {adopt}");
        });
    }
}

#[test]
fn r1_a_link_that_begins_later_can_be_replaced_before_it_does() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 3).await;
        vm.push().await.unwrap();
        vm.try_link(LinkRequest { from_next_period: true, ..LinkRequest::default() }).await.unwrap();
        vm.run(HOUR);
        vm.link().await;
        vm.record("b", 4).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 7);
    });
}

#[test]
fn r1_usage_before_a_link_that_begins_later_is_still_billed_by_the_one_before() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        let first = vm.demo.clone();
        // A second customer whose month ends ten days after the first one's.
        vm.run(10 * DAY);
        second_customer(&mut vm).await;
        vm.try_link(LinkRequest { from_next_period: true, ..LinkRequest::default() }).await.unwrap();
        let december = Timestamp::parse("2026-12-11T00:00:00Z").unwrap();
        while vm.now() < december {
            vm.run(DAY);
            vm.push_now().await.unwrap();
        }
        settle(&vm).await;
        vm.record("of-the-first", 5).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stripe.total(&first.item_api, vm.now()).unwrap(), 5);
        assert_eq!(vm.stands(&vm.demo.item_api), 0);
    });
}

/// From here on `vm.demo` is another customer's.
async fn second_customer(vm: &mut Vm) {
    let customer = vm.operate("/v1/customers", &[("name", "Second"), ("payment_method", "pm_card_visa")]).await;
    another_subscription(vm, customer["id"].as_str().unwrap()).await;
}

/// From here on `vm.demo` is another subscription.
async fn another_subscription(vm: &mut Vm, customer: &str) {
    let form = [
        ("customer", customer),
        ("items[0][price]", &vm.demo.prices["price_pro_monthly"]),
        ("items[1][price]", &vm.demo.prices["price_compute_overage_pro"]),
        ("items[2][price]", &vm.demo.prices["price_api_overage"]),
    ];
    let subscription = vm.operate("/v1/subscriptions", &form).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    customer.clone_into(&mut vm.demo.customer);
    vm.demo.subscription = text(&subscription["id"]);
    vm.demo.item_compute = text(&subscription["items"]["data"][1]["id"]);
    vm.demo.item_api = text(&subscription["items"]["data"][2]["id"]);
}

#[test]
fn a_lost_answer_that_was_settled_does_not_keep_what_came_later_from_the_last_push() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 4).await;
        vm.stripe.fault(Fault::next(Effect::CutAfterCommit).on("POST", USAGE));
        vm.push().await.unwrap();
        vm.record("b", 5).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 9);
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

#[test]
fn r6_a_fall_follows_its_units_through_a_period_that_only_passed_them_on() {
    run(async {
        let mut vm = linked_at("2026-10-31T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 6).await;
        // November takes them, but nothing gets through until it is over: December has them.
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("POST", USAGE).times(1_000));
        settle(&vm).await;
        vm.kill();
        vm.run(30 * DAY);
        vm.stripe.clear_faults();
        vm.start().await;
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![0, 0], 6));
        vm.void("late").await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.ask(CREDIT_DUE).await), (0, 0));
        vm.assert_books().await;
    });
}

#[test]
fn an_item_that_is_gone_when_its_period_is_closed_does_not_stay_open_for_ever() {
    run(async {
        let mut vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 4).await;
        vm.push().await.unwrap();
        vm.record("b", 5).await;
        vm.kill();
        vm.run(3 * HOUR);
        let path = format!("/v1/subscription_items/{}", vm.demo.item_api);
        vm.take_away(&path).await;
        vm.start().await;
        settle(&vm).await;
        settle(&vm).await;
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE state = 'ending'").await, 0);
        // The five that were not sent are listed, and carried nowhere.
        assert_eq!(vm.ask("SELECT sum(held_units) FROM usage_record").await, 5);
        let codes = problem_codes(&vm).await;
        assert!(
            codes.contains(&"units_held".to_owned()) && !codes.contains(&"period_unreadable".to_owned()),
            "{codes:?}"
        );
        vm.assert_books().await;
    });
}

#[test]
fn r4_a_change_to_a_plan_without_an_end_holds_for_the_whole_period() {
    run(async {
        let plans = "compute_hours = 0, api_credits = 0 }\n[plans.enterprise]\nincluded = { api_credits = 0";
        let vm = linked_at("2026-11-10T12:00:00Z", plans).await;
        vm.run(3 * HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 3);
        let enterprise = LinkRequest { plan: Some("enterprise".into()), ..LinkRequest::default() };
        vm.try_link(enterprise).await.unwrap();
        vm.run(HOUR);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 0);
    });
}

#[test]
fn a_meter_that_overflows_does_not_stop_the_others() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", "compute_hours = 0, api_credits = 0").await;
        vm.push().await.unwrap();
        let fill = "INSERT INTO bucket (meter_id, from_us, width_us, quantity)
                    SELECT meter.id, at, 1, 9223372036854775807 FROM meter, (SELECT from_us + 3600000000 AS at FROM link UNION
                    SELECT from_us + 3600000001 FROM link) WHERE meter.name = 'api_credits'";
        vm.context().store.write(move |tx| Ok::<_, StoreError>(tx.execute(fill, [])?)).await.unwrap();
        vm.run(2 * HOUR);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 2);
        assert!(vm.context().problems().iter().any(|problem| problem.what.contains("cannot be rated")));
    });
}

/// The configuration in force is edited and reloaded.
fn reload(vm: &Vm, edit: impl FnOnce(&mut Config)) {
    let mut config = vm.context().settings().config.clone();
    edit(&mut config);
    let provider = Provider::new(&config.provider).unwrap();
    vm.context().replace_settings(Settings { config, provider });
}

async fn record_at(vm: &Vm, id: &str, credits: i64, at: Timestamp) -> Verdict {
    let credit = NewCredit {
        meter: "api_credits".parse().unwrap(),
        source: SourceName::of_uid(1_000),
        id: id.to_owned(),
        quantity: Micros::from_units(credits).unwrap(),
        at: Some(at),
        uid: 1_000,
    };
    jobs::record(vm.context(), vec![credit]).await.unwrap().remove(0)
}

#[test]
fn a_request_that_arrives_after_it_was_given_up_is_found_and_set_right() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 90).await;
        vm.record("b", 10).await;
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("POST", USAGE));
        vm.push().await.unwrap();
        vm.void("b").await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 90);
        // The hundred were on their way all the time.
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 100, period.from.secs() + 1).await;
        vm.run(HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 90);
        // And then it is good: a quiet item is not read for ever.
        vm.run(3 * HOUR);
        vm.push().await.unwrap();
        let reads = |vm: &Vm| vm.stripe.requests().iter().filter(|r| r.path.ends_with("summaries")).count();
        let before = reads(&vm);
        vm.run(HOUR);
        vm.push().await.unwrap();
        assert_eq!(reads(&vm), before);
    });
}

#[test]
fn s2_an_attempt_that_a_kill_left_behind_never_outlives_a_fall() {
    for polls in (0..60).step_by(3) {
        run(async {
            let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
            vm.record("a", 3).await;
            vm.push().await.unwrap();
            vm.record("b", 7).await;
            vm.push_killed_after(polls).await;
            vm.void("b").await;
            vm.push_now().await.unwrap();
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 3, "killed after {polls} polls");
            assert_eq!(problem_codes(&vm).await, Vec::<String>::new(), "killed after {polls} polls");
        });
    }
}

#[test]
fn r3_an_allowance_that_is_raised_lowers_what_stands_and_a_lower_one_raises_it() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 9).await;
        vm.push().await.unwrap();
        for (included, stands) in [(5, 4), (100, 0), (2, 7)] {
            reload(&vm, |config| {
                let plan = config.plans.get_mut(&"pro".parse().unwrap()).unwrap();
                let terms = plan.meters.get_mut(&"api_credits".parse().unwrap()).unwrap();
                terms.included = Some(Included::Units(included));
            });
            vm.run(HOUR);
            vm.push().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), stands);
        }
    });
}

#[test]
fn r6_what_was_included_when_a_period_closed_stays_for_it() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 9).await;
        vm.push().await.unwrap();
        vm.run(3 * HOUR);
        settle(&vm).await;
        reload(&vm, |config| {
            let plan = config.plans.get_mut(&"pro".parse().unwrap()).unwrap();
            plan.meters.get_mut(&"api_credits".parse().unwrap()).unwrap().included = Some(Included::Units(5));
        });
        vm.push_now().await.unwrap();
        assert_eq!((vm.ask(CREDIT_DUE).await, vm.ask("SELECT count(*) FROM carry").await), (0, 0));
        vm.assert_books().await;
    });
}

#[test]
fn r6_a_gross_meter_carries_nothing_and_lists_it() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", "compute_hours = 1000, api_credits = 4").await;
        reload(&vm, |config| {
            config.meters.get_mut(&"api_credits".parse().unwrap()).unwrap().report = Report::Gross;
        });
        vm.record("a", 6).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 6);
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 3).await;
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![6], 0));
        assert_eq!(vm.ask("SELECT sum(held_units) FROM usage_record").await, 3);
        assert!(problem_codes(&vm).await.contains(&"units_held".to_owned()));
        vm.assert_books().await;
    });
}

#[test]
fn m8_a_credit_of_a_closed_period_is_billed_once_and_one_from_before_the_link_never() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        let used = vm.now();
        assert_eq!(record_at(&vm, "before", 50, used.minus(HOUR)).await, Verdict::Accepted);
        vm.record("a", 2).await;
        vm.push().await.unwrap();
        vm.run(3 * HOUR);
        settle(&vm).await;
        for _ in 0..2 {
            record_at(&vm, "late", 5, used.plus(HOUR)).await;
            record_at(&vm, "before-too", 50, used.minus(2 * HOUR)).await;
            vm.push_now().await.unwrap();
            assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![2], 5));
        }
        // Taken back, given again under another id, and the period that took it closes too.
        vm.void("late").await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 0);
        record_at(&vm, "later", 6, used.plus(HOUR)).await;
        vm.push_now().await.unwrap();
        vm.run(31 * DAY);
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![2, 6], 0));
        vm.void("later").await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.ask(CREDIT_DUE).await, 6);
        record_at(&vm, "again", 4, used.plus(HOUR)).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.ask(CREDIT_DUE).await, vm.stands(&vm.demo.item_api)), (2, 0), "the credit due pays for it");
        vm.assert_books().await;
    });
}

#[test]
fn r6_a_carry_waits_for_a_held_period_and_is_taken_once_when_it_is_released() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 3).await;
        vm.run(3 * MINUTE);
        // Somebody writes to the new period before this VM has read it.
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().into_iter().max_by_key(|total| total.from).unwrap();
        vm.write_behind(&vm.demo.item_api, 20, period.from.secs() + 60).await;
        settle(&vm).await;
        assert_eq!(vm.stands(&vm.demo.item_api), 20);
        assert!(problem_codes(&vm).await.contains(&"carry_waits".to_owned()));
        vm.record("in-december", 2).await;
        vm.push_now().await.unwrap();
        release(&vm, true).await;
        for _ in 0..3 {
            vm.run(HOUR);
            vm.push_now().await.unwrap();
        }
        assert_eq!(vm.stands(&vm.demo.item_api), 25);
        assert_eq!(problem_codes(&vm).await, Vec::<String>::new());
        vm.assert_books().await;
        // The adopted units stay what they are when that period is closed.
        vm.run(31 * DAY);
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![0, 25], 0));
        assert_eq!(vm.ask(CREDIT_DUE).await, 0);
        vm.assert_books().await;
    });
}

#[test]
fn a_key_that_is_refused_over_the_end_of_a_period_costs_nothing_and_asks_rarely() {
    run(async {
        let vm = linked_at("2026-11-30T20:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 2).await;
        vm.push().await.unwrap();
        vm.record("b", 5).await;
        vm.stripe.fault(Fault::next(Effect::Unauthorized).times(100_000));
        let mut next = vm.push().await.unwrap().next;
        let (begun, mut pushes) = (vm.now(), 0);
        while let Some(at) = next.filter(|_| vm.now().since(begun) < 12 * HOUR) {
            vm.run(at.since(vm.now()).clamp(SECOND, HOUR));
            next = jobs::push(vm.context(), "retry", jobs::Which::Due).await.unwrap().next;
            pushes += 1;
        }
        assert!(pushes < 120, "{pushes} pushes in twelve hours");
        assert!(problem_codes(&vm).await.contains(&"subscription_unreadable".to_owned()));
        vm.stripe.clear_faults();
        settle(&vm).await;
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![2], 5));
        assert_eq!(problem_codes(&vm).await, Vec::<String>::new());
        vm.assert_books().await;
    });
}

#[test]
fn a_subscription_that_is_canceled_is_held_closed_and_listed() {
    run(async {
        let vm = linked_at("2026-11-30T20:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 2).await;
        vm.push().await.unwrap();
        vm.record("b", 5).await;
        vm.run(MINUTE);
        vm.take_away(&format!("/v1/subscriptions/{}", vm.demo.subscription)).await;
        vm.push_now().await.unwrap();
        // The refusal has the subscription read, which says what it is.
        let codes = problem_codes(&vm).await;
        assert!(
            codes.contains(&"ended_with_usage".to_owned()) && !codes.contains(&"push_refused".to_owned()),
            "{codes:?}"
        );
        settle(&vm).await;
        // Without a last invoice nothing was billed, whatever stood.
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE state <> 'closed'").await, 0);
        assert_eq!(vm.ask("SELECT sum(held_units) FROM usage_record").await, 2 + 5);
        assert_eq!(problem_codes(&vm).await, ["subscription_ended", "units_held"]);
        vm.assert_books().await;
    });
}

#[test]
fn two_syncs_at_once_send_once() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 2).await;
        let request = SyncRequest { commit: true, ..SyncRequest::default() };
        let (one, two) = tokio::join!(jobs::sync(vm.context(), &request), jobs::sync(vm.context(), &request));
        assert!(!one.unwrap().refused && !two.unwrap().refused);
        assert_eq!(vm.ask("SELECT count(*) FROM delivery").await, 1);
    });
}

#[test]
fn s11_a_machine_without_an_id_is_billed_like_any_other() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        std::fs::remove_file(vm.dir.path().join("root/etc/machine-id")).unwrap();
        vm.start().await;
        vm.run(2 * SECOND);
        vm.link().await;
        vm.record("a", 2).await;
        vm.push().await.unwrap();
        vm.kill();
        vm.start().await;
        vm.run(3 * HOUR);
        vm.record("b", 1).await;
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![2], 1));
    });
}

#[test]
fn r1_a_seed_that_failed_is_forgotten_once_the_vm_is_linked_by_hand() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.start().await;
        vm.run(2 * SECOND);
        let customer = vm.demo.customer.clone();
        reload(&vm, |config| {
            config.seed.customer = Some(customer.parse().unwrap());
            config.seed.subscription = Some("sub_wrong".parse().unwrap());
        });
        jobs::seed(vm.context()).await.unwrap();
        assert!(problem_codes(&vm).await.contains(&"seed_failed".to_owned()));
        vm.link().await;
        jobs::seed(vm.context()).await.unwrap();
        assert_eq!(problem_codes(&vm).await, ["seed_differs"]);
        reload(&vm, |config| config.seed.subscription = None);
        jobs::seed(vm.context()).await.unwrap();
        assert_eq!(problem_codes(&vm).await, Vec::<String>::new());
    });
}

#[test]
fn m5_a_wall_clock_that_jumps_around_the_end_of_a_period_moves_nothing_over_it() {
    for step in [-3 * HOUR, -100 * SECOND, 100 * SECOND, 3 * HOUR, 40 * DAY] {
        run(async {
            let vm = linked_at("2026-11-30T20:00:00Z", "compute_hours = 0, api_credits = 0").await;
            vm.record("a", 2).await;
            vm.push().await.unwrap();
            vm.run(3 * HOUR + 50 * MINUTE);
            vm.sample().await;
            vm.clock.step_wall(step);
            vm.record("b", 3).await;
            vm.push().await.unwrap();
            vm.run(8 * MINUTE);
            vm.record("c", 1).await;
            vm.sample().await;
            vm.clock.step_wall(-step);
            vm.run(4 * MINUTE);
            settle(&vm).await;
            vm.run(HOUR);
            vm.push_now().await.unwrap();
            let billed = |item: &str| vm.invoiced_units(item).iter().sum::<i64>() + vm.stands(item);
            assert_eq!(billed(&vm.demo.item_api), 6, "step {step}");
            // Five hours and eighteen minutes, of which each period rounds down its own.
            assert_eq!(billed(&vm.demo.item_compute), 3 + 1, "step {step}");
            vm.assert_books().await;
        });
    }
}

/// Changes the ledger behind the agent's back, for what the sandbox cannot be made to do.
async fn tamper(vm: &Vm, sql: &'static str) {
    vm.context().store.write(move |tx| Ok::<_, StoreError>(tx.execute(sql, [])?)).await.unwrap();
}

#[test]
fn s2_a_key_that_may_be_forgotten_is_not_used_again() {
    run(async {
        let vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 4).await;
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("POST", USAGE));
        vm.push().await.unwrap();
        vm.run(24 * HOUR);
        vm.push_now().await.unwrap();
        let requests = vm.stripe.requests();
        let keys: Vec<_> =
            requests.iter().filter(|r| r.path.ends_with("usage_records")).map(|r| &r.idempotency_key).collect();
        assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
        assert_eq!(vm.stands(&vm.demo.item_api), 4);
    });
}

#[test]
fn s4_a_push_on_top_notes_both_parts_and_is_not_repeated() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", CREDITS_ONLY).await;
        vm.start().await;
        vm.run(HOUR);
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 50, period.from.secs() + 600).await;
        vm.try_link(LinkRequest { on_top: true, ..LinkRequest::default() }).await.unwrap();
        for id in ["a", "b", "c"] {
            vm.record(id, 1).await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE target <> ifnull(standing, 0)").await, 0);
        }
        assert_eq!((vm.stands(&vm.demo.item_api), vm.ask("SELECT count(*) FROM delivery").await), (53, 3));
    });
}

#[test]
fn s4_what_stood_before_us_is_no_credit_due_when_its_period_is_closed() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.run(2 * HOUR + 30 * SECOND);
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().into_iter().max_by_key(|total| total.from).unwrap();
        vm.write_behind(&vm.demo.item_api, 50, period.from.secs() + 1).await;
        settle(&vm).await;
        vm.record("a", 5).await;
        vm.push_now().await.unwrap();
        vm.run(31 * DAY);
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![0, 50], 0));
        assert_eq!((vm.ask(CREDIT_DUE).await, vm.ask("SELECT sum(held_units) FROM usage_record").await), (0, 5));
        vm.assert_books().await;
    });
}

#[test]
fn r1_what_one_customer_left_over_is_never_carried_to_another() {
    run(async {
        let mut vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("of-the-first", 5).await;
        vm.run(3 * MINUTE);
        second_customer(&mut vm).await;
        vm.run(2 * SECOND);
        vm.link().await;
        settle(&vm).await;
        assert_eq!(vm.stands(&vm.demo.item_api), 0);
        vm.assert_books().await;
    });
}

#[test]
fn r6_nothing_is_carried_onto_a_dearer_price_or_into_a_period_that_is_not_billed() {
    for (sql, waits) in [
        ("UPDATE usage_record SET unit_amount = '0.5' WHERE state = 'ending'", true),
        ("UPDATE usage_record SET billable = 0 WHERE state = 'open'", true),
        ("UPDATE usage_record SET unit_amount = '99' WHERE state = 'ending'", false),
    ] {
        run(async {
            let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
            vm.push().await.unwrap();
            vm.run(HOUR + 58 * MINUTE);
            vm.record("late", 3).await;
            vm.run(3 * MINUTE);
            vm.push_now().await.unwrap();
            tamper(&vm, sql).await;
            settle(&vm).await;
            assert_eq!(vm.stands(&vm.demo.item_api), if waits { 0 } else { 3 }, "{sql}");
            assert_eq!(problem_codes(&vm).await.contains(&"carry_waits".to_owned()), waits, "{sql}");
            vm.assert_books().await;
        });
    }
}

#[test]
fn s6_two_reads_that_differ_close_nothing() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.run(2 * HOUR + MINUTE);
        vm.push_now().await.unwrap();
        // As if the first of the two had told something else.
        tamper(&vm, "UPDATE usage_record SET close_read = 9 WHERE state = 'ending'").await;
        vm.run(4 * MINUTE);
        vm.push_now().await.unwrap();
        let ending = "SELECT count(*) FROM usage_record WHERE state = 'ending'";
        assert_eq!(vm.ask(ending).await, 2);
        vm.run(4 * MINUTE);
        vm.push_now().await.unwrap();
        assert_eq!(vm.ask(ending).await, 0);
    });
}

#[test]
fn r2_a_period_that_the_provider_ends_early_counts_nothing_twice() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 2).await;
        vm.push().await.unwrap();
        // As if it had said another end before.
        tamper(&vm, "UPDATE usage_record SET period_to_s = period_to_s + 432000").await;
        vm.run(3 * HOUR);
        vm.record("b", 3).await;
        settle(&vm).await;
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.stands(&vm.demo.item_api)), (vec![2], 3));
        vm.assert_books().await;
    });
}

#[test]
fn r2_a_year_of_periods_that_nobody_saw_is_found() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.push().await.unwrap();
        vm.reboot(400 * DAY).await;
        vm.push_now().await.unwrap();
        assert!(!problem_codes(&vm).await.contains(&"periods_unknown".to_owned()));
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE meter = 'api_credits'").await, 14);
        settle(&vm).await;
        vm.assert_books().await;
    });
}

#[test]
fn r5_another_item_for_the_same_meter_in_a_period_is_held() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 2).await;
        vm.push().await.unwrap();
        let first = vm.demo.clone();
        another_subscription(&mut vm, &first.customer).await;
        vm.run(2 * SECOND);
        vm.link().await;
        vm.record("b", 3).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&first.item_api), vm.stands(&vm.demo.item_api)), (2, 0));
        assert!(problem_codes(&vm).await.contains(&"held_segment_changed".to_owned()));
    });
}

#[test]
fn r5_a_price_that_changes_before_a_link_that_begins_later_is_held_as_well() {
    run(async {
        let mut vm = linked_at("2026-11-10T12:00:00Z", CREDITS_ONLY).await;
        vm.record("a", 5).await;
        vm.push().await.unwrap();
        vm.try_link(LinkRequest { from_next_period: true, ..LinkRequest::default() }).await.unwrap();
        let form = [
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount", "2"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
        ];
        let dearer = vm.operate("/v1/prices", &form).await;
        let item = format!("/v1/subscription_items/{}", vm.demo.item_api);
        vm.operate(&item, &[("price", dearer["id"].as_str().unwrap())]).await;
        vm.kill();
        vm.start().await;
        vm.record("b", 5).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 5);
        assert!(problem_codes(&vm).await.contains(&"held_segment_changed".to_owned()));
    });
}
