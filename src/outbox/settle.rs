//! Settling an attempt: what its answer, or the lack of one, makes of it.

use serde_json::json;

use super::delivery::{self, Delivery, DeliveryState};
use super::{OutboxError, day_share, record, standing};
use crate::model::{Channel, Formula, Timestamp};
use crate::store::{Tx, audit};

/// So many falls of a period are refused before it is left to later usage.
const FALLS_TRIED: i64 = 3;

/// How an attempt ended, as far as its answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stands.
    Accepted,
    /// This send certainly did nothing, and a later one may.
    NotDone,
    /// This send certainly did nothing, and no later one of this content will.
    NeverDone,
    /// The same, of an event below zero: perhaps none of these will ever do anything (rule S8).
    FallRefused,
    /// It may have done it.
    Unknown,
    /// It may have done it, and its key leads nowhere any more.
    KeySpent,
    /// The provider knows an event with its identifier: an earlier send did it, if there was one (rule S2).
    Known,
}

/// What came back with the answer.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// HTTP status.
    pub status: Option<u16>,
    /// The provider's request id.
    pub request_id: Option<String>,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
}

/// What to do next about the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing until it differs again.
    Done,
    /// Read what stands, to learn where adopted units lie (rule S5).
    ReadBack,
    /// Look whether anything is left to be sent.
    LookAgain,
    /// Try again at the time that was given.
    TryAgain,
}

/// Writes down how an attempt ended. `again_at` is when a failed one is tried next.
pub fn settle(
    tx: &Tx<'_>,
    delivery: &Delivery,
    fate: Fate,
    told: &Told,
    again_at: Timestamp,
    now: Timestamp,
) -> Result<After, OutboxError> {
    // Read again: a read that saw it standing may have settled it meanwhile.
    let Some(current) = delivery::by_id(tx, delivery.id)? else { return Ok(After::TryAgain) };
    let record = record::by_id(tx, current.usage_record_id)?;
    let is_event = record.channel.meter().is_some();
    let to = state_after(fate, current.sends, is_event);
    if is_event && fate == Fate::KeySpent {
        tx.execute("UPDATE delivery SET spent_keys = spent_keys + 1 WHERE id = ?1", [current.id])?;
    }
    delivery::set_state(tx, &current, to, now, told.error.as_deref())?;
    tx.execute(
        "UPDATE delivery SET http_status = ?2, request_id = ifnull(?3, request_id) WHERE id = ?1",
        (current.id, told.status, &told.request_id),
    )?;
    audit_answer(tx, &current, to, told, now)?;
    let after = if to == DeliveryState::Accepted {
        accept(tx, &current, now)?
    } else {
        fail(tx, &current, to, told, again_at)?;
        if fate == Fate::FallRefused { leave_to_later_usage(tx, &current)? } else { After::TryAgain }
    };
    record::note_difference(tx, current.usage_record_id, now)?;
    Ok(after)
}

/// A first send that did nothing is over. A later one says nothing about the first, which may still have done it. An
/// event has an identifier beside its key: it is asked about under that until it is answered, or read.
const fn state_after(fate: Fate, sends: i64, is_event: bool) -> DeliveryState {
    match (fate, sends) {
        (Fate::Accepted, _) | (Fate::Known, 2..) => DeliveryState::Accepted,
        (Fate::NotDone | Fate::NeverDone | Fate::FallRefused, ..=1) => DeliveryState::Refused,
        (Fate::NotDone | Fate::Unknown, _) => DeliveryState::Unknown,
        (Fate::NeverDone | Fate::FallRefused | Fate::KeySpent, _) if is_event => DeliveryState::Unknown,
        (Fate::NeverDone | Fate::FallRefused | Fate::KeySpent | Fate::Known, _) => DeliveryState::Abandoned,
    }
}

fn accept(tx: &Tx<'_>, delivery: &Delivery, now: Timestamp) -> Result<After, OutboxError> {
    note_accepted(tx, delivery, now)?;
    let record = record::by_id(tx, delivery.usage_record_id)?;
    // While probing, the total is only assumed; the read that follows says what it is. So it does where a total may still
    // arrive that was larger before a fall.
    let reads_again = record.probing_from.is_some()
        || (record.channel == Channel::CurrentUsage
            && standing::may_rise(tx, record.id, record.standing.unwrap_or(0), now)?);
    tx.execute(
        "UPDATE usage_record SET attempts = 0, next_attempt_us = NULL, last_error = NULL,
                read_generation = CASE WHEN ?2 THEN NULL ELSE read_generation END
         WHERE id = ?1",
        (record.id, reads_again),
    )?;
    Ok(if record.probing_from.is_some() { After::ReadBack } else { After::Done })
}

