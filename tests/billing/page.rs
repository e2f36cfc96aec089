//! What the usage page shows beside status: usage over time, and the periods that are over.

use usaged::jobs;
use usaged::model::Timestamp;
use usaged::wire::PageReport;

use crate::vm::{DAY, HOUR, Vm, linked_at, run, settle};

async fn page(vm: &Vm) -> PageReport {
    jobs::page(vm.context()).await.unwrap()
}

#[test]
fn bars_add_up_to_what_was_used_and_end_now() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 10, api_credits = 3").await;
        vm.record("a", 7).await;
        vm.run(26 * HOUR);
        vm.record("b", 5).await;
        vm.sample().await;
        vm.push_now().await.unwrap();
        let page = page(&vm).await;
        let credits = page.charts.iter().find(|chart| chart.meter == "api_credits").unwrap();
        let used = |bars: &[usaged::wire::Bar]| bars.iter().map(|bar| bar.used_micros).sum::<i64>();
        let days: Vec<_> = credits.days.iter().map(|bar| bar.used_micros).collect();
        assert_eq!(days, [7_000_000, 5_000_000], "{credits:#?}");
        assert_eq!((credits.hours.len(), used(&credits.hours)), (24, 5_000_000), "the first is longer ago");
        let compute = page.charts.iter().find(|chart| chart.meter == "compute_hours").unwrap();
        let last = compute.hours.last().unwrap();
        assert!(Timestamp::parse(&last.from).unwrap() <= vm.now(), "{last:?}");
        assert_eq!(page.past, []);
        let sent: Vec<_> =
            page.sent.iter().map(|line| (&*line.meter, line.push.quantity, &*line.push.outcome)).collect();
        assert!(sent.contains(&("api_credits", 9, "accepted")), "{sent:?}");
    });
}

#[test]
fn a_period_that_is_over_is_asked_for_by_its_month_and_stays_on_the_page() {
    run(async {
        let vm = linked_at("2026-11-24T12:00:00Z", "compute_hours = 1000, api_credits = 0").await;
        vm.record("a", 7).await;
        vm.push_now().await.unwrap();
        vm.run(7 * DAY);
        settle(&vm).await;
        let page = page(&vm).await;
        let november = &page.past[0];
        assert_eq!((page.past.len(), &*november.month), (1, "2026-11"), "{:#?}", page.past);
        let credits = november.usage.meters.iter().find(|meter| meter.name == "api_credits").unwrap();
        assert_eq!((credits.used_micros, credits.overage), (7_000_000, Some(7)), "{credits:?}");
        assert!(page.sent.iter().any(|line| line.push.quantity == 7), "what was sent in it as well");
        assert_eq!(page.no_portal.as_deref(), Some("the provider's key lacks the permission “Customer portal: write”"));
    });
}
