//! Readings of counters, turned into usage (rules M1 to M7).

use rusqlite::{Connection, OptionalExtension};

use super::counting::{self, Capped, Event, Point};
use super::{LedgerError, MeterId, buckets, meters, placement};
use crate::clock::Reading;
use crate::clock::trust::Placement;
use crate::model::{Micros, Sample, Source, Span};
use crate::store::Tx;

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Which meter.
    pub meter: MeterId,
    /// What it showed, compared with the reading before.
    pub event: Event,
    /// What was used since.
    pub usage: Micros,
    /// Where it was placed; `None` while it waits for a trusted clock, or where nothing was counted.
    pub placed: Option<Span>,
    /// The rate was impossible, and this needs someone (rule M6).
    pub capped: Option<Capped>,
}

/// Takes a sample: compares it with the reading before, places the usage backwards from now (rule M4), or keeps it
/// until the clock is trusted (rule M5), and stores the reading.
///
/// # Errors
/// The meter is unknown, or the database did not take it: then neither reading nor usage is stored.
pub fn take(tx: &Tx<'_>, sample: &Sample, now: Reading, place: &Placement) -> Result<Taken, LedgerError> {
    let meter = meters::id(tx, &sample.meter)?;
    let mut point = point(sample, now);
    let counted = counting::count(load(tx, meter)?.as_ref(), &point, sample.incarnation.is_container);
    let usage = Micros::new(counted.quantity_us);
    let from_boottime_us = now.boottime_us.saturating_sub(counted.elapsed_us);
    let placed = match (place.wall_at(from_boottime_us), place.wall_at(now.boottime_us)) {
        _ if usage == Micros::ZERO => None,
        (Some(from), Some(to)) => {
            let span = Span::new(from, to);
            buckets::add(tx, meter, span, usage)?;
            Some(span)
        }
        _ => {
            let entry = placement::Unplaced { meter, from_boottime_us, quantity: usage, credit: None };
            placement::hold(tx, &entry, now, &sample.incarnation.boot_id)?;
            None
        }
    };
    point.counter_us = counted.counter_us;
    store(tx, meter, &point, now)?;
    Ok(Taken { meter, event: counted.event, usage, placed, capped: counted.capped })
}

/// The most that a meter can count in so much running time (rule M6); nothing where it counts no time of the machine's.
pub fn possible(conn: &Connection, meter: MeterId, source: &Source, running_us: i64) -> Result<Micros, LedgerError> {
    let cpus = match source {
        Source::Push => 0,
        Source::Uptime => 1,
        Source::Vcpu | Source::Cpu | Source::Cgroup { .. } => {
            load(conn, meter)?.map_or(0, |point| i64::from(point.cpus))
        }
    };
    Ok(Micros::new(running_us.max(0).saturating_mul(cpus)))
}

fn point(sample: &Sample, now: Reading) -> Point {
    Point {
        source: sample.source.clone(),
        boot_id: sample.incarnation.boot_id.clone(),
        container_mark: sample.incarnation.container_mark.clone(),
        counter_mark: sample.incarnation.counter.clone(),
        counter_us: sample.counter_us,
        cpus: sample.cpus,
        monotonic_us: now.monotonic_us,
        boottime_us: now.boottime_us,
    }
}

fn load(conn: &Connection, meter: MeterId) -> Result<Option<Point>, LedgerError> {
    let point = conn
        .prepare_cached(
            "SELECT source, boot_id, container_mark, counter_mark, counter_us, cpus, monotonic_us, boottime_us
             FROM reading WHERE meter_id = ?1",
        )?
        .query_row([meter], |row| {
            Ok(Point {
                source: row.get(0)?,
                boot_id: row.get(1)?,
                container_mark: row.get(2)?,
                counter_mark: row.get(3)?,
                counter_us: row.get(4)?,
                cpus: row.get(5)?,
                monotonic_us: row.get(6)?,
                boottime_us: row.get(7)?,
            })
        })
        .optional()?;
    Ok(point)
}

