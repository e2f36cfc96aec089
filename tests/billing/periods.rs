//! Periods as the provider has them: seen or not, cut short, free, or the last.

use serde_json::Value;
use usaged::jobs;
use usaged::model::Problem;
use usaged::sandbox::{Effect, Fault};
use usaged::wire::{LinkRequest, ReleaseRequest};

use super::closing::code;
use super::vm::{
    Billing, DAY, EVENT_SUMMARIES, EVENTS, HOUR, METERS, MINUTE, SUMMARIES, USAGE, Vm, linked_at, linked_by, run,
    settle,
};

const LAST: Billing = Billing::Meters("last", None);
const CREDITS: &str = "compute_hours = 100000, api_credits = 0";
const HELD: &str = "SELECT ifnull(sum(held_units), 0) FROM usage_record WHERE meter = 'api_credits'";
const CARRIED: &str = "SELECT ifnull(sum(units), 0) FROM carry";

/// Pushes often enough, and for long enough, that ended periods are closed by their reads.
async fn close(vm: &Vm) {
    for _ in 0..30 {
        vm.run(HOUR);
        vm.push_now().await.unwrap();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Another subscription of the customer's, which this VM is to be linked to.
async fn subscribe(vm: &mut Vm, form: &[(&str, &str)]) {
    let prices = ["price_pro_monthly", "price_compute_overage_pro", "price_api_overage"];
    let prices = prices.map(|price| vm.demo.prices[price].clone());
    let customer = vm.demo.customer.clone();
    let fixed = [
        ("customer", customer.as_str()),
        ("items[0][price]", &prices[0]),
        ("items[1][price]", &prices[1]),
        ("items[2][price]", &prices[2]),
    ];
    let made = vm.operate("/v1/subscriptions", &[&fixed[..], form].concat()).await;
    vm.demo.subscription = text(&made["id"]);
    vm.demo.item_compute = text(&made["items"]["data"][1]["id"]);
    vm.demo.item_api = text(&made["items"]["data"][2]["id"]);
}

/// A VM that is linked to a subscription made like this.
async fn subscribed_at(at: &str, form: &[(&str, &str)]) -> Vm {
    let mut vm = Vm::booted_at(at, CREDITS).await;
    vm.start().await;
    subscribe(&mut vm, form).await;
    vm.run(2_000_000);
    vm.link().await;
    vm.sample().await;
    vm
}

#[test]
fn r2_periods_of_a_meter_that_passed_unseen_are_computed_and_what_is_late_is_carried() {
    for billing in METERS {
        run(async {
            let mut vm = linked_by(billing, "2026-09-01T00:00:00Z", "compute_hours = 700, api_credits = 0").await;
            vm.record("september", 3).await;
            vm.push().await.unwrap();
            vm.kill();
            // October has 744 hours, November 720: 44 and 20 above the allowance; September's 720 lack the minute before the link.
            vm.run(30 * DAY + 31 * DAY + 30 * DAY + 2 * HOUR);
            vm.start().await;
            close(&vm).await;
            let closed = "SELECT count(*) FROM usage_record WHERE meter = 'compute_hours' AND state = 'closed'";
            assert_eq!((vm.ask(closed).await, vm.ask(CARRIED).await), (3, 19 + 44 + 20), "{billing:?}");
            assert_eq!(vm.targets().await["compute_hours"], 19 + 44 + 20);
            assert_eq!(vm.problem("periods_unknown").await, None);
            vm.assert_books().await;
        });
    }
}

#[test]
fn s7_an_unseen_period_whose_invoice_is_a_draft_still_is_billed_in_itself() {
    run(async {
        let mut vm = linked_by(LAST, "2026-09-01T00:00:00Z", "compute_hours = 700, api_credits = 0").await;
        vm.push().await.unwrap();
        vm.kill();
        vm.run(30 * DAY + 31 * DAY + 20 * MINUTE);
        vm.start().await;
        vm.push_now().await.unwrap();
        close(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_compute), [0, 44], "October's 44 in October");
        assert_eq!(vm.ask(CARRIED).await, 19, "September's, which had to be over by its own grace");
        vm.assert_books().await;
    });
}

#[test]
fn r2_an_anchor_on_the_31st_comes_back_after_short_months() {
    run(async {
        let anchor = [
            ("billing_cycle_anchor_config[day_of_month]", "31"),
            ("billing_cycle_anchor_config[hour]", "6"),
            ("billing_cycle_anchor_config[minute]", "0"),
            ("billing_cycle_anchor_config[second]", "0"),
        ];
        let mut vm = subscribed_at("2027-01-31T06:00:00Z", &anchor).await;
        vm.record("february", 1).await;
        vm.push().await.unwrap();
        vm.run(30 * DAY);
        vm.record("march", 2).await;
        vm.push().await.unwrap();
        vm.kill();
        vm.run(100 * DAY);
        vm.start().await;
        vm.record("june", 4).await;
        close(&vm).await;
        let ends = "SELECT count(*) FROM usage_record WHERE meter = 'api_credits'
                    AND strftime('%m-%d %H', period_to_s, 'unixepoch') IN ('02-28 06', '03-31 06', '04-30 06', '05-31 06')";
        assert_eq!((vm.ask(ends).await, vm.ask("SELECT count(*) FROM unseen").await), (4, 0));
        assert_eq!(vm.invoiced_units(&vm.demo.item_api)[..2], [1, 2]);
        assert_eq!(vm.stands(&vm.demo.item_api), 4);
        vm.assert_books().await;
    });
}

#[test]
fn r1_what_was_used_from_the_next_period_on_is_billed_though_nobody_saw_it_begin() {
    run(async {
        let mut vm = Vm::booted_at("2026-10-31T22:00:00Z", "compute_hours = 700, api_credits = 0").await;
        vm.start().await;
        vm.run(MINUTE);
        vm.sample().await;
        vm.try_link(LinkRequest { from_next_period: true, ..LinkRequest::default() }).await.unwrap();
        vm.kill();
        vm.run(2 * HOUR + 30 * DAY + HOUR);
        vm.start().await;
        close(&vm).await;
        assert_eq!(vm.ask(CARRIED).await, 20, "of November's 720 hours");
        vm.assert_books().await;
    });
}

#[test]
fn periods_that_cannot_be_read_are_named_over_restarts_and_found_later() {
    run(async {
        let mut vm = linked_at("2026-09-30T00:00:00Z", "compute_hours = 700, api_credits = 0").await;
        vm.push().await.unwrap();
        vm.kill();
        vm.run(DAY + 31 * DAY + HOUR);
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("GET", SUMMARIES).times(100));
        for _ in 0..2 {
            vm.start().await;
            let _failed = vm.push_now().await;
            let found = vm.status().await.problems;
            let names = |problem: &Problem| problem.what.contains("744 hours of compute_hours in them are not billed");
            assert!(found.iter().any(|problem| problem.code == "periods_unknown" && names(problem)), "{found:?}");
            vm.kill();
        }
        vm.start().await;
        vm.stripe.clear_faults();
        close(&vm).await;
        assert_eq!((vm.problem("periods_unknown").await, vm.ask(CARRIED).await), (None, 44));
        vm.assert_books().await;
    });
}

