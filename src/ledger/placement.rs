//! Usage whose wall time is not known yet (rule M5).
//!
//! While nobody vouches for the clock, usage keeps its time since boot and waits here, visibly. It is placed as soon as
//! somebody does; usage of a boot that ended before that is placed by that boot's own wall clock, and its coverage is
//! marked `clock_untrusted`.

use rusqlite::{Connection, OptionalExtension};

use super::{LedgerError, MeterId, buckets, coverage, credits};
use crate::clock::Reading;
use crate::clock::trust::Placement;
use crate::model::{Micros, Span, Timestamp};
use crate::store::Tx;

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// When this boot's first unplaced entry began, `BOOTTIME`; stays after it was placed, see
    /// [`crate::clock::trust::place`].
    pub since_boottime_us: Option<i64>,
    /// How much waits now, by meter, over all boots.
    pub quantities: Vec<(MeterId, Micros)>,
}

/// What [`settle`] placed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Entries of this boot.
    pub placed: usize,
    /// Entries of earlier boots, by the wall clock of their time; the coverage there is marked.
    pub by_stamp: usize,
}

/// An entry that ends now and has to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unplaced {
    pub meter: MeterId,
    pub from_boottime_us: i64,
    pub quantity: Micros,
    /// The credit it is, where it is one.
    pub credit: Option<i64>,
}

/// Keeps an entry until the clock is trusted.
pub(super) fn hold(tx: &Tx<'_>, entry: &Unplaced, now: Reading, boot_id: &str) -> Result<(), LedgerError> {
    tx.prepare_cached(
        "INSERT INTO unplaced (meter_id, boot_id, from_boottime_us, to_boottime_us, to_wall_us, quantity, credit_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        entry.meter,
        boot_id,
        entry.from_boottime_us,
        now.boottime_us,
        now.wall.micros(),
        entry.quantity.get(),
        entry.credit,
    ))?;
    tx.prepare_cached("INSERT INTO waiting_since (boot_id, since_boottime_us) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((boot_id, entry.from_boottime_us))?;
    Ok(())
}

/// Since when something has been waiting in this boot, `CLOCK_BOOTTIME` microseconds.
pub fn waiting_since(conn: &Connection, boot_id: &str) -> Result<Option<i64>, LedgerError> {
    let since = conn
        .prepare_cached("SELECT since_boottime_us FROM waiting_since WHERE boot_id = ?1")?
        .query_row([boot_id], |row| row.get(0))
        .optional()?;
    Ok(since)
}

/// What waits, and since when in this boot.
pub fn waiting(conn: &Connection, boot_id: &str) -> Result<Waiting, LedgerError> {
    let since_boottime_us = waiting_since(conn, boot_id)?;
    let mut sums =
        conn.prepare_cached("SELECT meter_id, sum(quantity) FROM unplaced GROUP BY meter_id ORDER BY meter_id")?;
    let sums = sums.query_map([], |row| Ok((row.get(0)?, Micros::new(row.get(1)?))))?;
    Ok(Waiting { since_boottime_us, quantities: sums.collect::<Result<_, _>>()? })
}

