//! Rows that were lost with a damaged database, met so that for want of them nothing is billed twice and nothing that
//! stands is lowered. What a row still says of those that are gone is believed; what nobody can tell is listed for people.

use rusqlite::OptionalExtension;

use super::hold::{self, Held};
use super::{OutboxError, UsageRecord, carry, record, segment};
use crate::model::{Micros, Timestamp};
use crate::store::{Recovered, Tx, meta};

/// When rows of periods were lost.
const LOST: &str = "usage_records_lost_us";

/// What this room can tell of itself after a recovery. What stands is read before anything is sent (rule S5).
pub fn make_good(tx: &Tx<'_>, recovered: &Recovered) -> Result<(), OutboxError> {
    // The next one to be drawn must not be taken for a lost one, or what stands would seem to be read already.
    tx.execute_batch(
        "INSERT INTO generation (id, token, drawn_us, because)
             SELECT id, 'lost-' || id, 0, 'lost' FROM
                 (SELECT generation_id AS id FROM delivery UNION SELECT read_generation FROM usage_record)
             WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM generation)",
    )?;
    if !recovered.is_whole(&["usage_record"]) {
        meta::set(tx, LOST, &recovered.at.micros().to_string())?;
        part_from_lost_rows(tx)?;
    }
    if !recovered.is_whole(&["usage_record", "segment"]) {
        keep_segments(tx, recovered.at)?;
    }
    if !recovered.is_whole(&["usage_record", "carry"]) {
        keep_carried_in(tx, recovered.at)?;
        list_shortfalls(tx)?;
    }
    // Without its links a row is not known to be rated as it was; what several VMs add up to is never compared (rule S10).
    let links_lost = !recovered.is_whole(&["link", "item"]);
    let own_lost = !recovered.is_whole(&["usage_record", "delivery"]) || recovered.log.is_some();
    for record in record::unfinished(tx)? {
        if links_lost || record.shared && own_lost {
            hold::hold(tx, record.id, &Held::Lost, recovered.at)?;
        }
    }
    Ok(())
}

/// Usage of a row's period that is in no bucket any more, and that the row was rated with: it counts all the same.
pub fn remember(tx: &Tx<'_>, id: i64, used: Micros) -> Result<(), OutboxError> {
    tx.execute("UPDATE usage_record SET forgotten = forgotten + ?2 WHERE id = ?1", (id, used.get()))?;
    Ok(())
}

/// When a row was rated last.
pub fn rated_at(tx: &Tx<'_>, id: i64) -> Result<Timestamp, OutboxError> {
    let at = tx.query_row("SELECT rated_us FROM usage_record WHERE id = ?1", [id], |row| row.get(0))?;
    Ok(Timestamp::from_micros(at))
}

/// Whether a row takes the place of one that may have been lost, and nothing was done with it yet.
pub fn takes_a_lost_place(tx: &Tx<'_>, record: &UsageRecord) -> Result<bool, OutboxError> {
    let is_untouched = record.revision == 0 && record.standing == Some(0) && record.read_generation.is_none();
    Ok(is_untouched && at(tx)?.is_some_and(|lost| record.period.contains(lost)))
}

/// A new row of a period in which one may have been lost. What stands is then what a ledger that has forgotten it finds
/// (rule S5), and not what somebody else had put there (rule S4). Of a period that was over, it is not known what was carried
/// out of it; of a sum of several VMs, not what of it is ours.
pub(super) fn take_a_lost_place(tx: &Tx<'_>, id: i64) -> Result<(), OutboxError> {
    let record = record::by_id(tx, id)?;
    let Some(lost) = at(tx)?.filter(|lost| record.period.from <= *lost) else { return Ok(()) };
    if record.shared || record.period.to <= lost {
        return hold::hold(tx, id, &Held::Lost, lost);
    }
    tx.execute("UPDATE usage_record SET standing = 0, standing_us = ?2 WHERE id = ?1", (id, lost.micros()))?;
    Ok(())
}

fn at(tx: &Tx<'_>) -> Result<Option<Timestamp>, OutboxError> {
    Ok(meta::get(tx, LOST)?.and_then(|text| text.parse().ok()).map(Timestamp::from_micros))
}