#[test]
fn an_unknown_stretch_stands_until_somebody_says_that_it_is_settled() {
    run(async {
        let mut vm = linked_at("2026-11-24T12:00:00Z", CREDITS).await;
        let item = vm.demo.item_api.clone();
        let of = item.clone();
        let noted = vm.context().store.write(move |tx| {
            let sql = "INSERT INTO unseen (item, from_s, to_s, link, meter, billable, seen_us)
                       SELECT item, period_from_s - 100, period_from_s, 1, meter, 1, 0 FROM usage_record WHERE item = ?1";
            Ok::<_, usaged::store::StoreError>(tx.execute(sql, [of])?)
        });
        assert_eq!(noted.await.unwrap(), 1);
        vm.kill();
        vm.start().await;
        vm.push_now().await.unwrap();
        let problem = vm.problem("periods_unknown").await.unwrap();
        assert!(problem.hint.contains(&format!("usagectl release {item} --overwrite")), "{}", problem.hint);
        let request = ReleaseRequest { item, adopt: false, because: "billed by hand".into() };
        jobs::release(vm.context(), &request, "uid:0").await.unwrap();
        assert_eq!(vm.problem("periods_unknown").await, None);
        assert_eq!(code(&jobs::release(vm.context(), &request, "uid:0").await.unwrap_err()), "not_held");
    });
}

