//! Claiming an attempt: decided and committed before anything leaves.

use serde_json::json;

use super::delivery::{self, Delivery, DeliveryState};
use super::{Generation, OutboxError, UsageRecord, day_share, event_time, record};
use crate::model::{Channel, Formula, MICROS_PER_HOUR, MICROS_PER_MINUTE, Timestamp};
use crate::store::{Tx, audit};

/// Providers forget a key, and an event's identifier, after 24 hours; an hour before that it is no longer relied on (S2).
const KEY_TRUSTED_US: i64 = 23 * MICROS_PER_HOUR;
/// Where events add up, one is not repeated so shortly before its identifier is forgotten that a summary could not show it
/// by then (rule S8).
const LAST_REPEAT_US: i64 = 21 * MICROS_PER_HOUR;
/// What may not be sent now is looked at again after this long; left due, it would ask for a push again and again.
const LOOK_AGAIN_US: i64 = 10 * MICROS_PER_MINUTE;

/// When a claim is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// By the best known time.
    pub now: Timestamp,
    /// By the provider's clock.
    pub provider_now: Timestamp,
}

/// What to do about a record now.
#[derive(Debug, Clone)]
pub enum Claim {
    /// What should stand, stands.
    Nothing,
    /// It waits for a human.
    Held,
    /// Its period is over.
    Over,
    /// There is no place for another event now, or an unanswered one may not be repeated before it is read (rules S7, S8).
    Wait,
    /// What stands has to be read first (rules S4, S5).
    ReadFirst,
    /// Committed as sending: send it now.
    Send(Delivery),
}

/// What is to be set next on a record.
struct Next {
    quantity: i64,
    day_s: Option<i64>,
    lowers: bool,
}

/// Claims the next attempt of a record. `read_just_now` says that what stands was read in this activation, which a
/// lowering needs.
pub fn claim(tx: &Tx<'_>, id: i64, generation: &Generation, read_just_now: bool, at: At) -> Result<Claim, OutboxError> {
    let record = record::by_id(tx, id)?;
    if !record.takes_totals() {
        return Ok(Claim::Over);
    }
    if record.held.is_some() {
        return Ok(Claim::Held);
    }
    if record.read_generation != Some(generation.id) && !read_just_now && !record.shared {
        return Ok(Claim::ReadFirst);
    }
    if let Some(pending) = delivery::in_flight(tx, id)? {
        return resume(tx, &record, &pending, generation, read_just_now, at);
    }
    let Some(next) = next(tx, &record)? else { return rest(tx, id) };
    if next.lowers && !read_just_now && !record.shared {
        return Ok(Claim::ReadFirst);
    }
    begin(tx, &record, &next, generation, at)
}

/// What differs, by the channel's own measure.
fn next(tx: &Tx<'_>, record: &UsageRecord) -> Result<Option<Next>, OutboxError> {
    let standing = record.standing.unwrap_or(0);
    Ok(match record.channel.formula() {
        Some(Formula::SumOfDays) => day_share::next(tx, record.id)?.map(|day| Next {
            quantity: day.share,
            day_s: Some(day.day_s),
            lowers: day.share < day.standing,
        }),
        Some(Formula::Sum) => (record.target != standing && record.to_absorb() == 0).then(|| Next {
            quantity: record.target.saturating_sub(standing),
            day_s: None,
            lowers: record.target < standing,
        }),
        Some(Formula::Last) | None => (record.differs() || is_first_of_period(tx, record)?).then(|| Next {
            quantity: record.quantity_to_send(),
            day_s: None,
            lowers: record.target < standing,
        }),
    })
}

/// Rule S9: where a late request of the period before would count in this one, the first push is made even if nothing
/// changed, once.
fn is_first_of_period(tx: &Tx<'_>, record: &UsageRecord) -> Result<bool, OutboxError> {
    if record.channel != Channel::CurrentUsage || record.revision > 0 {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM usage_record WHERE item = ?1 AND period_to_s = ?2)";
    Ok(tx.query_row(sql, (record.item.as_str(), record.period.from.secs()), |row| row.get(0))?)
}

