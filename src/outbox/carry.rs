//! Rule R6: billed units on their way from a closed period to a later one.

use rusqlite::Connection;
use serde_json::json;

use super::carry_moves::settle_carry;
use super::{OutboxError, UsageRecord, closing, evidence, record};
use crate::model::{MeterName, Timestamp};

use crate::store::{Tx, audit};

/// Units that left a closed period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Which meter.
    pub meter: MeterName,
    /// Out of which row.
    pub from_record: i64,
    /// How many.
    pub units: i64,
    /// Why no period has taken them, where none has.
    pub held_because: Option<String>,
}

/// Units brought into a row.
pub fn carried_in(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    sum(connection, "SELECT ifnull(sum(units), 0) FROM carry WHERE to_record = ?1", record)
}

/// Units carried out of a row.
pub fn carried_out(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    sum(connection, "SELECT ifnull(sum(units), 0) FROM carry WHERE from_record = ?1", record)
}

/// Whether units of earlier periods may be among what stands on a row, carried by a ledger that this one is an older copy of:
/// of those that are not closed yet, and of those whose carries no period has taken.
pub fn follows_unsettled(connection: &Connection, record: &UsageRecord) -> Result<bool, OutboxError> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM usage_record {UNSETTLED_BEFORE})");
    let of = (record.customer.as_str(), record.meter.as_str(), record.period.from.secs());
    Ok(connection.prepare_cached(&sql)?.query_row(of, |row| row.get(0))?)
}

const UNSETTLED_BEFORE: &str = "WHERE customer = ?1 AND meter = ?2 AND period_to_s <= ?3
    AND (state <> 'closed' OR id IN (SELECT from_record FROM carry WHERE to_record IS NULL))";

/// Units are taken over in a row. Unless one process has gone on since its period began, what earlier periods would carry
/// into it may be among them, and is listed instead. Called before anything is noted of the row.
pub(super) fn stop_carrying_into(tx: &Tx<'_>, later: &UsageRecord) -> Result<(), OutboxError> {
    if evidence::since_noted(tx, later)?.in_one_run {
        return Ok(());
    }
    let of = (later.customer.as_str(), later.meter.as_str(), later.period.from.secs());
    tx.execute(&format!("UPDATE usage_record SET may_stand_later = 1 {UNSETTLED_BEFORE}"), of)?;
    tx.execute(
        "DELETE FROM carry WHERE to_record IS NULL AND from_record IN (SELECT id FROM usage_record WHERE may_stand_later)",
        [],
    )?;
    Ok(())
}

/// Units of a row that stand above what is true and can no longer be lowered.
pub fn credit_due(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    sum(connection, "SELECT ifnull(sum(units), 0) FROM credit_due WHERE record = ?1", record)
}

/// Carries that no period has taken yet.
pub fn waiting_carries(connection: &Connection) -> Result<Vec<Carried>, OutboxError> {
    let mut statement = connection.prepare_cached(
        "SELECT r.meter, c.from_record, c.units, c.held_because FROM carry c JOIN usage_record r ON r.id = c.from_record
         WHERE c.to_record IS NULL ORDER BY c.id",
    )?;
    let mut rows = statement.query([])?;
    let mut carries = Vec::new();
    while let Some(row) = rows.next()? {
        carries.push(Carried {
            meter: MeterName::new(row.get::<_, String>(0)?)?,
            from_record: row.get(1)?,
            units: row.get(2)?,
            held_because: row.get(3)?,
        });
    }
    Ok(carries)
}

/// Brings a closed row's carries in line with its target, then hands what waits to the first open period that can
/// take it. Safe to repeat: nothing moves when the books balance.
pub fn settle_closed(tx: &Tx<'_>, closed: &UsageRecord, now: Timestamp) -> Result<(), OutboxError> {
    let stands = closed.standing.unwrap_or(0);
    let carried = carried_out(tx, closed.id)?;
    if !closing::may_carry(closed) {
        let set_aside = closed.owed().saturating_sub(stands).saturating_sub(carried).max(0);
        tx.execute("UPDATE usage_record SET held_units = ?2 WHERE id = ?1", (closed.id, set_aside))?;
    }
    let held_units = held_units(tx, closed)?;
    let moves = settle_carry(closed.owed(), stands, carried, takeable(tx, closed.id)?, held_units);
    if moves.carry_more > 0 {
        tx.execute(
            "INSERT INTO carry (from_record, units, at_us) VALUES (?1, ?2, ?3)",
            (closed.id, moves.carry_more, now.micros()),
        )?;
        let detail = json!({"period_from": closed.period.from, "units": moves.carry_more});
        audit::append(tx, now, "usaged", "carry", closed.item.as_str(), &detail)?;
    }
    if moves.take_back > 0 {
        take_back(tx, closed.id, moves.take_back)?;
        let detail = json!({"period_from": closed.period.from, "units": -moves.take_back});
        audit::append(tx, now, "usaged", "carry", closed.item.as_str(), &detail)?;
    }
    set_credit_due(tx, closed, moves.credit_due, now)?;
    assign(tx, closed)
}

