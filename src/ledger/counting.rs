//! How much was used between two readings of a counter. Pure arithmetic; the policy for every anomaly is this table.
//!
//! | what happened | how it is seen | what is counted |
//! |---|---|---|
//! | first reading ever (M2) | nothing stored | nothing; it is the baseline |
//! | nothing special | same incarnation, counter grew | the difference |
//! | long gap: the agent was stopped (M3) | same, with much time between | the whole difference |
//! | suspension (M3) | `BOOTTIME` ran ahead of `MONOTONIC` | the difference; running time bounds it, the suspension does not raise the bound |
//! | somebody set the clock (M4) | wall time jumped, the others did not | the difference, placed backwards from now |
//! | the clock is not trusted yet (M5) | no wall time | the difference; it waits for its place |
//! | reboot of a VM (M2) | another boot id | the counter since boot |
//! | reboot of a container's host (M2) | another boot id, in a container | nothing; baseline |
//! | container made anew (M1) | another container mark | nothing; baseline |
//! | another source, or another group's path | another source word | nothing; baseline |
//! | the group was made anew | another counter mark, same boot | the counter from zero: all of it was used since |
//! | the group's counter was reset | it fell, same boot | the counter from zero |
//! | the kernel's busy time fell | it fell, same boot | nothing until it is past where it was: it is never reset within a boot, so what fell was noise |
//! | the machine's memory was put back | a clock fell, same boot | nothing; baseline |
//! | CPUs came or went (M6) | another count | `vcpu`: at the smaller count, also of a new boot's first reading; the others: bounded by the larger |
//! | a rate no machine can reach (M6) | more than running time × CPUs | the bound, and it is reported |
//!
//! A counter is read a moment after the clock, so a busy machine's counter can be ahead of it by that moment. Up to
//! [`NOISE_US`] per CPU is therefore not cut off but left for the next interval: no interval exceeds the bound, and the
//! sum does not depend on how often it is sampled.

/// What a counter may be ahead of the clock per CPU: scheduling of the agent, and ticks of 10 ms.
const NOISE_US: i64 = 100_000;

/// A reading, with all that decides what it may be compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub source: String,
    pub boot_id: String,
    pub container_mark: String,
    pub counter_mark: String,
    pub counter_us: i64,
    pub cpus: u32,
    pub monotonic_us: i64,
    pub boottime_us: i64,
}

/// What two readings showed; see the table of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The first reading of this meter ever.
    FirstReading,
    /// The difference was counted.
    Counted,
    /// The VM was rebooted; counted since boot.
    Rebooted,
    /// A container was started anew, or its host was; nothing counted.
    ContainerRestarted,
    /// The meter has another source; nothing counted.
    SourceChanged,
    /// The control group was made anew; counted from zero.
    CounterRestarted,
    /// The control group's counter fell; counted from zero.
    CounterReset,
    /// The busy time fell; nothing counted until it is past where it was.
    CounterFell,
    /// A clock that never falls fell; nothing counted.
    ClockFell,
}

/// A rate above what the machine can do (rule M6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capped {
    /// What the counter said, microseconds.
    pub claimed_us: i64,
    /// What is possible, and was counted, microseconds.
    pub possible_us: i64,
}

/// How much, since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub event: Event,
    pub quantity_us: i64,
    /// Over which it is spread, `BOOTTIME` until now.
    pub elapsed_us: i64,
    pub capped: Option<Capped>,
    /// Up to where the counter is counted.
    pub counter_us: i64,
}

/// Decides by the table above.
pub(super) fn count(before: Option<&Point>, now: &Point, is_container: bool) -> Count {
    let baseline = |event| Count { event, quantity_us: 0, elapsed_us: 0, capped: None, counter_us: now.counter_us };
    let Some(before) = before else { return baseline(Event::FirstReading) };
    let from_zero = Point { counter_us: 0, ..before.clone() };
    if before.source != now.source {
        baseline(Event::SourceChanged)
    } else if before.container_mark != now.container_mark || (is_container && before.boot_id != now.boot_id) {
        baseline(Event::ContainerRestarted)
    } else if before.boot_id != now.boot_id {
        since(&Point { monotonic_us: 0, boottime_us: 0, ..from_zero }, now, Event::Rebooted)
    } else if now.monotonic_us < before.monotonic_us || now.boottime_us < before.boottime_us {
        baseline(Event::ClockFell)
    } else if before.counter_mark != now.counter_mark {
        since(&from_zero, now, Event::CounterRestarted)
    } else if now.counter_us >= before.counter_us {
        since(before, now, Event::Counted)
    } else if is_cgroup(now) {
        since(&from_zero, now, Event::CounterReset)
    } else {
        Count { counter_us: before.counter_us, ..baseline(Event::CounterFell) }
    }
}