#[test]
fn a_subscription_that_is_canceled_at_once_is_named_at_once_and_what_was_dropped_is_listed() {
    for (form, invoiced) in [(&[][..], 0), (&[("invoice_now", "true")][..], 5)] {
        for billing in [Billing::UsageRecords, LAST, Billing::Meters("sum", None)] {
            run(async {
                let vm = linked_by(billing, "2026-11-01T00:00:00Z", CREDITS).await;
                vm.record("billed", 5).await;
                vm.push().await.unwrap();
                vm.run(3 * HOUR);
                vm.record("unsent", 2).await;
                vm.run(MINUTE);
                vm.cancel(form).await;
                vm.run(HOUR);
                vm.push_now().await.unwrap();
                if billing != Billing::UsageRecords {
                    // Meters take events of customers without any subscription: it is found out by the next read.
                    vm.run(6 * HOUR);
                    vm.push_now().await.unwrap();
                }
                assert_eq!(vm.problem("push_refused").await, None);
                let ended = vm.problem("subscription_ended").await.unwrap();
                assert!(ended.what.contains("is canceled since 2026-11-01T03:02:"), "{}", ended.what);
                assert!(ended.hint.contains("invoice_now=true"), "{}", ended.hint);
                let concerned = vm.problem("ended_with_usage").await.unwrap();
                assert!(concerned.what.contains("7 units should be billed"), "{}", concerned.what);
                assert!(concerned.what.contains("unless it was canceled with invoice_now=true"), "{}", concerned.what);
                let meters = vm.status().await.meters;
                assert!(meters.iter().all(|meter| meter.not_billed_because.is_some()), "{meters:?}");
                close(&vm).await;
                let billed = if billing == Billing::UsageRecords {
                    invoiced
                } else {
                    vm.invoiced_units(&vm.demo.item_api).iter().sum()
                };
                let stands = "SELECT sum(standing) FROM usage_record WHERE state = 'closed' AND meter = 'api_credits'";
                assert_eq!((vm.ask(stands).await, vm.ask(HELD).await), (billed, 7 - billed), "{billing:?} {form:?}");
                assert_eq!(billed > 0, invoiced > 0);
                let listed = vm.problem("units_held").await.map(|problem| problem.what);
                assert!(listed.is_some_and(|what| what.contains("were neither billed nor carried")), "{billing:?}");
                assert_eq!(vm.ask(CARRIED).await, 0);
                vm.assert_books().await;
            });
        }
    }
}

#[test]
fn a_subscription_that_ends_with_its_period_is_pushed_before_and_billed() {
    for billing in [Billing::UsageRecords, LAST] {
        run(async {
            let vm = linked_by(billing, "2026-11-01T00:00:00Z", CREDITS).await;
            vm.record("early", 5).await;
            vm.push().await.unwrap();
            let path = format!("/v1/subscriptions/{}", vm.demo.subscription);
            vm.operate(&path, &[("cancel_at_period_end", "true")]).await;
            vm.run(7 * HOUR);
            let wish = vm.push().await.unwrap().next.unwrap();
            let ends = vm.problem("subscription_ends").await.unwrap();
            assert!(ends.what.contains("ends at 2026-12-01T00:00:00Z"), "{}", ends.what);
            vm.record("before", 2).await;
            if billing == Billing::UsageRecords {
                assert!(wish.to_string().starts_with("2026-11-30T23:5"), "the last push is before the end: {wish}");
            }
            vm.run(wish.since(vm.now()));
            vm.push().await.unwrap();
            vm.run(30 * MINUTE);
            vm.record("after", 4).await;
            close(&vm).await;
            assert_eq!(vm.invoiced_units(&vm.demo.item_api), [7], "{billing:?}");
            assert_eq!((vm.ask(HELD).await, vm.ask(CARRIED).await), (0, 0));
            assert!(vm.problem("subscription_ended").await.is_some());
            vm.assert_books().await;
        });
    }
}