fn store(tx: &Tx<'_>, meter: MeterId, point: &Point, now: Reading) -> Result<(), LedgerError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO reading (meter_id, source, boot_id, container_mark, counter_mark, counter_us, cpus,
             monotonic_us, boottime_us, wall_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        meter,
        &point.source,
        &point.boot_id,
        &point.container_mark,
        &point.counter_mark,
        point.counter_us,
        point.cpus,
        point.monotonic_us,
        point.boottime_us,
        now.wall.micros(),
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOUR, MINUTE, SECOND, at, in_ledger, meter, rows, total, trusted, vm};
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::model::{Incarnation, MeterName};

    const T0: i64 = 1_800_000_000;

    fn uptime(now: Reading, incarnation: &Incarnation) -> Sample {
        Sample {
            meter: MeterName::new("compute_hours").unwrap(),
            source: "uptime".into(),
            incarnation: incarnation.clone(),
            counter_us: now.monotonic_us,
            cpus: 2,
        }
    }

    fn ready(tx: &Tx<'_>) -> MeterId {
        meters::ensure(tx, &meter("compute_hours", Source::Uptime)).unwrap()
    }

    fn step(tx: &Tx<'_>, clock: &ManualClock, boot: &str) -> Taken {
        let now = clock.read();
        take(tx, &uptime(now, &vm(boot)), now, &trusted(now)).unwrap()
    }

    #[test]
    fn m2_the_first_reading_bills_nothing_and_the_next_the_difference() {
        in_ledger(|tx| {
            let (id, clock) = (ready(tx), ManualClock::booted_at(at(T0)));
            clock.run(HOUR);
            let first = step(tx, &clock, "a");
            assert_eq!((first.event, first.usage, first.placed), (Event::FirstReading, Micros::ZERO, None));
            clock.run(MINUTE);
            let taken = step(tx, &clock, "a");
            assert_eq!(taken.placed, Some(Span::new(at(T0 + 3_600), at(T0 + 3_660))));
            assert_eq!(total(tx, id), Micros::new(MINUTE));
        });
    }

    #[test]
    fn m2_a_reboot_counts_from_boot_and_is_placed_there() {
        in_ledger(|tx| {
            let (id, clock) = (ready(tx), ManualClock::booted_at(at(T0)));
            step(tx, &clock, "a");
            clock.reboot(HOUR);
            clock.run(2 * MINUTE);
            assert_eq!(step(tx, &clock, "b").event, Event::Rebooted);
            assert_eq!(rows(tx, id), [(T0 + 3_600, 60, MINUTE), (T0 + 3_660, 60, MINUTE)]);
        });
    }

    #[test]
    fn m4_a_clock_step_moves_where_usage_lands_and_never_how_much() {
        for step_us in [HOUR, -HOUR] {
            in_ledger(move |tx| {
                let (id, clock) = (ready(tx), ManualClock::booted_at(at(T0)));
                step(tx, &clock, "a");
                clock.run(MINUTE);
                clock.step_wall(step_us);
                let taken = step(tx, &clock, "a");
                let from = at(T0).plus(step_us);
                assert_eq!(taken.placed, Some(Span::new(from, from.plus(MINUTE))));
                assert_eq!(total(tx, id), Micros::new(MINUTE));
            });
        }
    }

    #[test]
    fn m3_a_suspension_is_not_billed() {
        in_ledger(|tx| {
            let (id, clock) = (ready(tx), ManualClock::booted_at(at(T0)));
            step(tx, &clock, "a");
            clock.run(30 * SECOND);
            clock.suspend(HOUR);
            clock.run(30 * SECOND);
            step(tx, &clock, "a");
            assert_eq!(total(tx, id), Micros::new(MINUTE));
        });
    }

    #[test]
    fn m5_usage_without_a_trusted_clock_waits_and_stands_in_no_bucket() {
        in_ledger(|tx| {
            let (id, clock) = (ready(tx), ManualClock::booted_at(at(0)));
            step(tx, &clock, "a");
            clock.run(MINUTE);
            let now = clock.read();
            let taken = take(tx, &uptime(now, &vm("a")), now, &Placement::Waiting).unwrap();
            assert_eq!((taken.usage, taken.placed), (Micros::new(MINUTE), None));
            assert_eq!(total(tx, id), Micros::ZERO);
            let waiting = placement::waiting(tx, "a").unwrap();
            assert_eq!((waiting.since_boottime_us, waiting.quantities), (Some(0), vec![(id, Micros::new(MINUTE))]));
        });
    }

    #[test]
    fn m6_an_impossible_rate_is_reported() {
        in_ledger(|tx| {
            let (id, clock) = (ready(tx), ManualClock::booted_at(at(T0)));
            step(tx, &clock, "a");
            clock.run(MINUTE);
            let now = clock.read();
            let sample = Sample { counter_us: 5 * HOUR, ..uptime(now, &vm("a")) };
            let taken = take(tx, &sample, now, &trusted(now)).unwrap();
            assert_eq!(taken.capped, Some(Capped { claimed_us: 5 * HOUR, possible_us: MINUTE }));
            assert_eq!(total(tx, id), Micros::new(MINUTE));
        });
    }

    #[test]
    fn m6_what_a_busy_counter_is_ahead_is_counted_with_the_next_sample() {
        in_ledger(|tx| {
            let (id, clock) = (ready(tx), ManualClock::booted_at(at(T0)));
            let busy = |counter_us| {
                let now = clock.read();
                let sample = Sample { source: "cpu".into(), counter_us, ..uptime(now, &vm("a")) };
                take(tx, &sample, now, &trusted(now)).unwrap().usage.get()
            };
            busy(0);
            clock.run(MINUTE);
            assert_eq!(busy(2 * MINUTE + 1_000), 2 * MINUTE);
            clock.run(MINUTE);
            assert_eq!(busy(3 * MINUTE), MINUTE);
            assert_eq!(total(tx, id), Micros::new(3 * MINUTE));
        });
    }

    #[test]
    fn a_meter_nobody_made_is_refused() {
        in_ledger(|tx| {
            let now = ManualClock::booted_at(at(T0)).read();
            let taken = take(tx, &uptime(now, &vm("a")), now, &trusted(now));
            assert!(matches!(taken, Err(LedgerError::NoMeter { .. })));
        });
    }
}
