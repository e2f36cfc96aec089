//! Rule S6: a period is closed once two reads, minutes apart, agree.

use serde_json::json;

use super::delivery::{self, DeliveryState};
use super::{OutboxError, RecordState, UsageRecord, hold, record, standing};
use crate::model::{Channel, MICROS_PER_HOUR, MICROS_PER_MINUTE, Timestamp};
use crate::store::{Tx, audit};

/// Between the two reads.
const APART_US: i64 = 3 * MICROS_PER_MINUTE;
/// Between the two reads of a meter, whose summaries lag behind its events (rule S7).
const METERS_APART_US: i64 = MICROS_PER_HOUR;

/// Where closing a period has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Read again at this time.
    Again(Timestamp),
    /// What stands is settled.
    Closed,
}

/// Takes a read of an ended period.
pub fn note_close_read(tx: &Tx<'_>, id: i64, total: i64, now: Timestamp) -> Result<Closing, OutboxError> {
    let record = record::by_id(tx, id)?;
    let apart_us = if record.channel.meter().is_some() { METERS_APART_US } else { APART_US };
    if record.state == RecordState::Closed {
        return Ok(Closing::Closed);
    }
    match record.close_read {
        Some((first, at)) if first == total && now.since(at) >= apart_us => {
            close(tx, &record, total, now)?;
            Ok(Closing::Closed)
        }
        Some((first, at)) if first == total && now >= at => Ok(Closing::Again(at.plus(apart_us))),
        // The first read, one that differs, or one before a clock that went back.
        _ => {
            tx.execute(
                "UPDATE usage_record SET close_read = ?2, close_read_us = ?3 WHERE id = ?1",
                (id, total, now.micros()),
            )?;
            Ok(Closing::Again(now.plus(apart_us)))
        }
    }
}

/// Closes an ended period by what was answered. An attempt without an answer may stand: it is held, and not carried.
pub fn close_by_answers(tx: &Tx<'_>, id: i64, now: Timestamp) -> Result<Closing, OutboxError> {
    let record = record::by_id(tx, id)?;
    let unanswered = delivery::in_flight(tx, id)?.map_or(0, |pending| pending.quantity.max(0));
    close(tx, &record, record.standing.unwrap_or(0), now)?;
    tx.execute("UPDATE usage_record SET held_units = held_units + ?2 WHERE id = ?1", (id, unanswered))?;
    Ok(Closing::Closed)
}

fn close(tx: &Tx<'_>, record: &UsageRecord, total: i64, now: Timestamp) -> Result<(), OutboxError> {
    if let Some(pending) = delivery::in_flight(tx, record.id)? {
        delivery::set_state(tx, &pending, DeliveryState::Abandoned, now, Some("its period is over"))?;
    }
    let held = record.held.as_ref().map(|(code, _)| code.as_str());
    // What stood before us is not ours, so it cannot be in the way of our books.
    let foreign = if held == Some("something_stands") { total } else { 0 };
    // Rules S7, S9 and R5: what was answered may appear yet, so it is never carried because a read shows less.
    let answered = if record.begins_anew { 0 } else { record.standing.unwrap_or(0) };
    let is_certain = record.channel == Channel::UsageRecords && record.segment_of.is_none();
    let unseen = if is_certain { 0 } else { answered.saturating_sub(total).max(0) };
    tx.execute(
        "UPDATE usage_record SET state = 'closed', standing = ?2, standing_us = ?3, next_attempt_us = NULL,
                adopted = adopted + ?4, target = target + ?4, held_units = ?5,
                drift = CASE WHEN ?5 > 0 THEN ?6 END
         WHERE id = ?1",
        (record.id, total, now.micros(), foreign, unseen, standing::not_counted(answered, total)),
    )?;
    let detail =
        json!({"stands": total, "target": record.target + foreign, "held": held, "accepted_not_counted": unseen});
    audit::append(tx, now, "usaged", "period.closed", record.item.as_str(), &detail)?;
    Ok(())
}

/// Whether what was not billed in a closed period may go into a later one (rule R6).
#[must_use]
pub(super) fn may_carry(record: &UsageRecord) -> bool {
    record.billable
        && !record.gross
        && !record.may_stand_later
        && record.held.as_ref().is_none_or(|(code, _)| hold::may_be_carried(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Formula, Span};
    use crate::outbox::ensure;
    use crate::outbox::testing::{at, by, in_store, new};

    #[test]
    fn s6_s7_two_reads_that_agree_close_a_period_when_they_lie_apart() {
        for (channel, apart_us) in
            [(Channel::UsageRecords, 3 * MICROS_PER_MINUTE), (by(Formula::Last), 60 * MICROS_PER_MINUTE)]
        {
            in_store(move |tx| {
                let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(9, 0)))).unwrap();
                let read = |total, now| note_close_read(tx, id, total, now).unwrap();
                let first = at(9, 2);
                assert_eq!(read(5, first), Closing::Again(first.plus(apart_us)));
                assert_eq!(read(5, first.plus(apart_us - 1)), Closing::Again(first.plus(apart_us)), "too soon");
                let second = first.plus(apart_us);
                assert_eq!(read(6, second), Closing::Again(second.plus(apart_us)), "it differs");
                let before = second.minus(1);
                assert_eq!(read(6, before), Closing::Again(before.plus(apart_us)), "the clock went back");
                assert_eq!(read(6, before.plus(apart_us)), Closing::Closed);
                assert_eq!(record::by_id(tx, id).unwrap().standing, Some(6));
                assert_eq!(read(7, at(20, 0)), Closing::Closed, "and closed it stays");
                assert_eq!(record::by_id(tx, id).unwrap().standing, Some(6));
            });
        }
    }
}