#[test]
fn r6_what_the_last_period_missed_waits_for_the_customers_next_subscription() {
    run(async {
        let mut vm = linked_at("2026-11-30T12:00:00Z", CREDITS).await;
        let path = format!("/v1/subscriptions/{}", vm.demo.subscription);
        vm.operate(&path, &[("cancel_at_period_end", "true")]).await;
        vm.run(11 * HOUR + 58 * MINUTE);
        vm.record("late", 3).await;
        close(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [0]);
        assert!(vm.problem("carry_waits").await.unwrap().what.contains("3 units of api_credits"));
        subscribe(&mut vm, &[]).await;
        vm.run(MINUTE);
        vm.link().await;
        close(&vm).await;
        assert_eq!((vm.problem("carry_waits").await, vm.stands(&vm.demo.item_api)), (None, 3));
        vm.assert_books().await;
    });
}

#[test]
fn r6_a_trial_is_measured_and_not_billed_and_status_says_why() {
    run(async {
        let vm = subscribed_at("2026-11-01T00:00:00Z", &[("trial_period_days", "3")]).await;
        vm.record("free", 6).await;
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 6, "measured, and shown to the provider");
        let why = vm.problem("not_billed_now").await.unwrap().what;
        assert!(why.contains("is trialing, and a trial is free: what is used now is not billed"), "{why}");
        assert!(vm.status().await.meters.iter().all(|meter| meter.not_billed_because.is_some()));
        vm.run(3 * DAY - 3 * MINUTE);
        vm.record("missed", 4).await;
        vm.run(10 * MINUTE);
        vm.push_now().await.unwrap();
        vm.record("billed", 2).await;
        close(&vm).await;
        assert_eq!((vm.ask(CARRIED).await, vm.ask(HELD).await), (0, 4));
        assert_eq!((vm.stands(&vm.demo.item_api), vm.problem("not_billed_now").await), (2, None));
        vm.assert_books().await;
    });
}

#[test]
fn s12_a_vm_that_was_off_for_weeks_bills_what_it_used_and_lists_nothing_but_what_it_cannot() {
    for (billing, off_days) in [(Billing::UsageRecords, 25), (Billing::UsageRecords, 80), (LAST, 25), (LAST, 80)] {
        run(async {
            let mut vm = linked_by(billing, "2026-11-01T00:00:00Z", "compute_hours = 10, api_credits = 0").await;
            vm.run(100 * HOUR);
            vm.push().await.unwrap();
            // The provider is out of reach, then the power is gone.
            vm.run(10 * DAY);
            vm.sample().await;
            vm.record("last", 9).await;
            vm.run(HOUR);
            vm.sample().await;
            vm.reboot(off_days * DAY).await;
            vm.run(2 * HOUR + 90_000_000);
            close(&vm).await;
            let ran_before = 100 + 240 + 1;
            assert_eq!(vm.ask(CARRIED).await, 9 + ran_before - 100, "{billing:?}, off for {off_days} days");
            let carried_into = "SELECT ifnull(sum(carried_in), 0) FROM usage_record WHERE state = 'open'";
            assert_eq!(vm.ask(carried_into).await, 9 + ran_before - 100);
            let ran_since = vm
                .ask("SELECT used / 3600000000 FROM usage_record WHERE state = 'open' AND meter = 'compute_hours'")
                .await;
            let stands = vm.stands(&vm.demo.item_compute);
            assert_eq!(stands, ran_before - 100 + (ran_since - 10).max(0), "its own allowance, then what was carried");
            assert_eq!(vm.stands(&vm.demo.item_api), 9);
            assert_eq!((vm.problem("periods_unknown").await, vm.problem("units_held").await), (None, None));
            vm.assert_books().await;
        });
    }
}

#[test]
fn s12_a_deadline_that_nobody_watches_is_an_alarm_days_before() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS).await;
        vm.record("a", 5).await;
        vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on("POST", USAGE).times(100));
        vm.push_now().await.unwrap();
        vm.run(2 * DAY);
        vm.push_now().await.unwrap();
        let unsent = vm.status().await.unsent.remove(0);
        assert_eq!(unsent.deadline, "2026-11-30T23:57:55Z");
        assert_eq!(vm.problem("deadline_near").await, None, "four days are left");
        vm.run(2 * DAY);
        vm.push_now().await.unwrap();
        let near = vm.problem("deadline_near").await.unwrap();
        assert!(near.what.contains("can be billed in this period only until 2026-11-30T23:57:55Z"), "{}", near.what);
        vm.run(2 * DAY + 12 * HOUR + MINUTE);
        vm.push_now().await.unwrap();
        let unsent = vm.status().await.unsent.remove(0);
        assert!(unsent.why.unwrap().contains("its period is over"));
        vm.stripe.clear_faults();
        close(&vm).await;
        assert_eq!((vm.ask(CARRIED).await, vm.stands(&vm.demo.item_api)), (5, 5));
        vm.assert_books().await;
    });
}

