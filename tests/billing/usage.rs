//! What `usagectl usage` and `status` are told of a period, of its pieces, and of its end.

use usaged::jobs::{self, JobError};
use usaged::model::Timestamp;
use usaged::store::StoreError;
use usaged::wire::{By, MeterStatus, UsageReport, UsageRequest};

use super::vm::{DAY, HOUR, Vm, linked_at, run};

async fn ask(vm: &Vm, request: UsageRequest) -> Result<UsageReport, JobError> {
    jobs::usage(vm.context(), &request).await
}

async fn by(vm: &Vm, by: By) -> UsageReport {
    ask(vm, UsageRequest { by: Some(by), ..UsageRequest::default() }).await.unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// The pieces of each meter add up to it, and lie one behind the other.
fn assert_whole(report: &UsageReport) {
    for (n, meter) in report.meters.iter().enumerate() {
        let sum: i64 = report.slices.iter().map(|slice| slice.meters[n].used_micros).sum();
        assert_eq!((sum, &report.slices[0].meters[n].name), (meter.used_micros, &meter.name));
    }
    for pair in report.slices.windows(2) {
        assert_eq!(pair[0].to, pair[1].from);
    }
}

async fn hours(vm: &Vm) -> MeterStatus {
    vm.status().await.meters.into_iter().find(|meter| meter.name == "compute_hours").unwrap()
}

#[test]
fn what_was_used_before_the_link_is_not_carried_on_to_the_periods_end() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-01T00:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.start().await;
        vm.sample().await;
        for _ in 0..20 {
            vm.run(DAY);
            vm.sample().await;
        }
        vm.link().await;
        for _ in 0..12 {
            vm.run(HOUR);
            vm.sample().await;
        }
        vm.push_now().await.unwrap();
        let hours = hours(&vm).await;
        assert_eq!(hours.unlinked.unwrap().to_string(), "480");
        // 480 hours before the link, and ten days at full time after it, of which 100 hours are included.
        assert_eq!(hours.estimate.unwrap().to_string(), "720");
        assert_eq!(hours.estimate_overage, Some(140));
        // At the price that was read of the item: 4 cents an hour.
        assert_eq!((hours.estimate_cost.as_deref(), hours.currency.as_deref()), (Some("5.6"), Some("eur")));
        let report = ask(&vm, UsageRequest::default()).await.unwrap();
        let same = report.meters.iter().find(|meter| meter.name == "compute_hours").unwrap();
        assert_eq!((same.estimate_overage, same.estimate_cost.as_deref()), (Some(140), Some("5.6")));
    });
}

#[test]
fn the_pieces_of_a_period_are_what_it_comes_to() {
    run(async {
        let vm = linked_at("2026-11-01T00:00:00Z", "compute_hours = 100, api_credits = 0").await;
        vm.record("first", 7).await;
        for _ in 0..40 {
            vm.run(HOUR);
            vm.sample().await;
        }
        vm.record("second", 5).await;
        let days = by(&vm, By::Day).await;
        assert_eq!((days.slices.len(), days.period_kind.as_str()), (2, "provider"));
        assert_whole(&days);
        let [first, second] = &days.slices[..] else { panic!("{days:#?}") };
        assert_eq!((first.meters[0].used_micros, second.meters[0].used_micros), (7_000_000, 5_000_000));
        assert_eq!((second.observed_bp, &*second.to), (10_000, "2026-11-03T00:00:00Z"));
        assert_eq!(second.meters[1].estimate.as_ref().unwrap().to_string(), "24", "the day goes on");
        assert_eq!(first.meters[1].estimate, None, "this one is over");
        let last = by(&vm, By::Hour).await;
        assert_eq!((last.slices.len(), last.period_kind.as_str()), (24, "range"));
        assert_whole(&last);
        let months = by(&vm, By::Month).await;
        assert_eq!(months.slices.len(), 1, "before the ledger there is nothing to be shown");
        assert_whole(&months);
    });
}

#[test]
fn any_stretch_of_time_can_be_asked_for_and_what_cannot_be_is_refused_with_a_hint() {
    run(async {
        let vm = linked_at("2026-11-01T00:00:00Z", "compute_hours = 100, api_credits = 0").await;
        for _ in 0..5 {
            vm.run(HOUR);
            vm.sample().await;
        }
        let (from, to) = (at("2026-11-01T01:30:00Z"), at("2026-11-01T03:15:00Z"));
        let meter = Some("compute_hours".to_owned());
        let request = UsageRequest { month: None, from: Some(from), to: Some(to), by: Some(By::Hour), meter };
        let report = ask(&vm, request.clone()).await.unwrap();
        assert_eq!((report.meters.len(), report.slices.len()), (1, 3));
        assert_eq!(report.meters[0].used_micros, 105 * 60_000_000);
        assert_eq!((&report.meters[0].included, report.meters[0].overage), (&None, None), "nothing is included in it");
        assert_whole(&report);
        let until = UsageRequest { to: Some(at("2026-11-01T02:00:00Z")), ..UsageRequest::default() };
        let begins = ask(&vm, until).await.unwrap().period_from;
        assert_eq!(begins, "2026-11-01T00:00:02Z", "from the first that is known");
        for (wrong, said) in [
            (UsageRequest { to: Some(from), ..request.clone() }, "is not before"),
            (
                UsageRequest { from: None, to: Some(at("2020-01-01T00:00:00Z")), ..request.clone() },
                "nothing is known before",
            ),
            (UsageRequest { meter: Some("compute_hour".to_owned()), ..request }, "there is no meter"),
        ] {
            let refused = ask(&vm, wrong).await.unwrap_err();
            assert!(refused.to_string().contains(said) && refused.hint().is_some(), "{refused}");
        }
    });
}

#[test]
fn ten_years_are_answered_at_once_by_days_and_by_months() {
    run(async {
        let vm = linked_at("2026-11-01T00:00:00Z", "compute_hours = 100, api_credits = 0").await;
        // An hour each, as compaction leaves them, from 2016-11-01 on.
        let fill = "INSERT INTO bucket
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 87647)
             SELECT id, 1477958400000000 + i * 3600000000, 3600000000, 3600000000
             FROM n, meter WHERE name = 'compute_hours'";
        vm.context().store.write(move |tx| Ok::<_, StoreError>(tx.execute(fill, [])?)).await.unwrap();
        let from = Some(at("2010-01-01T00:00:00Z"));
        let decade = |by| UsageRequest { from, by: Some(by), ..UsageRequest::default() };
        let days = ask(&vm, decade(By::Day)).await.unwrap();
        assert_eq!((days.slices.len(), &*days.slices[0].from), (3_653, "2016-11-01T00:00:00Z"));
        assert!(days.slices[..3_652].iter().all(|day| day.meters[1].used_micros == 24 * HOUR), "each day is full");
        assert_whole(&days);
        let months = ask(&vm, decade(By::Month)).await.unwrap();
        assert_eq!(months.slices.len(), 121);
        assert_whole(&months);
        let refused = ask(&vm, decade(By::Hour)).await.unwrap_err();
        assert!(refused.hint().is_some_and(|hint| hint.contains("by day or month")), "{refused}");
    });
}
