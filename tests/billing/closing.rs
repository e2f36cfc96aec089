//! Ends of periods, links, snapshots and clones.

use usaged::jobs::{self, JobError};
use usaged::outbox;
use usaged::wire::{LinkRequest, ReleaseRequest, SyncRequest};

use super::vm::{DAY, HOUR, MINUTE, Vm, linked_at, run, settle};

const CARRIED: &str = "SELECT ifnull(sum(units), 0) FROM carry";
const CREDIT_DUE: &str = "SELECT ifnull(sum(units), 0) FROM credit_due";
const OPEN_TARGET: &str =
    "SELECT ifnull(sum(target), 0) FROM usage_record WHERE state = 'open' AND meter = 'api_credits'";

pub(crate) fn code(error: &JobError) -> &'static str {
    match error {
        JobError::Refused { code, .. } => code,
        _ => "another error",
    }
}

#[test]
fn s6_nothing_is_sent_in_the_last_minutes_and_what_they_used_is_carried() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", "compute_hours = 0, api_credits = 0").await;
        vm.record("early", 5).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 3).await;
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_api), 5);
        settle(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [5]);
        assert_eq!(vm.stands(&vm.demo.item_api), 3, "carried into December");
        vm.assert_books().await;
    });
}

#[test]
fn s6_an_agent_that_was_down_over_the_end_of_a_period_carries_what_it_missed() {
    run(async {
        let mut vm = linked_at("2026-11-30T12:00:00Z", "compute_hours = 2, api_credits = 0").await;
        vm.run(6 * HOUR);
        vm.push().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 4);
        vm.kill();
        vm.run(12 * HOUR);
        vm.start().await;
        settle(&vm).await;
        // Twelve hours in November, less two included, less the two seconds before the link.
        assert_eq!(vm.invoiced_units(&vm.demo.item_compute), [4]);
        assert_eq!(vm.ask(CARRIED).await, 5);
        assert_eq!(vm.targets().await["compute_hours"], 5 + 4);
        vm.assert_books().await;
    });
}

#[test]
fn r4_periods_that_passed_unseen_count_their_own_allowance_each() {
    run(async {
        let mut vm = linked_at("2026-09-30T00:00:00Z", "compute_hours = 700, api_credits = 0").await;
        vm.push().await.unwrap();
        vm.kill();
        // October has 744 hours, November 720: 44 and 20 above the allowance.
        vm.run(DAY + 31 * DAY + 30 * DAY + HOUR);
        vm.start().await;
        settle(&vm).await;
        assert_eq!(
            vm.ask("SELECT count(*) FROM usage_record WHERE meter = 'compute_hours' AND state = 'closed'").await,
            3
        );
        assert_eq!(vm.ask(CARRIED).await, 44 + 20);
        assert_eq!(vm.targets().await["compute_hours"], 64);
        vm.assert_books().await;
    });
}

#[test]
fn m9_a_mistake_in_a_closed_period_lowers_its_carry_and_only_the_rest_is_a_credit_due() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.record("big", 10).await;
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 4).await;
        settle(&vm).await;
        assert_eq!((vm.invoiced_units(&vm.demo.item_api), vm.ask(OPEN_TARGET).await), (vec![10], 4));
        vm.void("late").await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.ask(CARRIED).await, vm.ask(CREDIT_DUE).await, vm.stands(&vm.demo.item_api)), (0, 0, 0));
        vm.void("big").await;
        vm.push_now().await.unwrap();
        assert_eq!((vm.ask(CARRIED).await, vm.ask(CREDIT_DUE).await, vm.ask(OPEN_TARGET).await), (0, 10, 0));
        vm.assert_books().await;
    });
}

#[test]
fn sync_of_a_closed_month_shows_what_stood_and_refuses_to_send() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.record("a", 5).await;
        vm.push().await.unwrap();
        vm.run(3 * HOUR);
        settle(&vm).await;
        let request = SyncRequest { month: Some("2026-11".into()), commit: true, subscription_item: None };
        let report = jobs::sync(vm.context(), &request).await.unwrap();
        assert!(report.refused);
        let line = report.lines.iter().find(|line| line.meter == "api_credits").unwrap();
        assert_eq!((line.state.as_str(), line.stands, line.action.as_str()), ("closed", Some(5), "closed"));
    });
}

#[test]
fn r6_nothing_is_carried_out_of_a_trial() {
    run(async {
        let vm = linked_at("2026-11-30T22:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.context()
            .store
            .write(|tx| Ok::<_, usaged::store::StoreError>(tx.execute("UPDATE usage_record SET billable = 0", [])?))
            .await
            .unwrap();
        vm.push().await.unwrap();
        vm.run(HOUR + 58 * MINUTE);
        vm.record("late", 4).await;
        vm.run(3 * MINUTE);
        // The subscription was read before the end, and says active; the row keeps what it was in the period.
        vm.context()
            .store
            .write(|tx| Ok::<_, usaged::store::StoreError>(tx.execute("UPDATE usage_record SET billable = 0", [])?))
            .await
            .unwrap();
        settle(&vm).await;
        let held = "SELECT ifnull(sum(held_units), 0) FROM usage_record WHERE meter = 'api_credits'";
        assert_eq!((vm.ask(CARRIED).await, vm.ask(held).await), (0, 4));
        vm.assert_books().await;
    });
}

#[test]
fn s4_what_stands_already_is_refused_with_its_choices_and_gone_on_top_of_exactly() {
    // At our own timestamp, and at another: the probe of S5 tells them apart.
    for offset in [1, 600] {
        run(async {
            let mut vm = Vm::booted_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
            vm.start().await;
            vm.run(HOUR);
            let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
            vm.write_behind(&vm.demo.item_api, 50, period.from.secs() + offset).await;
            let refused = vm.try_link(LinkRequest::default()).await.unwrap_err();
            assert_eq!(code(&refused), "something_stands");
            vm.try_link(LinkRequest { on_top: true, ..LinkRequest::default() }).await.unwrap();
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 50, "nothing used, nothing changed");
            vm.record("a", 3).await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 53, "offset {offset}");
            vm.record("b", 4).await;
            vm.kill();
            vm.start().await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 57, "offset {offset}");
        });
    }
}