/// An attempt whose answer was lost is asked about again under its own key: the provider then does it once, or replays
/// what it did. Only two things end that: the key may have been forgotten, or the target has fallen below it.
fn resume(
    tx: &Tx<'_>,
    record: &UsageRecord,
    pending: &Delivery,
    generation: &Generation,
    read_just_now: bool,
    at: At,
) -> Result<Claim, OutboxError> {
    let age = at.now.since(pending.first_sent);
    let forgotten = age >= KEY_TRUSTED_US;
    let adds = record.channel.formula() == Some(Formula::Sum);
    if adds && !forgotten && age >= LAST_REPEAT_US {
        return wait(tx, record.id, at.now);
    }
    let overtaken = is_overtaken(tx, record, pending)?;
    if !forgotten && !overtaken {
        return resend(tx, pending, at.now).map(Claim::Send);
    }
    if !read_just_now {
        return Ok(Claim::ReadFirst);
    }
    let why = if forgotten { "its key may be forgotten by now" } else { "the total fell below it" };
    delivery::set_state(tx, pending, DeliveryState::Abandoned, at.now, Some(why))?;
    // It may arrive late: what stands after this is read once more.
    tx.execute("UPDATE usage_record SET read_generation = NULL WHERE id = ?1", [record.id])?;
    match next(tx, record)? {
        Some(next) => begin(tx, record, &next, generation, at),
        None => rest(tx, record.id),
    }
}