/// What an accepted attempt makes of what stands.
pub(super) fn note_accepted(tx: &Tx<'_>, delivery: &Delivery, now: Timestamp) -> Result<(), OutboxError> {
    let record = record::by_id(tx, delivery.usage_record_id)?;
    let standing = match (record.channel.formula(), delivery.day_s) {
        (Some(Formula::Sum), _) => record.standing.unwrap_or(0).saturating_add(delivery.quantity),
        (_, Some(day_s)) => {
            day_share::set_standing(tx, record.id, day_s, delivery.quantity)?;
            day_share::standing(tx, record.id)?
        }
        _ => delivery.quantity.saturating_add(record.adopted_elsewhere),
    };
    tx.execute(
        "UPDATE usage_record SET standing = ?2, standing_us = ?3, begins_anew = 0 WHERE id = ?1",
        (record.id, standing, now.micros()),
    )?;
    Ok(())
}

fn fail(
    tx: &Tx<'_>,
    delivery: &Delivery,
    to: DeliveryState,
    told: &Told,
    again_at: Timestamp,
) -> Result<(), OutboxError> {
    // What was abandoned may stand: nothing more is sent before a read.
    tx.execute(
        "UPDATE usage_record SET attempts = attempts + 1, next_attempt_us = ?2, last_error = ?3,
                read_generation = CASE WHEN ?4 THEN NULL ELSE read_generation END
         WHERE id = ?1",
        (delivery.usage_record_id, again_at.micros(), &told.error, to == DeliveryState::Abandoned),
    )?;
    Ok(())
}

/// Rule S8: falls that are refused again and again are not sent for ever. Later usage absorbs what stands too high; what of it
/// is left when the period is closed is a credit due. One refusal may have had another reason.
fn leave_to_later_usage(tx: &Tx<'_>, fall: &Delivery) -> Result<After, OutboxError> {
    let record = fall.usage_record_id;
    if delivery::in_flight(tx, record)?.is_some() || delivery::refused_falls(tx, record)? < FALLS_TRIED {
        return Ok(After::TryAgain);
    }
    tx.execute("UPDATE usage_record SET cannot_fall = 1 WHERE id = ?1", [record])?;
    Ok(After::LookAgain)
}

/// A read before a push failed: the row waits.
pub fn postpone(tx: &Tx<'_>, id: i64, again_at: Timestamp, why: &str) -> Result<(), OutboxError> {
    tx.execute(
        "UPDATE usage_record SET attempts = attempts + 1, next_attempt_us = ?2, last_error = ?3 WHERE id = ?1",
        (id, again_at.micros(), why),
    )?;
    Ok(())
}

fn audit_answer(
    tx: &Tx<'_>,
    delivery: &Delivery,
    to: DeliveryState,
    told: &Told,
    now: Timestamp,
) -> Result<(), OutboxError> {
    let record = record::by_id(tx, delivery.usage_record_id)?;
    let detail = json!({
        "key": delivery.idempotency_key, "quantity": delivery.quantity, "status": told.status,
        "request_id": told.request_id, "error": told.error,
    });
    let action = format!("push.{}", to.word());
    audit::append(tx, now, "usaged", &action, record.item.as_str(), &detail)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_neither_success_nor_failure() {
        assert_eq!(state_after(Fate::Unknown, 1, false), DeliveryState::Unknown);
        assert_eq!(state_after(Fate::Unknown, 5, false), DeliveryState::Unknown);
    }

    #[test]
    fn a_refusal_of_a_resend_says_nothing_about_the_first_send() {
        assert_eq!(state_after(Fate::NotDone, 1, false), DeliveryState::Refused);
        assert_eq!(state_after(Fate::NotDone, 2, false), DeliveryState::Unknown);
        assert_eq!(state_after(Fate::NeverDone, 1, false), DeliveryState::Refused);
        assert_eq!(state_after(Fate::NeverDone, 2, false), DeliveryState::Abandoned);
    }

    #[test]
    fn s2_a_stored_failure_spends_its_key_but_not_an_events_identifier() {
        assert_eq!(state_after(Fate::KeySpent, 1, false), DeliveryState::Abandoned);
        assert_eq!(state_after(Fate::KeySpent, 1, true), DeliveryState::Unknown);
        assert_eq!(state_after(Fate::NeverDone, 2, true), DeliveryState::Unknown);
    }

    #[test]
    fn s2_an_identifier_that_is_known_means_delivered_only_if_it_was_sent_before() {
        assert_eq!(state_after(Fate::Known, 1, true), DeliveryState::Abandoned);
        assert_eq!(state_after(Fate::Known, 2, true), DeliveryState::Accepted);
    }
}
