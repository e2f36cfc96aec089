//! What holds for every history, tried on many.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::testing::{HOUR, Ledger, MINUTE, SECOND, at, meter, total, trusted, vm};
use super::{MeterId, boundaries, buckets, compaction, coverage, meters, samples};
use crate::clock::{Clock, ManualClock};
use crate::model::{Micros, Sample, Source, Span, Timestamp};
use crate::store::Tx;

const T0: i64 = 1_800_000_000;

fn check<S: Strategy>(cases: u32, strategy: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, law).unwrap();
}

/// Usage, in microseconds after `T0` and µs long, and how much.
fn usages() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
    prop::collection::vec((0..6 * HOUR, 0..2 * HOUR, 1..HOUR), 1..6)
}

fn cuts() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(0..8 * HOUR, 0..8)
}

fn after(micros: i64) -> Timestamp {
    at(T0).plus(micros)
}

fn use_all(tx: &Tx<'_>, id: MeterId, usages: &[(i64, i64, i64)]) {
    for (from, length, quantity) in usages {
        buckets::add(tx, id, Span::new(after(*from), after(from + length)), Micros::new(*quantity)).unwrap();
    }
}

fn note_all(tx: &Tx<'_>, cuts: &[i64]) {
    for cut in cuts {
        boundaries::note(tx, after(*cut), "period").unwrap();
    }
}

/// What was used between each two neighbouring boundaries, and that no bucket overlaps the next or spans a boundary.
fn between_boundaries(tx: &Tx<'_>, id: MeterId, cuts: &[i64]) -> Vec<Micros> {
    let mut cuts: Vec<i64> = cuts.iter().copied().chain([-HOUR, 20 * HOUR]).collect();
    cuts.sort_unstable();
    let overlaps: i64 = tx
        .query_row(
            "SELECT count(*) FROM bucket a JOIN bucket b ON a.meter_id = b.meter_id AND a.from_us < b.from_us
             WHERE a.from_us + a.width_us > b.from_us",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let spanning: i64 = tx
        .query_row(
            "SELECT count(*) FROM bucket JOIN boundary ON from_us < at_us AND at_us < from_us + width_us",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!((overlaps, spanning), (0, 0));
    cuts.windows(2).map(|ends| buckets::used(tx, id, Span::new(after(ends[0]), after(ends[1]))).unwrap()).collect()
}

fn ready(tx: &Tx<'_>, source: Source) -> MeterId {
    meters::ensure(tx, &meter("compute_hours", source)).unwrap()
}

#[test]
fn m7_boundaries_in_any_order_and_at_any_time_never_change_the_total() {
    let ledger = Ledger::new();
    let strategy = (usages(), cuts(), any::<prop::sample::Index>());
    check(48, &strategy, |(usages, cuts, known_before)| {
        let sum: i64 = usages.iter().map(|(_, _, quantity)| quantity).sum();
        let known = if cuts.is_empty() { 0 } else { known_before.index(cuts.len()) };
        let (whole, parts) = ledger.undone(move |tx| {
            let id = ready(tx, Source::Uptime);
            note_all(tx, &cuts[..known]);
            use_all(tx, id, &usages);
            note_all(tx, &cuts[known..]);
            (total(tx, id), between_boundaries(tx, id, &cuts))
        });
        prop_assert_eq!(whole, Micros::new(sum));
        prop_assert_eq!(parts.iter().map(|part| part.get()).sum::<i64>(), sum);
        prop_assert!(parts.iter().all(|part| *part >= Micros::ZERO));
        Ok(())
    });
}

#[test]
fn m7_compaction_keeps_every_total_between_boundaries() {
    let ledger = Ledger::new();
    let strategy = (usages(), cuts(), usages(), 1..4_usize);
    check(32, &strategy, |(usages, cuts, late, hours_max)| {
        let late_sum: i64 = late.iter().map(|(_, _, quantity)| quantity).sum();
        let (before, compacted, whole) = ledger.undone(move |tx| {
            let id = ready(tx, Source::Uptime);
            note_all(tx, &cuts);
            use_all(tx, id, &usages);
            let before = between_boundaries(tx, id, &cuts);
            while compaction::compact(tx, id, Span::new(after(-HOUR), after(20 * HOUR)), hours_max).unwrap() > 0 {}
            let compacted = between_boundaries(tx, id, &cuts);
            use_all(tx, id, &late);
            note_all(tx, &[3 * HOUR + 1]);
            between_boundaries(tx, id, &cuts);
            (before, compacted, total(tx, id))
        });
        prop_assert_eq!(&before, &compacted);
        prop_assert_eq!(whole.get(), before.iter().map(|part| part.get()).sum::<i64>() + late_sum);
        Ok(())
    });
}

/// What happens to a machine between two moments at which it may be sampled.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// It runs, and a counter grows by so many thousandths of what its two CPUs can do.
    Runs(i64, i64),
    Suspended(i64),
    WallSteps(i64),
    /// It goes down, after a last sample, and comes up after so long.
    Reboots(i64),
}

fn history() -> impl Strategy<Value = Vec<(Happens, bool)>> {
    let one = prop_oneof![
        6 => (1..30 * MINUTE, 0..=1_000_i64).prop_map(|(ran, busy)| Happens::Runs(ran, busy)),
        1 => (1..HOUR).prop_map(Happens::Suspended),
        1 => (-HOUR..HOUR).prop_map(Happens::WallSteps),
        1 => (1..HOUR).prop_map(Happens::Reboots),
    ];
    prop::collection::vec((one, any::<bool>()), 1..12)
}

/// A machine's history, sampled at its first moment, at its last, before each reboot, and where told.
struct Story<'c> {
    tx: &'c Tx<'c>,
    clock: ManualClock,
    source: Source,
    busy_us: i64,
    boots: u32,
}

