//! Whole months.

use usaged::jobs::{self, Which};
use usaged::model::{Report, Rounding};

use super::vm::{DAY, HOUR, MINUTE, SECOND, Vm, linked_at, run};

/// What a customer owes: written from rules R3 and M2 alone.
fn overage(used_us: i64, included_hours: i64) -> i64 {
    (used_us - included_hours * HOUR).max(0).div_euclid(HOUR)
}

/// Hourly pushes from the first to the last, as the schedule and the job's own wishes activate them. Returns the running
/// time at the last push that could still be billed in the month.
async fn live_until(vm: &Vm, end: i64, mut ran: i64) -> (i64, i64) {
    let mut billed_at = ran;
    let mut wish = None;
    while ran < end {
        // Finer near the end, where minutes decide what is carried.
        let step = if end - ran <= HOUR { MINUTE } else { 10 * MINUTE };
        vm.run(step);
        ran += step;
        let hourly = ran % HOUR == 0;
        let wished = wish.is_some_and(|at| at <= vm.now());
        if hourly || wished {
            let pushed = vm.push().await.unwrap();
            wish = pushed.next;
            // Rule S6: what is pushed later than this is carried.
            if end - ran > 2 * MINUTE + 5_000_000 {
                billed_at = ran;
            }
        } else {
            vm.sample().await;
        }
    }
    (ran, billed_at)
}

#[test]
fn a_month_of_running_time_is_invoiced_to_the_hour_and_the_rest_is_carried() {
    run(async {
        let mut vm = Vm::booted_at("2026-11-01T00:00:00Z", "compute_hours = 500, api_credits = 0").await;
        vm.start().await;
        vm.link().await;
        vm.sample().await;
        let (ran, billed_at) = live_until(&vm, 30 * DAY, 0).await;
        // December: the period is closed and what November missed is carried.
        let (ran, _) = live_until(&vm, ran + 2 * HOUR, ran).await;
        let november = vm.invoiced_units(&vm.demo.item_compute);
        assert_eq!(november, [overage(billed_at, 500)], "invoiced in November");
        let carried = vm.ask("SELECT ifnull(sum(units), 0) FROM carry").await;
        assert_eq!(november[0] + carried, overage(30 * DAY, 500), "invoiced and carried");
        assert_eq!(vm.targets().await["compute_hours"], carried, "December begins with what November missed");
        assert_eq!(vm.stands(&vm.demo.item_compute), carried);
        assert_eq!(ran, 30 * DAY + 2 * HOUR);
        vm.assert_books().await;
        // The default that this test's arithmetic stands on.
        let meter = &vm.context().settings().config.meters[&"compute_hours".parse().unwrap()];
        assert_eq!((meter.rounding, meter.report), (Rounding::Down, Report::Overage));
    });
}

#[test]
fn s6_the_last_push_is_made_by_the_providers_clock_where_ours_is_a_little_ahead() {
    run(async {
        let vm = linked_at("2026-11-30T00:00:00Z", "compute_hours = 100000, api_credits = 0").await;
        vm.clock.step_wall(MINUTE);
        vm.run(23 * HOUR);
        let mut pushed = vm.push().await.unwrap();
        vm.record("late", 7).await;
        while vm.now().to_string().starts_with("2026-11") {
            let wake = pushed.next.unwrap().since(vm.context().now());
            vm.run(wake.max(SECOND));
            pushed = jobs::push(vm.context(), "retry", Which::Due).await.unwrap();
        }
        let november = vm.totals(&vm.demo.item_api).pop().unwrap();
        assert_eq!(november.total, 7);
    });
}
