//! Claiming an attempt: decided and committed before anything leaves.

use serde_json::json;

use super::delivery::{self, Delivery, DeliveryState};
use super::{Generation, OutboxError, RecordState, UsageRecord, record};
use crate::model::{MICROS_PER_HOUR, Timestamp};
use crate::store::{Tx, audit};

/// Providers forget a key after 24 hours; an hour before that it is no longer relied on (rule S2).
const KEY_TRUSTED_US: i64 = 23 * MICROS_PER_HOUR;

/// What to do about a record now.
#[derive(Debug, Clone)]
pub enum Claim {
    /// What should stand, stands.
    Nothing,
    /// It waits for a human.
    Held,
    /// Its period is over.
    Over,
    /// What stands has to be read first (rules S4, S5).
    ReadFirst,
    /// Committed as sending: send it now.
    Send(Delivery),
}

/// Claims the next attempt of a record. `read_just_now` says that what stands was read in this activation, which a
/// lowering needs.
pub fn claim(
    tx: &Tx<'_>,
    id: i64,
    generation: &Generation,
    read_just_now: bool,
    now: Timestamp,
) -> Result<Claim, OutboxError> {
    let record = record::by_id(tx, id)?;
    if record.state != RecordState::Open {
        return Ok(Claim::Over);
    }
    if record.held.is_some() {
        return Ok(Claim::Held);
    }
    if record.read_generation != Some(generation.id) && !read_just_now {
        return Ok(Claim::ReadFirst);
    }
    if let Some(pending) = delivery::in_flight(tx, id)? {
        return resume(tx, &record, &pending, generation, read_just_now, now);
    }
    if !record.differs() {
        return rest(tx, id);
    }
    let lowers = record.standing.is_some_and(|standing| record.target < standing);
    if lowers && !read_just_now {
        return Ok(Claim::ReadFirst);
    }
    begin(tx, &record, generation, now).map(Claim::Send)
}

/// An attempt whose answer was lost is asked about again under its own key: the provider then does it once, or replays
/// what it did. Only two things end that: the key may have been forgotten, or the target has fallen below it.
fn resume(
    tx: &Tx<'_>,
    record: &UsageRecord,
    pending: &Delivery,
    generation: &Generation,
    read_just_now: bool,
    now: Timestamp,
) -> Result<Claim, OutboxError> {
    let forgotten = now.since(pending.first_sent) >= KEY_TRUSTED_US;
    let overtaken = record.quantity_to_send() < pending.quantity;
    if !forgotten && !overtaken {
        return resend(tx, pending, now).map(Claim::Send);
    }
    if !read_just_now {
        return Ok(Claim::ReadFirst);
    }
    let why = if forgotten { "its key may be forgotten by now" } else { "the total fell below it" };
    delivery::set_state(tx, pending, DeliveryState::Abandoned, now, Some(why))?;
    // It may arrive late: what stands after this is read once more.
    tx.execute("UPDATE usage_record SET read_generation = NULL WHERE id = ?1", [record.id])?;
    if record.differs() { begin(tx, record, generation, now).map(Claim::Send) } else { rest(tx, record.id) }
}

/// What failed before is over with the need for it; left standing, it would be retried, and named, for ever.
fn rest(tx: &Tx<'_>, id: i64) -> Result<Claim, OutboxError> {
    tx.execute(
        "UPDATE usage_record SET attempts = 0, next_attempt_us = NULL, last_error = NULL
         WHERE id = ?1 AND (attempts > 0 OR next_attempt_us IS NOT NULL)",
        [id],
    )?;
    Ok(Claim::Nothing)
}

fn resend(tx: &Tx<'_>, pending: &Delivery, now: Timestamp) -> Result<Delivery, OutboxError> {
    let state = if pending.state == DeliveryState::Sending {
        DeliveryState::Sending
    } else {
        pending.state.go(DeliveryState::Sending)?
    };
    tx.execute(
        "UPDATE delivery SET state = ?2, sends = sends + 1, settled_us = NULL WHERE id = ?1",
        (pending.id, state.word()),
    )?;
    note_sent(tx, pending, now, pending.sends + 1)?;
    Ok(Delivery { state, sends: pending.sends + 1, ..pending.clone() })
}

fn begin(tx: &Tx<'_>, record: &UsageRecord, generation: &Generation, now: Timestamp) -> Result<Delivery, OutboxError> {
    let revision = record.revision + 1;
    let key = format!("{}:{}:{revision}:{}", record.item, record.period.from.secs(), generation.token);
    tx.execute("UPDATE usage_record SET revision = ?2 WHERE id = ?1", (record.id, revision))?;
    tx.execute(
        "INSERT INTO delivery (usage_record_id, revision, generation_id, idempotency_key, quantity, timestamp_s, state, first_sent_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'sending', ?7)",
        (record.id, revision, generation.id, &key, record.quantity_to_send(), record.timestamp_s, now.micros()),
    )?;
    let delivery = Delivery {
        id: tx.last_insert_rowid(),
        usage_record_id: record.id,
        revision,
        idempotency_key: key,
        quantity: record.quantity_to_send(),
        timestamp_s: record.timestamp_s,
        state: DeliveryState::Sending,
        sends: 1,
        first_sent: now,
        settled: None,
        request_id: None,
        error: None,
    };
    note_sent(tx, &delivery, now, 1)?;
    Ok(delivery)
}

fn note_sent(tx: &Tx<'_>, delivery: &Delivery, now: Timestamp, sends: i64) -> Result<(), OutboxError> {
    let record = record::by_id(tx, delivery.usage_record_id)?;
    let detail = json!({
        "key": delivery.idempotency_key, "quantity": delivery.quantity, "timestamp": delivery.timestamp_s, "sends": sends,
    });
    audit::append(tx, now, "usaged", "push.sent", record.item.as_str(), &detail)?;
    Ok(())
}
