//! A billed number, from the top down to the minutes.

use usaged::jobs;
use usaged::store::{StoreError, Tx};
use usaged::wire::{Bill, ExplainRequest};

use crate::vm::{DAY, HOUR, MINUTE, Vm, linked_at, run, settle};

async fn explained(vm: &Vm, month: Option<&str>, meter: &str) -> Vec<Bill> {
    let request = ExplainRequest { month: month.map(str::to_owned), meter: Some(meter.to_owned()) };
    jobs::explain(vm.context(), &request).await.unwrap().bills
}

fn units(bill: &Bill) -> Vec<(&str, i64)> {
    bill.terms.iter().map(|term| (term.what.as_str(), term.units)).collect()
}

#[test]
fn the_terms_come_to_the_target_and_the_days_to_what_was_used() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 10, api_credits = 3").await;
        vm.record("a", 7).await;
        for _ in 0..3 {
            vm.run(8 * HOUR + 20 * MINUTE);
            vm.sample().await;
        }
        vm.record("b", 5).await;
        vm.push_now().await.unwrap();
        let credits = explained(&vm, None, "api_credits").await.remove(0);
        assert_eq!((credits.stands, credits.target, credits.agrees), (Some(9), 9, true), "{credits:#?}");
        assert_eq!(units(&credits), [("above what is included, in whole units", 9)]);
        assert_eq!(
            credits.sources.iter().map(|one| (one.records, one.quantity.to_string())).collect::<Vec<_>>(),
            [(2, "12".to_owned())]
        );
        assert_eq!(credits.pushes[0].quantity, 9);
        assert!(credits.pushes[0].request_id.as_deref().is_some_and(|id| id.starts_with("req_")), "{credits:#?}");
        let compute = explained(&vm, None, "compute_hours").await.remove(0);
        assert_eq!((compute.used.to_string().as_str(), compute.target), ("25", 15), "{compute:#?}");
        let by_day: Vec<_> = compute.days.iter().map(|day| (day.day.as_str(), day.used_micros)).collect();
        assert_eq!(by_day, [("2026-11-24", 12 * HOUR - 2_000_000), ("2026-11-25", 13 * HOUR + 2_000_000)]);
        assert_eq!(by_day.iter().map(|(_, used)| used).sum::<i64>(), compute.used_micros);
        assert_eq!(jobs::explain(vm.context(), &ExplainRequest::default()).await.unwrap().bills.len(), 2);
    });
}

#[test]
fn r6_a_closed_period_is_explained_with_what_it_carried() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 1000, api_credits = 0").await;
        vm.record("a", 7).await;
        vm.push_now().await.unwrap();
        // Used when nothing may be sent any more.
        vm.run(6 * DAY + 12 * HOUR - 20_000_000);
        vm.record("b", 4).await;
        vm.run(HOUR);
        settle(&vm).await;
        let november = explained(&vm, Some("2026-11"), "api_credits").await.remove(0);
        assert_eq!(
            (november.state.as_str(), november.target, november.stands),
            ("closed", 11, Some(7)),
            "{november:#?}"
        );
        let carried = [(4, true)];
        let shown = |bill: &Bill| bill.carries.iter().map(|one| (one.units, one.into.is_some())).collect::<Vec<_>>();
        assert_eq!(shown(&november), carried);
        let december = explained(&vm, None, "api_credits").await.remove(0);
        assert_eq!(
            units(&december),
            [("above what is included, in whole units", 0), ("carried from earlier periods", 4)]
        );
        assert_eq!((december.target, shown(&december)), (4, carried.to_vec()));
        assert!(november.agrees && december.agrees);
    });
}

#[test]
fn a_sum_that_its_minutes_do_not_bear_out_is_an_alarm() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 1000, api_credits = 0").await;
        vm.record("a", 7).await;
        vm.push_now().await.unwrap();
        vm.run(6 * DAY + 13 * HOUR);
        settle(&vm).await;
        assert!(explained(&vm, Some("2026-11"), "api_credits").await.remove(0).agrees);
        // What a closed period was billed by is not rated again for ever; its minutes are added up all the same.
        let spoil = |tx: &Tx<'_>| {
            tx.execute(
                "UPDATE usage_record SET used = used - 1000000 WHERE meter = 'api_credits' AND state = 'closed'",
                [],
            )
            .map_err(StoreError::from)
        };
        vm.context().store.write(spoil).await.unwrap();
        vm.run(500 * DAY);
        let bill = explained(&vm, Some("2026-11"), "api_credits").await.remove(0);
        assert_eq!(
            (bill.agrees, bill.recomputed.map(|found| found.used_micros)),
            (false, Some(7_000_000)),
            "{bill:#?}"
        );
        assert!(vm.problem("sums_differ").await.is_some());
    });
}

#[test]
fn what_is_asked_for_in_other_words_is_refused_or_empty() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 10, api_credits = 3").await;
        assert!(explained(&vm, Some("2020-01"), "api_credits").await.is_empty());
        assert!(explained(&vm, None, "unheard_of").await.is_empty());
        let bad = ExplainRequest { month: None, meter: Some("No Meter!".into()) };
        assert!(jobs::explain(vm.context(), &bad).await.is_err());
    });
}