#[test]
fn an_annual_base_and_monthly_meters_on_another_subscription_are_linked_by_plan() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-01T00:00:00Z", CREDITS).await;
        vm.start().await;
        let annual = vm.demo.prices["price_pro_annual"].clone();
        let customer = vm.demo.customer.clone();
        vm.operate("/v1/subscriptions", &[("customer", &customer), ("items[0][price]", &annual)]).await;
        let metered = [
            ("customer", customer.as_str()),
            ("items[0][price]", &vm.demo.prices["price_compute_overage_pro"].clone()),
            ("items[1][price]", &vm.demo.prices["price_api_overage"].clone()),
        ];
        let made = vm.operate("/v1/subscriptions", &metered).await;
        vm.demo.subscription = text(&made["id"]);
        vm.demo.item_api = text(&made["items"]["data"][1]["id"]);
        vm.run(MINUTE);
        let request = LinkRequest {
            customer: customer.clone(),
            subscription: vm.demo.subscription.clone(),
            ..LinkRequest::default()
        };
        let refused = jobs::link(vm.context(), &request, "uid:0").await.unwrap_err();
        assert_eq!(code(&refused), "plan_unclear");
        assert!(refused.to_string().contains("--plan") || refused.hint().is_some_and(|hint| hint.contains("--plan")));
        vm.link().await;
        vm.record("a", 3).await;
        vm.push_now().await.unwrap();
        vm.run(30 * DAY);
        close(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [3], "by the month, whatever the base is billed by");
        vm.assert_books().await;
    });
}

#[test]
fn r2_where_utc_months_are_asked_for_nothing_else_is_linked() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", CREDITS).await;
        vm.provider_toml = "periods = \"utc-months\"\n".to_owned();
        vm.start().await;
        subscribe(&mut vm, &[]).await;
        vm.run(MINUTE);
        let refused = vm.try_link(LinkRequest::default()).await.unwrap_err();
        assert_eq!(code(&refused), "not_utc_months");
        let first = [
            ("billing_cycle_anchor_config[day_of_month]", "1"),
            ("billing_cycle_anchor_config[hour]", "0"),
            ("billing_cycle_anchor_config[minute]", "0"),
            ("billing_cycle_anchor_config[second]", "0"),
        ];
        subscribe(&mut vm, &first).await;
        vm.run(MINUTE);
        vm.link().await;
    });
}

#[test]
fn faults_of_meters_while_away_lose_nothing() {
    run(async {
        let mut vm = linked_by(LAST, "2026-11-01T00:00:00Z", CREDITS).await;
        vm.record("a", 5).await;
        for (method, path) in [("POST", EVENTS), ("GET", EVENT_SUMMARIES)] {
            vm.stripe.fault(Fault::next(Effect::CutBeforeCommit).on(method, path).times(100));
        }
        let _failed = vm.push_now().await;
        vm.kill();
        vm.run(40 * DAY);
        vm.start().await;
        vm.stripe.clear_faults();
        close(&vm).await;
        assert_eq!((vm.ask(CARRIED).await + vm.invoiced_units(&vm.demo.item_api)[0], vm.ask(HELD).await), (5, 0));
        settle(&vm).await;
        vm.assert_books().await;
    });
}

/// The operator changes the subscription.
async fn change(vm: &Vm, form: &[(&str, &str)]) {
    let path = format!("/v1/subscriptions/{}", vm.demo.subscription);
    vm.operate(&path, form).await;
}

