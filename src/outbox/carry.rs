//! Rule R6: billed units on their way from a closed period to a later one.

use rusqlite::Connection;
use serde_json::json;

use super::carry_moves::settle_carry;
use super::{OutboxError, UsageRecord, closing, evidence, record};
use crate::model::{MeterName, Span, Timestamp};
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

/// A move of units between two periods of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarryMove {
    /// How many.
    pub units: i64,
    /// The period that was billed too little.
    pub from: Span,
    /// The one that they are billed in; `None` while none has taken them.
    pub into: Option<Span>,
}

/// Moves into a row and out of it, oldest first.
pub fn moves_of(connection: &Connection, record: i64) -> Result<Vec<CarryMove>, OutboxError> {
    let sql = "SELECT c.units, f.period_from_s, f.period_to_s, t.period_from_s, t.period_to_s
               FROM carry c JOIN usage_record f ON f.id = c.from_record LEFT JOIN usage_record t ON t.id = c.to_record
               WHERE c.from_record = ?1 OR c.to_record = ?1 ORDER BY c.id";
    let period = |from_s, to_s| Span::new(Timestamp::from_secs(from_s), Timestamp::from_secs(to_s));
    let mut statement = connection.prepare_cached(sql)?;
    let moves = statement.query_map([record], |row| {
        let into: Option<i64> = row.get(3)?;
        let ends: Option<i64> = row.get(4)?;
        Ok(CarryMove {
            units: row.get(0)?,
            from: period(row.get(1)?, row.get(2)?),
            into: into.zip(ends).map(|(from_s, to_s)| period(from_s, to_s)),
        })
    })?;
    Ok(moves.collect::<Result<_, _>>()?)
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
    Ok(lowerable(connection, record)?.into_iter().fold(0, |sum, (_, units)| sum.saturating_add(units)))
}