/// Units that are neither billed nor carried; a fall of what is owed takes of them first, and of the reason with the last.
fn held_units(tx: &Tx<'_>, closed: &UsageRecord) -> Result<i64, OutboxError> {
    let held = record::by_id(tx, closed.id)?.held_units;
    let owed = closed.owed().saturating_sub(closed.standing.unwrap_or(0)).max(0);
    if held > owed {
        tx.execute(
            "UPDATE usage_record SET held_units = ?2, drift = CASE WHEN ?2 > 0 THEN drift END WHERE id = ?1",
            (closed.id, owed),
        )?;
    }
    Ok(held.min(owed))
}

/// The part of a row's carries that can still be lowered: not taken yet, taken by a period that is still open, or handed
/// on by one that is not to where it can.
fn takeable(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    Ok(lowerable(connection, record)?.into_iter().map(|(_, units)| units).sum())
}

/// A row's carries with the part of each that can still be lowered, newest first.
fn lowerable(connection: &Connection, record: i64) -> Result<Vec<(i64, i64)>, OutboxError> {
    let mut statement = connection.prepare_cached(
        "SELECT c.id, c.units, r.id, r.state FROM carry c LEFT JOIN usage_record r ON r.id = c.to_record
         WHERE c.from_record = ?1 ORDER BY c.id DESC",
    )?;
    let rows = statement.query_map([record], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, Option<i64>>(2)?.zip(row.get::<_, Option<String>>(3)?),
        ))
    })?;
    let carries: Vec<_> = rows.collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for (id, units, taken_by) in carries {
        // Carries lead to later periods only, so this ends.
        let part = match taken_by {
            Some((later, state)) if state == record::RecordState::Closed.word() => {
                takeable(connection, later)?.min(units)
            }
            Some((_, state)) if state == record::RecordState::Ending.word() => 0,
            _ => units,
        };
        found.push((id, part));
    }
    Ok(found)
}

/// Lowers carries. Where a closed period had handed the units on, its own books have it take them back next.
fn take_back(tx: &Tx<'_>, from_record: i64, mut units: i64) -> Result<(), OutboxError> {
    for (id, part) in lowerable(tx, from_record)? {
        let taken = units.min(part);
        tx.execute("UPDATE carry SET units = units - ?2 WHERE id = ?1 AND units > ?2", (id, taken)).and_then(
            |lowered| match lowered {
                0 => tx.execute("DELETE FROM carry WHERE id = ?1", [id]),
                _ => Ok(lowered),
            },
        )?;
        units = units.saturating_sub(taken);
    }
    Ok(())
}

fn set_credit_due(tx: &Tx<'_>, closed: &UsageRecord, units: i64, now: Timestamp) -> Result<(), OutboxError> {
    if units == credit_due(tx, closed.id)? {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO credit_due (record, units, at_us, because) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (record) DO UPDATE SET units = excluded.units, at_us = excluded.at_us",
        (closed.id, units, now.micros(), "usage of a closed period fell below what was billed"),
    )?;
    let detail = json!({"period_from": closed.period.from, "units": units});
    audit::append(tx, now, "usaged", "credit_due", closed.item.as_str(), &detail)?;
    Ok(())
}

/// Gives waiting units to the first open period of the same customer and meter, unless its price is dearer.
fn assign(tx: &Tx<'_>, closed: &UsageRecord) -> Result<(), OutboxError> {
    let waiting = "SELECT ifnull(sum(units), 0) FROM carry WHERE from_record = ?1 AND to_record IS NULL";
    if sum(tx, waiting, closed.id)? == 0 {
        return Ok(());
    }
    let takes = record::unfinished(tx)?.into_iter().find(|open| {
        open.state == record::RecordState::Open
            && open.customer == closed.customer
            && open.meter == closed.meter
            && open.period.from >= closed.period.to
            && open.billable
    });
    let Some(open) = takes else {
        return set_held(tx, closed.id, "no open period of this customer and meter can take it yet");
    };
    if open.gross || open.held.is_some() {
        return set_held(tx, closed.id, "the open period is held or reports gross totals");
    }
    if is_dearer(&open, closed) {
        return set_held(tx, closed.id, "the open period's price is dearer than the one it was used at");
    }
    tx.execute(
        "UPDATE carry SET to_record = ?2, held_because = NULL WHERE from_record = ?1 AND to_record IS NULL",
        (closed.id, open.id),
    )?;
    Ok(())
}

fn is_dearer(open: &UsageRecord, closed: &UsageRecord) -> bool {
    match (open.unit_amount, closed.unit_amount) {
        (Some(new), Some(old)) => new > old,
        // Tiers cannot be compared, unless it is the very same price.
        _ => open.price != closed.price,
    }
}

fn set_held(tx: &Tx<'_>, from_record: i64, because: &str) -> Result<(), OutboxError> {
    tx.execute(
        "UPDATE carry SET held_because = ?2 WHERE from_record = ?1 AND to_record IS NULL",
        (from_record, because),
    )?;
    Ok(())
}

fn sum(connection: &Connection, sql: &str, record: i64) -> Result<i64, OutboxError> {
    Ok(connection.prepare_cached(sql)?.query_row([record], |row| row.get(0))?)
}