#[test]
fn a_billing_cycle_that_begins_anew_bills_each_part_once() {
    for billing in [Billing::UsageRecords, LAST, Billing::Meters("sum", None)] {
        for notices_late in [false, true] {
            run(async {
                let vm = linked_by(billing, "2026-11-01T00:00:00Z", CREDITS).await;
                vm.run(2 * DAY);
                vm.record("before", 5).await;
                vm.push_now().await.unwrap();
                vm.run(HOUR);
                vm.record("unsent", 2).await;
                vm.run(MINUTE);
                change(&vm, &[("billing_cycle_anchor", "now"), ("proration_behavior", "none")]).await;
                vm.run(HOUR);
                if notices_late {
                    // Usage records of the old period are refused, and the refusal has the subscription read.
                    vm.record("after", 4).await;
                    vm.push_now().await.unwrap();
                }
                vm.run(6 * HOUR);
                vm.push_now().await.unwrap();
                if !notices_late {
                    vm.record("after", 4).await;
                }
                close(&vm).await;
                let ended = "SELECT period_to_s FROM usage_record WHERE cut = 1 AND meter = 'api_credits'";
                assert!(vm.ask(ended).await > 0);
                assert_eq!(vm.invoiced_units(&vm.demo.item_api), [5], "{billing:?}, late {notices_late}");
                assert_eq!(vm.ask(CARRIED).await, 2, "{billing:?}, late {notices_late}");
                assert_eq!(vm.stands(&vm.demo.item_api), 4 + 2, "{billing:?}, late {notices_late}");
                assert_eq!(vm.problem("periods_unknown").await, None);
                vm.assert_books().await;
            });
        }
    }
}

#[test]
fn a_billing_cycle_that_began_anew_while_the_vm_was_off_is_found_by_its_anchor() {
    for billing in [Billing::UsageRecords, LAST] {
        run(async {
            let mut vm = linked_by(billing, "2026-11-01T00:00:00Z", CREDITS).await;
            vm.record("before", 5).await;
            vm.push_now().await.unwrap();
            vm.kill();
            vm.run(10 * DAY);
            change(&vm, &[("billing_cycle_anchor", "now"), ("proration_behavior", "none")]).await;
            vm.run(70 * DAY);
            vm.start().await;
            vm.record("back", 1).await;
            close(&vm).await;
            let rows = "SELECT count(*) FROM usage_record WHERE meter = 'api_credits'";
            // November 1 to 11, to December 11, to January 11, and the one that is open.
            assert_eq!((vm.ask(rows).await, vm.problem("periods_unknown").await), (4, None), "{billing:?}");
            assert_eq!(vm.invoiced_units(&vm.demo.item_api)[0], 5);
            assert_eq!(vm.stands(&vm.demo.item_api), 1);
            vm.assert_books().await;
        });
    }
}

#[test]
fn r6_nothing_is_carried_out_of_a_period_whose_collection_was_paused() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", CREDITS).await;
        vm.record("a", 5).await;
        vm.push().await.unwrap();
        vm.run(6 * DAY + 9 * HOUR);
        let wish = vm.push().await.unwrap().next.unwrap();
        // Three hours before the end: it is read with the last push, though nothing else asks for it by then.
        change(&vm, &[("pause_collection[behavior]", "void")]).await;
        vm.run(wish.since(vm.now()));
        vm.push().await.unwrap();
        let why = vm.problem("not_billed_now").await.unwrap().what;
        assert!(why.contains("the collection of the subscription"), "{why}");
        vm.run(4 * MINUTE);
        vm.record("late", 3).await;
        close(&vm).await;
        assert_eq!((vm.ask(CARRIED).await, vm.ask(HELD).await), (0, 3));
        change(&vm, &[("pause_collection", "")]).await;
        vm.run(7 * HOUR);
        vm.record("again", 2).await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.problem("not_billed_now").await, vm.stands(&vm.demo.item_api)), (None, 2));
        vm.assert_books().await;
    });
}

#[test]
fn a_past_due_subscription_is_billed_and_named() {
    run(async {
        let vm = linked_at("2026-11-30T12:00:00Z", CREDITS).await;
        vm.record("a", 5).await;
        change(&vm, &[("default_payment_method", "pm_card_chargeCustomerFail")]).await;
        vm.push().await.unwrap();
        vm.run(11 * HOUR + 58 * MINUTE);
        vm.record("late", 3).await;
        close(&vm).await;
        let named = vm.problem("payment_overdue").await.unwrap();
        assert!(named.what.contains("is past_due"), "{}", named.what);
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.ask(CARRIED).await), (vec![5], 3));
        assert_eq!(vm.stands(&vm.demo.item_api), 3);
        vm.assert_books().await;
    });
}