fn is_cgroup(point: &Point) -> bool {
    point.source.starts_with("cgroup")
}

/// The difference, within what is possible (rule M6).
fn since(before: &Point, now: &Point, event: Event) -> Count {
    let running_us = now.monotonic_us.saturating_sub(before.monotonic_us);
    let grown_us = now.counter_us.saturating_sub(before.counter_us);
    let (fewer, more) = (i64::from(before.cpus.min(now.cpus)), i64::from(before.cpus.max(now.cpus)));
    let (claimed_us, possible_us, noise_us) = match now.source.as_str() {
        "uptime" => (grown_us, running_us, 0),
        "vcpu" => (grown_us.saturating_mul(fewer), running_us.saturating_mul(fewer), 0),
        _ => (grown_us, running_us.saturating_mul(more), NOISE_US.saturating_mul(more)),
    };
    let ahead_us = claimed_us.saturating_sub(possible_us).max(0);
    let is_noise = ahead_us <= noise_us;
    Count {
        event,
        quantity_us: claimed_us.min(possible_us),
        elapsed_us: now.boottime_us.saturating_sub(before.boottime_us),
        capped: (!is_noise).then_some(Capped { claimed_us, possible_us }),
        counter_us: if is_noise { now.counter_us.saturating_sub(ahead_us) } else { now.counter_us },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn point(source: &str, counter_s: i64, running_s: i64) -> Point {
        Point {
            source: source.into(),
            boot_id: "boot".into(),
            container_mark: String::new(),
            counter_mark: "7".into(),
            counter_us: counter_s * S,
            cpus: 4,
            monotonic_us: running_s * S,
            boottime_us: running_s * S,
        }
    }

    fn on_vm(before: &Point, now: &Point) -> Count {
        count(Some(before), now, false)
    }

    #[test]
    fn m2_the_first_reading_ever_counts_nothing() {
        let first = count(None, &point("uptime", 500, 500), false);
        assert_eq!((first.event, first.quantity_us), (Event::FirstReading, 0));
    }

    #[test]
    fn m1_usage_is_the_difference_of_two_readings() {
        let counted = on_vm(&point("cgroup a", 50, 100), &point("cgroup a", 65, 160));
        assert_eq!((counted.event, counted.quantity_us, counted.elapsed_us), (Event::Counted, 15 * S, 60 * S));
    }

    #[test]
    fn m3_a_long_gap_is_counted_whole() {
        let counted = on_vm(&point("uptime", 100, 100), &point("uptime", 1_000_100, 1_000_100));
        assert_eq!((counted.quantity_us, counted.capped), (1_000_000 * S, None));
    }

    #[test]
    fn m3_suspension_is_spread_over_and_not_counted() {
        let mut now = point("uptime", 160, 160);
        now.boottime_us += 3_600 * S;
        let counted = on_vm(&point("uptime", 100, 100), &now);
        assert_eq!((counted.quantity_us, counted.elapsed_us), (60 * S, 3_660 * S));
        let mut busy = point("cpu", 400, 160);
        busy.boottime_us += 3_600 * S;
        let capped = on_vm(&point("cpu", 0, 100), &busy).capped;
        assert_eq!(capped, Some(Capped { claimed_us: 400 * S, possible_us: 240 * S }));
    }

    #[test]
    fn m2_a_rebooted_vm_is_counted_from_its_boot() {
        for (source, quantity) in [("uptime", 30 * S), ("vcpu", 120 * S), ("cpu", 30 * S), ("cgroup a", 30 * S)] {
            let mut now = point(source, 30, 30);
            now.boot_id = "next".into();
            let counted = on_vm(&point(source, 9_000, 9_000), &now);
            assert_eq!((counted.event, counted.quantity_us), (Event::Rebooted, quantity), "{source}");
            assert_eq!(counted.elapsed_us, 30 * S);
        }
    }

    #[test]
    fn m6_a_machine_that_rebooted_with_more_cpus_is_counted_at_the_fewer() {
        let (before, mut now) = (point("vcpu", 100, 100), point("vcpu", 30, 30));
        now.boot_id = "next".into();
        now.cpus = 64;
        assert_eq!(on_vm(&before, &now).quantity_us, 4 * 30 * S);
    }

    #[test]
    fn m2_a_container_whose_host_rebooted_starts_a_baseline() {
        let mut now = point("uptime", 900, 900);
        now.boot_id = "next".into();
        let counted = count(Some(&point("uptime", 100, 100)), &now, true);
        assert_eq!((counted.event, counted.quantity_us), (Event::ContainerRestarted, 0));
    }

    #[test]
    fn m1_a_container_made_anew_starts_a_baseline() {
        let mut now = point("uptime", 900, 900);
        now.container_mark = "other".into();
        let counted = count(Some(&point("uptime", 100, 100)), &now, true);
        assert_eq!((counted.event, counted.quantity_us), (Event::ContainerRestarted, 0));
    }

    #[test]
    fn m1_another_source_starts_a_baseline_also_over_a_reboot() {
        let before = point("cgroup a", 10, 100);
        let mut now = point("cgroup b", 90, 160);
        assert_eq!(on_vm(&before, &now).event, Event::SourceChanged);
        now.boot_id = "next".into();
        now.counter_mark = "8".into();
        assert_eq!((on_vm(&before, &now).event, on_vm(&before, &now).quantity_us), (Event::SourceChanged, 0));
    }

    #[test]
    fn a_group_made_anew_is_counted_from_zero() {
        let mut now = point("cgroup a", 20, 160);
        now.counter_mark = "8".into();
        for counter_before in [5, 5_000] {
            let counted = on_vm(&point("cgroup a", counter_before, 100), &now);
            assert_eq!((counted.event, counted.quantity_us), (Event::CounterRestarted, 20 * S));
        }
    }

    #[test]
    fn a_groups_counter_that_fell_is_counted_from_zero_and_capped() {
        let counted = on_vm(&point("cgroup a", 5_000, 100), &point("cgroup a", 20, 160));
        assert_eq!((counted.event, counted.quantity_us), (Event::CounterReset, 20 * S));
        let capped = on_vm(&point("cgroup a", 5_000, 100), &point("cgroup a", 4_000, 160));
        assert_eq!((capped.quantity_us, capped.capped.is_some()), (240 * S, true));
    }

    #[test]
    fn busy_time_that_fell_counts_nothing_twice() {
        let fell = on_vm(&point("cpu", 100, 100), &point("cpu", 99, 160));
        assert_eq!((fell.event, fell.quantity_us, fell.counter_us), (Event::CounterFell, 0, 100 * S));
        let mut kept = point("cpu", 99, 160);
        kept.counter_us = fell.counter_us;
        assert_eq!(on_vm(&kept, &point("cpu", 103, 220)).quantity_us, 3 * S);
    }

    #[test]
    fn a_machine_put_back_to_an_earlier_state_starts_a_baseline() {
        for source in ["uptime", "vcpu", "cpu", "cgroup a"] {
            let counted = on_vm(&point(source, 100, 100), &point(source, 40, 40));
            assert_eq!((counted.event, counted.quantity_us, counted.counter_us), (Event::ClockFell, 0, 40 * S));
        }
        // One clock that fell is enough, whatever the other says.
        for (monotonic_us, boottime_us) in [(99 * S, 160 * S), (160 * S, 99 * S)] {
            let now = Point { monotonic_us, boottime_us, ..point("uptime", 160, 160) };
            assert_eq!(on_vm(&point("uptime", 100, 100), &now).event, Event::ClockFell);
        }
        assert_eq!(on_vm(&point("uptime", 100, 100), &point("uptime", 100, 100)).event, Event::Counted);
    }

    #[test]
    fn m6_vcpu_counts_at_the_smaller_of_its_two_cpu_counts() {
        for (cpus_before, cpus_now) in [(2, 8), (8, 2)] {
            let (mut before, mut now) = (point("vcpu", 100, 100), point("vcpu", 160, 160));
            (before.cpus, now.cpus) = (cpus_before, cpus_now);
            assert_eq!(on_vm(&before, &now).quantity_us, 2 * 60 * S);
        }
    }

    #[test]
    fn m6_an_impossible_rate_is_cut_to_what_is_possible_and_reported() {
        for (source, possible_s) in [("uptime", 60), ("vcpu", 240), ("cpu", 240), ("cgroup a", 240)] {
            let counted = on_vm(&point(source, 0, 100), &point(source, 9_999, 160));
            assert_eq!(counted.quantity_us, possible_s * S, "{source}");
            assert_eq!(counted.capped.unwrap().possible_us, possible_s * S);
            assert_eq!(counted.counter_us, 9_999 * S, "the excess is gone");
        }
    }

    #[test]
    fn m6_what_a_busy_counter_is_ahead_of_the_clock_is_left_for_the_next_interval() {
        let mut ahead = point("cpu", 4 * 60, 160);
        ahead.counter_us += 4 * NOISE_US;
        let first = on_vm(&point("cpu", 0, 100), &ahead);
        assert_eq!((first.quantity_us, first.capped, first.counter_us), (240 * S, None, 240 * S));
        ahead.counter_us += 1;
        assert!(on_vm(&point("cpu", 0, 100), &ahead).capped.is_some());
    }
}
