//! Stretches that are known in time since boot and laid onto the timeline as soon as the clock is trusted.

use rusqlite::Connection;

use super::{State, timeline};
use crate::clock::Reading;
use crate::clock::trust::{Placement, TrustedBy};
use crate::ledger::LedgerError;
use crate::model::{Span, Timestamp};
use crate::store::Tx;

/// Where a stretch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// At a wall time, before this boot.
    Wall(Timestamp),
    /// At a time since this boot, `BOOTTIME`.
    Boot(i64),
}

/// A stretch that ends in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub from: From,
    pub to_boottime_us: i64,
    /// It ends after this much, at the latest.
    pub longest_us: Option<i64>,
    pub state: State,
}

/// Lays the stretch onto the timeline, or keeps it until the clock is trusted.
pub(super) fn place_or_hold(
    tx: &Tx<'_>,
    stretch: &Stretch,
    now: Reading,
    place: &Placement,
    boot_id: &str,
) -> Result<(), LedgerError> {
    match place {
        Placement::Known { boot_zero, by, .. } => lay(tx, stretch, *boot_zero, is_vouched(*by)),
        Placement::Waiting => hold(tx, stretch, now.wall.minus(now.boottime_us), boot_id),
    }
}

/// Lays what waits: this boot's stretches once its place is known, those of earlier boots by their own wall clock.
pub(in crate::ledger) fn settle(tx: &Tx<'_>, place: &Placement, boot_id: &str) -> Result<(), LedgerError> {
    for (id, stretch, stamp, boot) in load(tx)? {
        match place {
            _ if boot != boot_id => lay(tx, &stretch, stamp, false)?,
            Placement::Known { boot_zero, by, .. } => lay(tx, &stretch, *boot_zero, is_vouched(*by))?,
            Placement::Waiting => continue,
        }
        tx.prepare_cached("DELETE FROM unplaced_coverage WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

const fn is_vouched(by: TrustedBy) -> bool {
    !matches!(by, TrustedBy::Waited)
}

fn lay(tx: &Tx<'_>, stretch: &Stretch, boot_zero: Timestamp, vouched: bool) -> Result<(), LedgerError> {
    let from = match stretch.from {
        From::Wall(at) => at,
        From::Boot(boottime_us) => boot_zero.plus(boottime_us),
    };
    let to = boot_zero.plus(stretch.to_boottime_us);
    let to = stretch.longest_us.map_or(to, |longest_us| to.min(from.plus(longest_us)));
    let state = if vouched || !stretch.state.is_watched() { stretch.state } else { State::ClockUntrusted };
    timeline::lay(tx, Span::new(from, to), state)
}

/// Lengthens the last stretch where this one goes on with it, so that a day of waiting is a row and not a thousand.
fn hold(tx: &Tx<'_>, stretch: &Stretch, stamp: Timestamp, boot_id: &str) -> Result<(), LedgerError> {
    let (from_wall_us, from_boottime_us) = match stretch.from {
        From::Wall(at) => (Some(at.micros()), None),
        From::Boot(boottime_us) => (None, Some(boottime_us)),
    };
    let lengthened = tx
        .prepare_cached(
            "UPDATE unplaced_coverage SET to_boottime_us = ?3, boot_zero_us = ?4
             WHERE id = (SELECT max(id) FROM unplaced_coverage)
               AND boot_id = ?1 AND to_boottime_us = ?2 AND from_boottime_us IS NOT NULL AND state = ?5",
        )?
        .execute((boot_id, from_boottime_us, stretch.to_boottime_us, stamp.micros(), stretch.state))?;
    if lengthened == 0 {
        tx.prepare_cached(
            "INSERT INTO unplaced_coverage
                 (boot_id, from_wall_us, from_boottime_us, to_boottime_us, longest_us, boot_zero_us, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            boot_id,
            from_wall_us,
            from_boottime_us,
            stretch.to_boottime_us,
            stretch.longest_us,
            stamp.micros(),
            stretch.state,
        ))?;
    }
    Ok(())
}

type Waiting = (i64, Stretch, Timestamp, String);

fn load(conn: &Connection) -> Result<Vec<Waiting>, LedgerError> {
    let mut rows = conn.prepare_cached(
        "SELECT id, from_wall_us, from_boottime_us, to_boottime_us, longest_us, state, boot_zero_us, boot_id
         FROM unplaced_coverage ORDER BY id",
    )?;
    let rows = rows.query_map([], |row| {
        let from = match row.get::<_, Option<i64>>(1)? {
            Some(wall_us) => From::Wall(Timestamp::from_micros(wall_us)),
            None => From::Boot(row.get(2)?),
        };
        let stretch = Stretch { from, to_boottime_us: row.get(3)?, longest_us: row.get(4)?, state: row.get(5)? };
        Ok((row.get(0)?, stretch, Timestamp::from_micros(row.get(6)?), row.get(7)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