/// A later row must not be taken for a lost one by its id. Units on their way to a lost row may be billed there.
fn part_from_lost_rows(tx: &Tx<'_>) -> Result<(), OutboxError> {
    tx.execute_batch(
        "DELETE FROM delivery WHERE usage_record_id NOT IN (SELECT id FROM usage_record);
         DELETE FROM day_share WHERE usage_record_id NOT IN (SELECT id FROM usage_record);
         DELETE FROM segment WHERE usage_record_id NOT IN (SELECT id FROM usage_record);
         DELETE FROM credit_due WHERE record NOT IN (SELECT id FROM usage_record);
         DELETE FROM carry WHERE from_record NOT IN (SELECT id FROM usage_record);",
    )?;
    tx.execute(
        "UPDATE usage_record SET drift = ?1, held_units = held_units +
             (SELECT sum(units) FROM carry WHERE from_record = usage_record.id
                  AND to_record NOT IN (SELECT id FROM usage_record))
         WHERE id IN (SELECT from_record FROM carry WHERE to_record NOT IN (SELECT id FROM usage_record))",
        [MAY_BE_BILLED],
    )?;
    tx.execute_batch("DELETE FROM carry WHERE to_record NOT IN (SELECT id FROM usage_record)")?;
    // A closed segment without the row that bills the rest of its period.
    tx.execute(
        "UPDATE usage_record SET segment_of = NULL, held_code = ?1, held_because = ?2
         WHERE segment_of NOT IN (SELECT id FROM usage_record)",
        (Held::Lost.code(), Held::Lost.because()),
    )?;
    Ok(())
}

const MAY_BE_BILLED: &str =
    "where they were carried to was lost with the damage to usage.db, so they may be billed already";

/// What was billed on segments that are gone is still known as their sum, and not billed again (rule R5).
fn keep_segments(tx: &Tx<'_>, now: Timestamp) -> Result<(), OutboxError> {
    for record in all(tx)?.into_iter().filter(|record| record.segment_of.is_none()) {
        let known = segment::closed_segments(tx, record.id)?;
        let units = known.iter().fold(0_i64, |sum, segment| sum.saturating_add(segment.units));
        let gone = record.closed_segments.saturating_sub(units.saturating_sub(record.floor));
        if gone > 0 {
            segment::keep(tx, record.id, &record.item, &record.price, gone, now)?;
        }
    }
    Ok(())
}

/// What was carried into a row is known as a sum, too. It came out of an earlier row that lacks it; where none does, it is
/// taken over.
fn keep_carried_in(tx: &Tx<'_>, now: Timestamp) -> Result<(), OutboxError> {
    let records = all(tx)?;
    for record in &records {
        let mut gone = record.carried_in.saturating_sub(carry::carried_in(tx, record.id)?);
        let earlier = records.iter().filter(|earlier| {
            earlier.customer == record.customer
                && earlier.meter == record.meter
                && earlier.period.to <= record.period.from
        });
        for earlier in earlier {
            let units = shortfall(tx, earlier)?.min(gone);
            if units > 0 {
                let sql = "INSERT INTO carry (from_record, to_record, units, at_us) VALUES (?1, ?2, ?3, ?4)";
                tx.execute(sql, (earlier.id, record.id, units, now.micros()))?;
                gone = gone.saturating_sub(units);
            }
        }
        if gone > 0 {
            tx.execute("UPDATE usage_record SET adopted = adopted + ?2 WHERE id = ?1", (record.id, gone))?;
        }
    }
    Ok(())
}

/// What a closed row lacks now, although its books balanced, was carried to where nothing tells any more.
fn list_shortfalls(tx: &Tx<'_>) -> Result<(), OutboxError> {
    for record in all(tx)? {
        let units = shortfall(tx, &record)?;
        if units > 0 {
            let sql = "UPDATE usage_record SET held_units = held_units + ?2, drift = ?3 WHERE id = ?1";
            tx.execute(sql, (record.id, units, MAY_BE_BILLED))?;
        }
    }
    Ok(())
}

fn shortfall(tx: &Tx<'_>, record: &UsageRecord) -> Result<i64, OutboxError> {
    if record.state != record::RecordState::Closed {
        return Ok(0);
    }
    let sql = "SELECT held_units FROM usage_record WHERE id = ?1";
    let held: i64 = tx.query_row(sql, [record.id], |row| row.get(0)).optional()?.unwrap_or(0);
    let told = record.standing.unwrap_or(0).saturating_add(held).saturating_add(carry::carried_out(tx, record.id)?);
    Ok(record.owed().saturating_sub(told).max(0))
}

/// All rows, closed or not, oldest period first.
pub fn all(tx: &Tx<'_>) -> Result<Vec<UsageRecord>, OutboxError> {
    let mut records = record::closed_since(tx, Timestamp::from_micros(0))?;
    records.extend(record::unfinished(tx)?);
    records.sort_by_key(|record| (record.period.from, record.id));
    Ok(records)
}