/// Whether what should stand has fallen below what an unanswered attempt would set. What adds up is answered first.
fn is_overtaken(tx: &Tx<'_>, record: &UsageRecord, pending: &Delivery) -> Result<bool, OutboxError> {
    Ok(match (record.channel.formula(), pending.day_s) {
        (Some(Formula::Sum), _) => false,
        (_, Some(day_s)) => day_share::share_of(tx, record.id, day_s)? < pending.quantity,
        _ => record.quantity_to_send() < pending.quantity,
    })
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

/// It may not be sent now, and a retry that is due has to wait as well.
fn wait(tx: &Tx<'_>, id: i64, now: Timestamp) -> Result<Claim, OutboxError> {
    tx.execute(
        "UPDATE usage_record SET next_attempt_us = ?2 WHERE id = ?1 AND next_attempt_us <= ?3",
        (id, now.plus(LOOK_AGAIN_US).micros(), now.micros()),
    )?;
    Ok(Claim::Wait)
}

fn resend(tx: &Tx<'_>, pending: &Delivery, now: Timestamp) -> Result<Delivery, OutboxError> {
    let state = pending.state.go(DeliveryState::Sending)?;
    tx.execute(
        "UPDATE delivery SET state = ?2, sends = sends + 1, settled_us = NULL WHERE id = ?1",
        (pending.id, state.word()),
    )?;
    note_sent(tx, pending, now, pending.sends + 1)?;
    Ok(Delivery { state, sends: pending.sends + 1, ..pending.clone() })
}

fn begin(
    tx: &Tx<'_>,
    record: &UsageRecord,
    next: &Next,
    generation: &Generation,
    at: At,
) -> Result<Claim, OutboxError> {
    let timestamp_s = match &record.channel {
        Channel::Meter(_) => event_time::next(tx, record, next.day_s, at.provider_now)?,
        Channel::UsageRecords | Channel::CurrentUsage => Some(record.timestamp_s),
    };
    let Some(timestamp_s) = timestamp_s else { return wait(tx, record.id, at.now) };
    let revision = record.revision + 1;
    let key = format!("{}:{}:{revision}:{}", record.item, record.period.from.secs(), generation.token);
    tx.execute("UPDATE usage_record SET revision = ?2 WHERE id = ?1", (record.id, revision))?;
    tx.execute(
        "INSERT INTO delivery (usage_record_id, revision, generation_id, idempotency_key, quantity, timestamp_s, day_s, state, first_sent_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'sending', ?8)",
        (record.id, revision, generation.id, &key, next.quantity, timestamp_s, next.day_s, at.now.micros()),
    )?;
    let delivery = Delivery {
        id: tx.last_insert_rowid(),
        usage_record_id: record.id,
        revision,
        idempotency_key: key,
        quantity: next.quantity,
        timestamp_s,
        day_s: next.day_s,
        spent_keys: 0,
        state: DeliveryState::Sending,
        sends: 1,
        first_sent: at.now,
        settled: None,
        request_id: None,
        error: None,
    };
    note_sent(tx, &delivery, at.now, 1)?;
    Ok(Claim::Send(delivery))
}

fn note_sent(tx: &Tx<'_>, delivery: &Delivery, now: Timestamp, sends: i64) -> Result<(), OutboxError> {
    let record = record::by_id(tx, delivery.usage_record_id)?;
    let detail = json!({
        "key": delivery.key(), "quantity": delivery.quantity, "timestamp": delivery.timestamp_s, "sends": sends,
    });
    audit::append(tx, now, "usaged", "push.sent", record.item.as_str(), &detail)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::outbox::testing::{at, by, in_store, new};
    use crate::outbox::{Break, draw, ensure};

    const HOUR: i64 = MICROS_PER_HOUR;

    fn moment(now: Timestamp) -> At {
        At { now, provider_now: now }
    }

    /// A row of ten units that was read, and what is claimed of it first.
    fn first(tx: &Tx<'_>, channel: Channel) -> (Generation, Delivery) {
        let generation = draw(tx, 1, Break::Start, at(1, 0)).unwrap();
        let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(30, 0)))).unwrap();
        let sql = "UPDATE usage_record SET target = 10, standing = 0, read_generation = ?2 WHERE id = ?1";
        tx.execute(sql, (id, generation.id)).unwrap();
        match claim(tx, id, &generation, false, moment(at(2, 0))).unwrap() {
            Claim::Send(delivery) => (generation, delivery),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn s2_a_lost_answer_is_asked_for_under_its_key_for_as_long_as_that_is_known() {
        let lost = |channel: Channel, after_us: i64, read_just_now: bool, expected: &'static str| {
            in_store(move |tx| {
                let (generation, first) = first(tx, channel);
                let now = moment(at(2, 0).plus(after_us));
                let found = match claim(tx, first.usage_record_id, &generation, read_just_now, now).unwrap() {
                    Claim::Send(again) if again.key() == first.key() => format!("again, the {}nd time", again.sends),
                    Claim::Send(anew) => format!("anew, {} units", anew.quantity),
                    other => format!("{other:?}"),
                };
                assert_eq!(found, expected, "{after_us} {read_just_now}");
            });
        };
        for channel in [Channel::UsageRecords, by(Formula::Last)] {
            lost(channel.clone(), 23 * HOUR - 1, false, "again, the 2nd time");
            lost(channel.clone(), 23 * HOUR, false, "ReadFirst");
            lost(channel, 23 * HOUR, true, "anew, 10 units");
        }
        // Rule S8: of what adds up, not so shortly before that a summary could not show it by then.
        lost(by(Formula::Sum), 21 * HOUR - 1, false, "again, the 2nd time");
        lost(by(Formula::Sum), 21 * HOUR, true, "Wait");
        lost(by(Formula::Sum), 23 * HOUR, false, "ReadFirst");
        lost(by(Formula::Sum), 23 * HOUR, true, "anew, 10 units");
    }

    #[test]
    fn s8_what_may_not_be_repeated_is_looked_at_again_in_ten_minutes() {
        in_store(|tx| {
            let (generation, first) = first(tx, by(Formula::Sum));
            let now = at(2, 0).plus(22 * HOUR);
            let id = first.usage_record_id;
            let sql = "UPDATE usage_record SET next_attempt_us = ?2, attempts = 1 WHERE id = ?1";
            tx.execute(sql, (id, now.micros())).unwrap();
            assert!(matches!(claim(tx, id, &generation, false, moment(now)).unwrap(), Claim::Wait));
            let next = record::by_id(tx, id).unwrap().next_attempt;
            assert_eq!(next, Some(now.plus(10 * MICROS_PER_MINUTE)));
        });
    }

    /// A row that was read in this generation, and not in this activation.
    fn claimed(tx: &Tx<'_>, id: i64, sets: &str) -> String {
        let drawn: i64 = tx.query_row("SELECT count(*) FROM generation", [], |row| row.get(0)).unwrap();
        let generation = draw(tx, drawn.unsigned_abs(), Break::Start, at(1, 0)).unwrap();
        let sql = format!("UPDATE usage_record SET {sets}, read_generation = ?2 WHERE id = ?1");
        tx.execute(&sql, (id, generation.id)).unwrap();
        match claim(tx, id, &generation, false, moment(at(2, 0))).unwrap() {
            Claim::Send(delivery) => format!("Send {}", delivery.quantity),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn s5_whatever_lowers_is_read_first() {
        for (formula, stands, expected) in [
            (Formula::Last, 10, "Nothing"),
            (Formula::Last, 11, "ReadFirst"),
            (Formula::Last, 9, "Send 10"),
            (Formula::Sum, 10, "Nothing"),
            (Formula::Sum, 11, "ReadFirst"),
            (Formula::Sum, 9, "Send 1"),
            (Formula::SumOfDays, 10, "Nothing"),
            (Formula::SumOfDays, 11, "ReadFirst"),
            (Formula::SumOfDays, 9, "Send 10"),
        ] {
            in_store(move |tx| {
                let id = ensure(tx, &new(by(formula), Span::new(at(1, 0), at(30, 0)))).unwrap();
                day_share::save_days(tx, id, &[(at(1, 0).secs(), 10)].into(), 0, at(2, 0)).unwrap();
                day_share::set_standing(tx, id, at(1, 0).secs(), stands).unwrap();
                let found = claimed(tx, id, &format!("target = 10, standing = {stands}"));
                assert_eq!(found, expected, "{formula:?} {stands}");
            });
        }
    }

    #[test]
    fn s9_the_first_push_after_another_period_is_made_even_if_nothing_changed_and_once() {
        for (channel, revision, expected) in [
            (Channel::CurrentUsage, 0, "Send 0"),
            (Channel::CurrentUsage, 1, "Nothing"),
            (Channel::UsageRecords, 0, "Nothing"),
        ] {
            in_store(move |tx| {
                ensure(tx, &new(channel.clone(), Span::new(at(1, 0), at(2, 0)))).unwrap();
                let id = ensure(tx, &new(channel, Span::new(at(2, 0), at(30, 0)))).unwrap();
                let found = claimed(tx, id, &format!("target = 0, standing = 0, revision = {revision}"));
                assert_eq!(found, expected, "{revision}");
            });
        }
    }

    #[test]
    fn s5_an_unanswered_attempt_is_given_up_when_what_should_stand_falls_below_it() {
        for (formula, share, expected) in [
            (Formula::Last, 10, "Send 10"),
            (Formula::Last, 9, "ReadFirst"),
            (Formula::SumOfDays, 10, "Send 10"),
            (Formula::SumOfDays, 9, "ReadFirst"),
            // What adds up is answered first.
            (Formula::Sum, 9, "Send 10"),
        ] {
            in_store(move |tx| {
                let id = ensure(tx, &new(by(formula), Span::new(at(1, 0), at(30, 0)))).unwrap();
                let day =
                    |share| day_share::save_days(tx, id, &[(at(1, 0).secs(), share)].into(), 0, at(2, 0)).unwrap();
                day(10);
                assert_eq!(claimed(tx, id, "target = 10, standing = 0"), "Send 10");
                day(share);
                // A day is held against its own share, whatever the whole comes to.
                let target = if formula == Formula::SumOfDays { share + 10 } else { share };
                assert_eq!(claimed(tx, id, &format!("target = {target}")), expected, "{formula:?} {share}");
            });
        }
    }

    #[test]
    fn s2_every_send_is_in_the_audit_with_its_key_and_how_often_it_left() {
        in_store(|tx| {
            let (generation, first) = first(tx, Channel::UsageRecords);
            assert_eq!((first.revision, first.sends), (1, 1));
            assert!(first.key().starts_with("si_1:") && first.key().contains(":1:"), "{}", first.key());
            claim(tx, first.usage_record_id, &generation, false, moment(at(2, 1))).unwrap();
            let mut rows = tx.prepare("SELECT detail FROM audit WHERE action = 'push.sent' ORDER BY id").unwrap();
            let said: Vec<_> = rows
                .query_map([], |row| row.get::<_, String>(0))
                .unwrap()
                .map(|detail| serde_json::from_str::<serde_json::Value>(&detail.unwrap()).unwrap())
                .map(|detail| (detail["key"].as_str().unwrap().to_owned(), detail["sends"].as_i64().unwrap()))
                .collect();
            assert_eq!(said, [(first.key(), 1), (first.key(), 2)]);
        });
    }
}