impl Story<'_> {
    fn sample(&self) {
        let now = self.clock.read();
        let counter_us = if matches!(self.source, Source::Cpu) { self.busy_us } else { now.monotonic_us };
        let incarnation = vm(&self.boots.to_string());
        let sample = Sample {
            meter: meter("compute_hours", Source::Uptime).name,
            source: self.source.word().to_owned(),
            incarnation: incarnation.clone(),
            counter_us,
            cpus: 2,
        };
        samples::take(self.tx, &sample, now, &trusted(now)).unwrap();
        let round =
            coverage::Round { incarnation: &incarnation, now, how: coverage::How::Observed, sample_every_us: MINUTE };
        coverage::note(self.tx, &round, &trusted(now)).unwrap();
    }

    fn live(&mut self, happens: Happens) {
        match happens {
            Happens::Runs(ran, busy) => {
                self.clock.run(ran);
                self.busy_us += (2 * ran * busy).div_euclid(1_000);
            }
            Happens::Suspended(asleep) => self.clock.suspend(asleep),
            Happens::WallSteps(by) => self.clock.step_wall(by),
            Happens::Reboots(off) => {
                self.sample();
                self.clock.reboot(off);
                self.busy_us = 0;
                self.boots += 1;
            }
        }
    }
}

#[test]
fn m1_how_often_a_history_is_sampled_never_changes_what_was_used() {
    let ledger = Ledger::new();
    for source in [Source::Uptime, Source::Vcpu, Source::Cpu] {
        check(48, &history(), |history| {
            let source = source.clone();
            let ran: i64 = history.iter().map(|(happens, _)| truth(&source, *happens)).sum();
            let tell = move |sampled: fn(bool) -> bool| {
                let (history, source) = (history.clone(), source.clone());
                move |tx: &Tx<'_>| {
                    let id = ready(tx, source.clone());
                    let clock = ManualClock::booted_at(at(T0));
                    let mut story = Story { tx, clock, source, busy_us: 0, boots: 0 };
                    story.sample();
                    for (happens, told) in history {
                        story.live(happens);
                        if sampled(told) {
                            story.sample();
                        }
                    }
                    story.sample();
                    (total(tx, id), stretches_overlap(tx))
                }
            };
            let told = ledger.undone(tell(|told| told));
            let seldom = ledger.undone(tell(|_| false));
            prop_assert_eq!((told, seldom), ((Micros::new(ran), false), (Micros::new(ran), false)));
            Ok(())
        });
    }
}

/// What a history's moment truly used.
fn truth(source: &Source, happens: Happens) -> i64 {
    match (happens, source) {
        (Happens::Runs(ran, _), Source::Uptime) => ran,
        (Happens::Runs(ran, _), Source::Vcpu) => 2 * ran,
        (Happens::Runs(ran, busy), _) => (2 * ran * busy).div_euclid(1_000),
        _ => 0,
    }
}

fn stretches_overlap(tx: &Tx<'_>) -> bool {
    let count: i64 = tx
        .query_row(
            "SELECT count(*) FROM coverage a JOIN coverage b ON a.from_us < b.from_us WHERE a.to_us > b.from_us",
            [],
            |row| row.get(0),
        )
        .unwrap();
    count > 0
}

#[test]
fn m10_a_month_of_minutes_leaves_a_handful_of_coverage_rows_and_every_minute_of_usage() {
    let rows = Ledger::new().undone(|tx| {
        let id = ready(tx, Source::Uptime);
        let clock = ManualClock::booted_at(at(T0));
        let mut story = Story { tx, clock, source: Source::Uptime, busy_us: 0, boots: 0 };
        story.sample();
        for minute in 1..=30 * 24 * 60_i64 {
            story.live(Happens::Runs(MINUTE, 0));
            story.live(Happens::WallSteps(if minute % 3 == 0 { 2 } else { -1 }));
            story.sample();
        }
        assert_eq!(total(tx, id), Micros::new(30 * 24 * 60 * MINUTE));
        assert_eq!(coverage::of(tx, Span::new(at(T0), at(T0 + 60))).unwrap().observed_us, 60 * SECOND);
        tx.query_row("SELECT count(*) FROM coverage", [], |row| row.get::<_, i64>(0)).unwrap()
    });
    assert!(rows < 5, "{rows} rows");
}