#[test]
fn s4_from_next_period_leaves_this_one_alone() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-30T22:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.start().await;
        vm.run(MINUTE);
        let period = vm.stripe.totals(&vm.demo.item_api).unwrap().remove(0);
        vm.write_behind(&vm.demo.item_api, 50, period.from.secs() + 1).await;
        vm.try_link(LinkRequest { from_next_period: true, ..LinkRequest::default() }).await.unwrap();
        vm.record("unlinked", 9).await;
        vm.push_now().await.unwrap();
        vm.run(3 * HOUR);
        vm.record("linked", 2).await;
        settle(&vm).await;
        assert_eq!(vm.invoiced_units(&vm.demo.item_api), [50]);
        assert_eq!(vm.stands(&vm.demo.item_api), 2);
    });
}

#[test]
fn s5_a_restored_disk_is_held_and_released_without_billing_twice() {
    for adopt in [true, false] {
        run(async {
            let mut vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
            vm.record("a", 10).await;
            vm.push().await.unwrap();
            let old = vm.snapshot().await;
            vm.run(DAY);
            vm.record("b", 20).await;
            vm.push().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 30);
            vm.restore(&old).await;
            vm.record("c", 1).await;
            vm.push_now().await.unwrap();
            assert_eq!(vm.stands(&vm.demo.item_api), 30, "nothing is lowered");
            let request =
                ReleaseRequest { item: vm.demo.item_api.clone(), adopt, because: "restored from a snapshot".into() };
            jobs::release(vm.context(), &request, "uid:0").await.unwrap();
            vm.push_now().await.unwrap();
            vm.record("d", 5).await;
            vm.push_now().await.unwrap();
            vm.push_now().await.unwrap();
            // Adopted, the 30 stay (10 of them in this ledger, with the one that came before the release) and 5 more come on
            // top; overwritten, only what this ledger knows is billed.
            let expected = if adopt { 30 + 5 } else { 10 + 1 + 5 };
            assert_eq!(vm.stands(&vm.demo.item_api), expected, "adopt {adopt}");
        });
    }
}

#[test]
fn r1_the_same_item_linked_again_in_a_period_goes_on_with_its_total() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 0, api_credits = 0").await;
        vm.run(5 * HOUR);
        vm.push().await.unwrap();
        let before = vm.now();
        let earlier = LinkRequest { from: Some(before.minus(DAY).to_string()), ..LinkRequest::default() };
        assert_eq!(code(&vm.try_link(earlier).await.unwrap_err()), "from_outside_period");
        vm.link().await;
        vm.run(HOUR);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 6);
        let rows = vm.context().store.read(outbox::unfinished).await.unwrap();
        assert_eq!(rows.len(), 2, "linking again makes no second row");
        assert!(rows.iter().all(|row| row.period.contains(before)));
    });
}

#[test]
fn r1_another_customer_starts_at_zero_and_the_first_keeps_what_was_used() {
    run(async {
        let mut vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 0, api_credits = 0").await;
        vm.run(5 * HOUR + 30 * MINUTE);
        vm.push().await.unwrap();
        let first = vm.demo.clone();
        let customer = vm.operate("/v1/customers", &[("name", "Second"), ("payment_method", "pm_card_visa")]).await;
        let subscription = vm
            .operate(
                "/v1/subscriptions",
                &[
                    ("customer", customer["id"].as_str().unwrap()),
                    ("items[0][price]", &first.prices["price_pro_monthly"]),
                    ("items[1][price]", &first.prices["price_compute_overage_pro"]),
                    ("items[2][price]", &first.prices["price_api_overage"]),
                ],
            )
            .await;
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        vm.demo.customer = text(&customer["id"]);
        vm.demo.subscription = text(&subscription["id"]);
        vm.demo.item_compute = text(&subscription["items"]["data"][1]["id"]);
        let earlier = LinkRequest { from: Some(vm.now().to_string()), ..LinkRequest::default() };
        vm.run(10 * MINUTE);
        assert_eq!(
            code(&vm.try_link(earlier).await.unwrap_err()),
            "overlaps",
            "the first customer's time is not moved"
        );
        vm.link().await;
        vm.run(2 * HOUR + 30 * MINUTE);
        vm.push_now().await.unwrap();
        assert_eq!(vm.stands(&vm.demo.item_compute), 2);
        assert_eq!(vm.stands(&first.item_compute), 5, "what the first used stays, and no more is added");
    });
}

#[test]
fn r5_a_price_that_changes_inside_a_period_is_held_and_nothing_is_carried() {
    run(async {
        let mut vm = linked_at("2026-11-30T12:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.record("a", 5).await;
        vm.push().await.unwrap();
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
        let held = "SELECT count(*) FROM usage_record WHERE held_code = 'segment_changed'";
        assert_eq!((vm.stands(&vm.demo.item_api), vm.ask(held).await), (5, 1));
        vm.run(12 * HOUR);
        settle(&vm).await;
        assert_eq!((vm.ask(CARRIED).await, vm.stands(&vm.demo.item_api)), (0, 0));
        vm.assert_books().await;
    });
}