/// A row's carries with the part of each that can still be lowered, newest first.
fn lowerable(connection: &Connection, record: i64) -> Result<Vec<(i64, i64)>, OutboxError> {
    let mut statement = connection.prepare_cached(
        "SELECT c.id, c.units, r.id, r.state, r.period_from_s > f.period_from_s
         FROM carry c JOIN usage_record f ON f.id = c.from_record LEFT JOIN usage_record r ON r.id = c.to_record
         WHERE c.from_record = ?1 ORDER BY c.id DESC",
    )?;
    let rows = statement.query_map([record], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, Option<i64>>(2)?.zip(row.get::<_, Option<String>>(3)?),
            row.get::<_, Option<bool>>(4)?.unwrap_or(true),
        ))
    })?;
    let carries: Vec<_> = rows.collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for (id, units, taken_by, is_later) in carries {
        // Carries lead to later periods only, so this ends; one that does not is a spoiled row's.
        let part = match taken_by {
            Some(_) if !is_later => 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Channel;
    use crate::outbox::testing::{at, in_store, new};
    use crate::outbox::{Break, NewRecord, draw, ensure};

    /// A row from one day to another; each on an item of its own.
    fn a_row(tx: &Tx<'_>, item: &str, from: u32, to: u32) -> NewRecord {
        let period = Span::new(at(from, 0), at(to, 0));
        let row = NewRecord { item: item.parse().unwrap(), ..new(Channel::UsageRecords, period) };
        ensure(tx, &row).unwrap();
        row
    }

    fn made(tx: &Tx<'_>, row: &NewRecord) -> i64 {
        ensure(tx, row).unwrap()
    }

    /// A closed row of ten units that stand, where so many are owed; settled.
    fn settled(tx: &Tx<'_>, owed: i64) -> UsageRecord {
        let id = made(tx, &a_row(tx, "si_1", 1, 5));
        let sql = "UPDATE usage_record SET state = 'closed', standing = 10, overage = ?2 WHERE id = ?1";
        tx.execute(sql, (id, owed)).unwrap();
        settle_closed(tx, &record::by_id(tx, id).unwrap(), at(6, 0)).unwrap();
        record::by_id(tx, id).unwrap()
    }

    fn set(tx: &Tx<'_>, what: &str, id: i64) {
        tx.execute(&format!("UPDATE usage_record SET {what} WHERE id = ?1"), [id]).unwrap();
    }

    fn taken_by(tx: &Tx<'_>) -> Vec<(Option<i64>, i64)> {
        let mut rows = tx.prepare("SELECT to_record, units FROM carry ORDER BY id").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn r6_carries_that_spoiled_rows_lead_in_a_circle_come_to_an_end() {
        in_store(|tx| {
            let (a, b) = (made(tx, &a_row(tx, "si_1", 1, 5)), made(tx, &a_row(tx, "si_2", 5, 9)));
            tx.execute("UPDATE usage_record SET state = 'closed'", []).unwrap();
            for (from, to) in [(a, b), (b, a), (a, a)] {
                let carry = "INSERT INTO carry (from_record, to_record, units, at_us) VALUES (?1, ?2, 4, 0)";
                tx.execute(carry, (from, to)).unwrap();
            }
            assert_eq!((takeable(tx, a).unwrap(), takeable(tx, b).unwrap()), (0, 0));
        });
    }

    #[test]
    fn r6_where_the_books_balance_nothing_is_done() {
        in_store(|tx| {
            let closed = settled(tx, 10);
            set(tx, "drift = '9 stands now'", closed.id);
            settle_closed(tx, &closed, at(7, 0)).unwrap();
            let said: i64 = tx.query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).unwrap();
            assert_eq!((taken_by(tx), said), (vec![], 0));
            assert!(record::by_id(tx, closed.id).unwrap().drift.is_some());
        });
    }

    #[test]
    fn r6_a_carry_falls_while_the_period_that_took_it_is_open_and_then_is_a_credit_due() {
        for (state, carried, due) in [("open", 0, 0), ("ending", 2, 2), ("closed", 2, 2)] {
            in_store(move |tx| {
                let next = made(tx, &a_row(tx, "si_2", 5, 9));
                let closed = settled(tx, 12);
                assert_eq!(taken_by(tx), [(Some(next), 2)]);
                tx.execute("UPDATE usage_record SET state = ?2 WHERE id = ?1", (next, state)).unwrap();
                settled(tx, 10);
                assert_eq!(carried_out(tx, closed.id).unwrap(), carried, "{state}");
                assert_eq!(credit_due(tx, closed.id).unwrap(), due, "{state}");
            });
        }
    }

    #[test]
    fn r6_units_go_to_the_first_open_period_of_the_customer_and_the_meter() {
        in_store(|tx| {
            for (item, change) in [
                ("si_other", "customer = 'cus_2'"),
                ("si_hours", "meter = 'compute_hours'"),
                ("si_over", "state = 'ending'"),
                ("si_trial", "billable = 0"),
            ] {
                let id = made(tx, &a_row(tx, item, 5, 9));
                set(tx, change, id);
            }
            a_row(tx, "si_before", 4, 9);
            settled(tx, 12);
            assert_eq!(taken_by(tx), [(None, 2)]);
            let next = made(tx, &a_row(tx, "si_2", 6, 9));
            settled(tx, 12);
            assert_eq!(taken_by(tx), [(Some(next), 2)]);
        });
    }

    #[test]
    fn r6_units_do_not_go_onto_a_dearer_price() {
        for (before, after, is_taken) in [
            ("unit_amount = '0.04'", "unit_amount = '0.04', price = 'price_2'", true),
            ("unit_amount = '0.04'", "unit_amount = '0.05'", false),
            ("unit_amount = '0.04'", "unit_amount = '0.03'", true),
            // Tiers cannot be compared.
            ("price = 'price_1'", "price = 'price_1'", true),
            ("price = 'price_1'", "price = 'price_2'", false),
            ("price = 'price_1'", "gross = 1", false),
            ("price = 'price_1'", "held_code = 'x', held_because = 'y'", false),
        ] {
            in_store(move |tx| {
                let next = made(tx, &a_row(tx, "si_2", 5, 9));
                set(tx, after, next);
                let closed = made(tx, &a_row(tx, "si_1", 1, 5));
                set(tx, before, closed);
                settled(tx, 12);
                assert_eq!(taken_by(tx), [(is_taken.then_some(next), 2)], "{after}");
            });
        }
    }

    #[test]
    fn r6_units_taken_over_may_be_those_that_an_older_copy_would_carry() {
        for (is_noted, is_stopped) in [(true, false), (false, true)] {
            in_store(move |tx| {
                let closed = settled(tx, 12);
                let generation = draw(tx, 1, Break::Start, at(6, 0)).unwrap();
                let next = made(tx, &a_row(tx, "si_2", 5, 9));
                if is_noted {
                    tx.execute("UPDATE usage_record SET read_generation = ?2 WHERE id = ?1", (next, generation.id))
                        .unwrap();
                }
                let next = record::by_id(tx, next).unwrap();
                assert!(follows_unsettled(tx, &next).unwrap());
                stop_carrying_into(tx, &next).unwrap();
                assert_eq!(record::by_id(tx, closed.id).unwrap().may_stand_later, is_stopped);
                assert_eq!(taken_by(tx).is_empty(), is_stopped);
                assert_eq!(follows_unsettled(tx, &next).unwrap(), !is_stopped);
            });
        }
    }
}