#[test]
fn a_trial_that_pauses_its_subscription_is_named_until_it_is_resumed() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-01T00:00:00Z", CREDITS).await;
        vm.start().await;
        let customer = vm.operate("/v1/customers", &[("name", "Third")]).await;
        vm.demo.customer = text(&customer["id"]);
        let trial = [("trial_period_days", "3"), ("trial_settings[end_behavior][missing_payment_method]", "pause")];
        subscribe(&mut vm, &trial).await;
        vm.run(MINUTE);
        vm.link().await;
        vm.record("free", 6).await;
        vm.push_now().await.unwrap();
        vm.run(4 * DAY);
        vm.record("paused", 7).await;
        close(&vm).await;
        assert!(vm.problem("not_billed_now").await.unwrap().what.contains("is paused: its trial ended"));
        assert_eq!(vm.ask("SELECT count(*) FROM usage_record WHERE state = 'open'").await, 0);
        vm.operate(&format!("/v1/customers/{}", vm.demo.customer), &[("payment_method", "pm_card_visa")]).await;
        vm.operate(&format!("/v1/subscriptions/{}/resume", vm.demo.subscription), &[]).await;
        vm.run(MINUTE);
        vm.push_now().await.unwrap();
        vm.record("billed", 2).await;
        vm.run(MINUTE);
        vm.push_now().await.unwrap();
        assert_eq!((vm.stands(&vm.demo.item_api), vm.problem("periods_unknown").await), (2, None));
        let between = vm.status().await.problems;
        let named = between.iter().filter(|problem| problem.code == "not_billed_then");
        assert!(
            named.into_iter().any(|problem| problem.what.contains("7 credits of api_credits in it are not billed"))
        );
        vm.assert_books().await;
    });
}

#[test]
fn s12_a_total_that_waits_when_a_trial_ends_is_never_carried_into_what_is_paid() {
    run(async {
        let vm = subscribed_at("2026-11-01T00:00:00Z", &[("trial_period_days", "10")]).await;
        vm.record("free", 6).await;
        vm.push().await.unwrap();
        vm.run(2 * DAY);
        vm.record("unsent", 3).await;
        vm.run(MINUTE);
        change(&vm, &[("trial_end", "now")]).await;
        vm.run(HOUR);
        vm.record("billed", 1).await;
        vm.push_now().await.unwrap();
        close(&vm).await;
        assert_eq!((vm.ask(CARRIED).await, vm.ask(HELD).await, vm.stands(&vm.demo.item_api)), (0, 3, 1));
        vm.assert_books().await;
    });
}

#[test]
fn an_annual_base_and_monthly_meters_on_one_flexible_subscription_are_billed_by_the_month() {
    run(async {
        let mut vm = Vm::booted_by(LAST, "2026-11-01T00:00:00Z", CREDITS).await;
        vm.start().await;
        let prices = ["price_pro_annual", "price_compute_overage_pro", "price_api_overage"];
        let prices = prices.map(|price| vm.demo.prices[price].clone());
        let customer = vm.operate("/v1/customers", &[("name", "Fourth"), ("payment_method", "pm_card_visa")]).await;
        let customer = text(&customer["id"]);
        let form = [
            ("customer", customer.as_str()),
            ("billing_mode[type]", "flexible"),
            ("items[0][price]", &prices[0]),
            ("items[1][price]", &prices[1]),
            ("items[2][price]", &prices[2]),
        ];
        let made = vm.operate_in("2025-09-30.clover", "/v1/subscriptions", &form).await;
        (vm.demo.customer, vm.demo.subscription) = (customer.clone(), text(&made["id"]));
        vm.demo.item_api = text(&made["items"]["data"][2]["id"]);
        vm.run(MINUTE);
        let request = LinkRequest { customer, subscription: vm.demo.subscription.clone(), ..LinkRequest::default() };
        let report = jobs::link(vm.context(), &request, "uid:0").await.unwrap();
        assert_eq!((report.plan.as_str(), report.period_to.as_str()), ("pro", "2026-12-01T00:00:00Z"));
        vm.record("a", 3).await;
        vm.push_now().await.unwrap();
        vm.run(30 * DAY);
        close(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [3]);
        vm.assert_books().await;
    });
}
