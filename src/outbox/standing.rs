//! Rules S4 and S5: what a read of the provider means for what this ledger believes.

use rusqlite::Connection;
use serde_json::json;

use super::delivery::{self, DeliveryState};
use super::hold::{self, Held};
use super::{Generation, OutboxError, UsageRecord, record};
use crate::model::{MICROS_PER_HOUR, Timestamp};
use crate::store::{Tx, audit};

/// A request that was given up is taken to be on its way for so long; two pushes of an hourly schedule fall into it.
const STRAGGLES_US: i64 = 2 * MICROS_PER_HOUR;

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadVerdict {
    /// What was noted, or what our attempt in flight would have set.
    AsNoted,
    /// Something this ledger caused and had not noted as standing.
    OursLate,
    /// Less than was noted: it will be set again.
    Lower {
        /// What was noted.
        noted: i64,
    },
    /// Where the adopted units lie is known now.
    Probed,
    /// It waits for a human now.
    Held(Held),
}

/// The first read of an item in a period, made while linking, where the operator has said what to do about what stands.
/// `adopted` is what stays and is gone on top of.
pub fn note_first_read(
    tx: &Tx<'_>,
    id: i64,
    total: i64,
    generation: &Generation,
    now: Timestamp,
) -> Result<(), OutboxError> {
    if total > 0 {
        tx.execute(
            "UPDATE usage_record SET adopted = ?2, adopted_elsewhere = ?2, probing_from = revision,
                    target = overage + carried_in + ?2
             WHERE id = ?1",
            (id, total),
        )?;
    }
    note(tx, id, total, generation, now)
}

/// Compares a read with what was noted, and with everything this ledger may have caused.
pub fn note_read(
    tx: &Tx<'_>,
    id: i64,
    total: i64,
    generation: &Generation,
    now: Timestamp,
) -> Result<ReadVerdict, OutboxError> {
    let record = record::by_id(tx, id)?;
    let verdict = judge(tx, &record, total, now)?;
    match &verdict {
        // What is held keeps what was noted: the read is in the reason, and nothing is sent on its strength.
        ReadVerdict::Held(held) => hold::hold(tx, id, held, now)?,
        ReadVerdict::Lower { noted } => {
            let drift = format!("{total} stands where {noted} was noted");
            tx.execute("UPDATE usage_record SET drift = ?2 WHERE id = ?1", (id, &drift))?;
            note(tx, id, total, generation, now)?;
        }
        _ => note(tx, id, total, generation, now)?,
    }
    if verdict != ReadVerdict::AsNoted {
        let detail = json!({"total": total, "noted": record.standing, "verdict": format!("{verdict:?}")});
        audit::append(tx, now, "usaged", "read.differs", record.item.as_str(), &detail)?;
    }
    Ok(verdict)
}

/// What stands is read before anything more is sent, as after a start (rule S5).
pub fn read_again(tx: &Tx<'_>) -> Result<(), OutboxError> {
    tx.execute("UPDATE usage_record SET read_generation = NULL WHERE state = 'open'", [])?;
    Ok(())
}

/// Whether a request that left may still change the total that stands: another one without an answer, or a larger one
/// that was given up lately.
pub fn may_change(connection: &Connection, id: i64, total: i64, now: Timestamp) -> Result<bool, OutboxError> {
    let elsewhere = record::by_id(connection, id)?.adopted_elsewhere;
    let pending = delivery::in_flight(connection, id)?;
    let is_another = pending.is_some_and(|pending| pending.quantity.saturating_add(elsewhere) != total);
    Ok(is_another || may_rise(connection, id, total, now)?)
}

fn may_rise(connection: &Connection, id: i64, total: i64, now: Timestamp) -> Result<bool, OutboxError> {
    let largest = delivery::largest_abandoned(connection, id, now.minus(STRAGGLES_US))?;
    Ok(largest.is_some_and(|largest| largest > total))
}

fn note(tx: &Tx<'_>, id: i64, total: i64, generation: &Generation, now: Timestamp) -> Result<(), OutboxError> {
    // A larger total that was given up may be on its way still: the next push reads again.
    let holds_in = (!may_rise(tx, id, total, now)?).then_some(generation.id);
    tx.execute(
        "UPDATE usage_record SET standing = ?2, standing_us = ?3, read_generation = ?4, next_attempt_us = NULL WHERE id = ?1",
        (id, total, now.micros(), holds_in),
    )?;
    record::note_difference(tx, id, now)
}

fn judge(tx: &Tx<'_>, record: &UsageRecord, total: i64, now: Timestamp) -> Result<ReadVerdict, OutboxError> {
    let largest_sent = delivery::largest_possible(tx, record.id)?;
    let Some(noted) = record.standing else {
        return Ok(match (total, largest_sent) {
            (0, _) => ReadVerdict::AsNoted,
            (_, Some(largest)) if total <= largest => ReadVerdict::OursLate,
            _ => ReadVerdict::Held(Held::SomethingStands { total }),
        });
    };
    if let Some(since) = record.probing_from
        && let Some(verdict) = probe(tx, record, total, since)?
    {
        return Ok(verdict);
    }
    if let Some(pending) = delivery::in_flight(tx, record.id)?
        && pending.quantity.saturating_add(record.adopted_elsewhere) == total
        && noted != total
    {
        delivery::set_state(
            tx,
            &pending,
            DeliveryState::Accepted,
            now,
            Some("its answer was lost; a read shows it stands"),
        )?;
        return Ok(ReadVerdict::AsNoted);
    }
    if total == noted {
        return Ok(ReadVerdict::AsNoted);
    }
    if total < noted {
        return Ok(ReadVerdict::Lower { noted });
    }
    let caused = largest_sent.map_or(noted, |largest| largest.saturating_add(record.adopted_elsewhere).max(noted));
    Ok(if total <= caused {
        ReadVerdict::OursLate
    } else {
        ReadVerdict::Held(Held::HigherThanCaused { total, caused })
    })
}

/// After the first push on top of adopted units: either both are in the total, so they stand at another timestamp, or
/// only ours is, so it overwrote them and has to include them. Anything else is held.
fn probe(tx: &Tx<'_>, record: &UsageRecord, total: i64, since: i64) -> Result<Option<ReadVerdict>, OutboxError> {
    let Some(ours) = delivery::last_accepted(tx, record.id, since)? else { return Ok(None) };
    let elsewhere = if total == ours.quantity.saturating_add(record.adopted_elsewhere) {
        record.adopted_elsewhere
    } else if total == ours.quantity {
        0
    } else {
        return Ok(Some(ReadVerdict::Held(Held::ProbeUnclear { total, sent: ours.quantity, adopted: record.adopted })));
    };
    tx.execute(
        "UPDATE usage_record SET probing_from = NULL, adopted_elsewhere = ?2 WHERE id = ?1",
        (record.id, elsewhere),
    )?;
    Ok(Some(ReadVerdict::Probed))
}