/// The meters of which something waits, whatever boot it is of.
pub fn unplaced(conn: &Connection) -> Result<Vec<String>, LedgerError> {
    let sql = "SELECT DISTINCT name FROM unplaced JOIN meter ON meter.id = meter_id ORDER BY name";
    let mut names = conn.prepare_cached(sql)?;
    let names = names.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Places what can be placed: this boot's entries once its place is known, those of earlier boots at once. Call it
/// before the samples of a round, with the same placement, so that stretches of time join without a seam.
pub fn settle(tx: &Tx<'_>, place: &Placement, boot_id: &str) -> Result<Settled, LedgerError> {
    let mut settled = Settled::default();
    for entry in load(tx)? {
        let is_ours = entry.boot_id == boot_id;
        let zero = if is_ours { place.wall_at(0) } else { Some(entry.to_wall.minus(entry.to_boottime_us)) };
        let Some(zero) = zero else { continue };
        let mut span = Span::new(zero.plus(entry.from_boottime_us), zero.plus(entry.to_boottime_us));
        if let Some(credit) = entry.credit {
            let at = credits::settle(tx, credit, span.to)?;
            span = Span::new(at, at);
        }
        buckets::add(tx, entry.meter, span, entry.quantity)?;
        tx.prepare_cached("DELETE FROM unplaced WHERE id = ?1")?.execute([entry.id])?;
        if is_ours { settled.placed += 1 } else { settled.by_stamp += 1 }
    }
    coverage::settle(tx, place, boot_id)?;
    tx.prepare_cached("DELETE FROM waiting_since WHERE boot_id <> ?1")?.execute([boot_id])?;
    Ok(settled)
}

struct Entry {
    id: i64,
    meter: MeterId,
    boot_id: String,
    from_boottime_us: i64,
    to_boottime_us: i64,
    to_wall: Timestamp,
    quantity: Micros,
    credit: Option<i64>,
}

fn load(conn: &Connection) -> Result<Vec<Entry>, LedgerError> {
    let mut rows = conn.prepare_cached(
        "SELECT id, meter_id, boot_id, from_boottime_us, to_boottime_us, to_wall_us, quantity, credit_id
         FROM unplaced ORDER BY id",
    )?;
    let rows = rows.query_map([], |row| {
        Ok(Entry {
            id: row.get(0)?,
            meter: row.get(1)?,
            boot_id: row.get(2)?,
            from_boottime_us: row.get(3)?,
            to_boottime_us: row.get(4)?,
            to_wall: Timestamp::from_micros(row.get(5)?),
            quantity: Micros::new(row.get(6)?),
            credit: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MINUTE, SECOND, at, in_ledger, meter, rows, total, trusted};
    use super::super::{boundaries, meters};
    use super::*;
    use crate::model::Source;

    fn reading(wall_s: i64, boottime_s: i64) -> Reading {
        Reading { wall: at(wall_s), monotonic_us: boottime_s * SECOND, boottime_us: boottime_s * SECOND }
    }

    /// A minute of usage that ended 120 s after boot, at wall time 120 s in 1970.
    fn wait_for_the_clock(tx: &Tx<'_>) -> MeterId {
        let id = meters::ensure(tx, &meter("compute_hours", Source::Uptime)).unwrap();
        let entry = Unplaced { meter: id, from_boottime_us: MINUTE, quantity: Micros::new(MINUTE), credit: None };
        hold(tx, &entry, reading(120, 120), "a").unwrap();
        id
    }

    #[test]
    fn m5_what_waits_stays_while_nobody_vouches_for_the_clock() {
        in_ledger(|tx| {
            wait_for_the_clock(tx);
            assert_eq!(settle(tx, &Placement::Waiting, "a").unwrap(), Settled::default());
            assert_eq!(waiting(tx, "a").unwrap().quantities.len(), 1);
        });
    }

    #[test]
    fn m5_what_waited_is_placed_by_the_trusted_clock_and_split_at_boundaries() {
        in_ledger(|tx| {
            let id = wait_for_the_clock(tx);
            boundaries::note(tx, at(1_800_000_090), "period").unwrap();
            let now = reading(1_800_000_300, 300);
            assert_eq!(settle(tx, &trusted(now), "a").unwrap(), Settled { placed: 1, by_stamp: 0 });
            assert_eq!(rows(tx, id), [(1_800_000_060, 30, 30 * SECOND), (1_800_000_090, 30, 30 * SECOND)]);
            assert_eq!(settle(tx, &trusted(now), "a").unwrap(), Settled::default());
            assert_eq!(total(tx, id), Micros::new(MINUTE));
        });
    }

    #[test]
    fn m5_a_boot_that_ended_untrusted_is_placed_by_its_own_wall_stamps() {
        in_ledger(|tx| {
            let id = wait_for_the_clock(tx);
            assert_eq!(settle(tx, &Placement::Waiting, "b").unwrap(), Settled { placed: 0, by_stamp: 1 });
            assert_eq!(rows(tx, id), [(60, 60, MINUTE)]);
        });
    }

    #[test]
    fn m5_a_boot_waits_its_day_once() {
        in_ledger(|tx| {
            wait_for_the_clock(tx);
            settle(tx, &trusted(reading(1_800_000_000, 300)), "a").unwrap();
            assert_eq!(waiting(tx, "a").unwrap(), Waiting { since_boottime_us: Some(MINUTE), quantities: vec![] });
            settle(tx, &Placement::Waiting, "b").unwrap();
            assert_eq!(waiting(tx, "a").unwrap().since_boottime_us, None);
        });
    }
}
