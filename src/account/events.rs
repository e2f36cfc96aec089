//! Events that the provider sent, each taken once.

use rusqlite::{Connection, Row};

use super::AccountError;
use crate::model::Timestamp;
use crate::store::Tx;

/// The provider sends an event again for days, and whoever looks at its page for a month. Longer than both.
const KEPT_DAYS: i64 = 40;

/// An event whose object is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEvent {
    /// The provider's id.
    pub id: String,
    /// The provider's word, as `invoice.paid`.
    pub kind: String,
    /// What is to be read: `subscription`, `invoices`, `customer` or `meter`.
    pub subject: String,
    /// What it is about.
    pub object: String,
}

/// Takes it; false where it was taken before.
pub fn take_event(tx: &Tx<'_>, event: &PendingEvent, now: Timestamp) -> Result<bool, AccountError> {
    let sql = "INSERT INTO event (id, kind, subject, object, taken_us) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (id) DO NOTHING";
    let row = (&event.id, &event.kind, &event.subject, &event.object, now.micros());
    Ok(tx.prepare_cached(sql)?.execute(row)? > 0)
}

/// Those whose objects are still to be read, oldest first.
pub fn pending_events(connection: &Connection) -> Result<Vec<PendingEvent>, AccountError> {
    let sql = "SELECT id, kind, subject, object FROM event WHERE done_us IS NULL ORDER BY taken_us, id";
    let read = |row: &Row<'_>| {
        Ok(PendingEvent { id: row.get(0)?, kind: row.get(1)?, subject: row.get(2)?, object: row.get(3)? })
    };
    Ok(connection.prepare_cached(sql)?.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// What these are about was read after they were taken.
pub fn event_done(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<(), AccountError> {
    tx.prepare_cached("UPDATE event SET done_us = ?2 WHERE id = ?1")?.execute((id, now.micros()))?;
    Ok(())
}

/// Forgets those that nobody sends any more; how many.
pub fn prune_events(tx: &Tx<'_>, now: Timestamp) -> Result<usize, AccountError> {
    let before = now.minus(KEPT_DAYS * crate::model::MICROS_PER_DAY);
    let sql = "DELETE FROM event WHERE done_us IS NOT NULL AND taken_us < ?1";
    Ok(tx.prepare_cached(sql)?.execute([before.micros()])?)
}
