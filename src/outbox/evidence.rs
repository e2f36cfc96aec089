//! What this ledger can say for itself when the provider says something else (rule S5). Changes nothing.

use rusqlite::{Connection, OptionalExtension};

use super::delivery;
use super::generation::Break;
use super::standing::STRAGGLES_US;
use super::{OutboxError, RecordState, UsageRecord, record};
use crate::model::{Formula, ItemId, MICROS_PER_DAY, Timestamp};
use crate::store::{Tx, audit};

/// So long after its end what a closed period was billed is still compared.
const LATELY_US: i64 = 70 * MICROS_PER_DAY;
/// So many closed periods of an item.
const LATELY: usize = 2;

/// How this ledger came from what it noted last to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinceNoted {
    /// When it noted what stands on the row; `None` where it never did.
    pub at: Option<Timestamp>,
    /// The same process has run ever since, and its clock was not set: no copy can have taken its place.
    pub in_one_run: bool,
    /// It was left once without a stop being noted, or its clock was set, as happens to a copy that is brought back.
    pub left_without_stop: bool,
}

/// What lies between the last note of a row and now. Generations tell it without any clock; only a row that was never
/// noted is judged by the time since its period began.
pub fn since_noted(connection: &Connection, record: &UsageRecord) -> Result<SinceNoted, OutboxError> {
    let sql = "SELECT CASE WHEN r.standing IS NOT NULL THEN r.standing_us END, r.read_generation,
                      (SELECT max(generation_id) FROM delivery WHERE usage_record_id = r.id AND state = 'accepted')
               FROM usage_record r WHERE r.id = ?1";
    let found: Option<(Option<i64>, Option<i64>, Option<i64>)> = connection
        .prepare_cached(sql)?
        .query_row([record.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (at_us, read_in, accepted_in) = found.ok_or(OutboxError::NoSuchRecord(record.id))?;
    let noted_in = read_in.max(accepted_in);
    let sql = "SELECT because FROM generation WHERE CASE WHEN ?1 IS NULL THEN drawn_us > ?2 ELSE id > ?1 END";
    let bound = (noted_in, record.period.from.micros());
    let breaks: Vec<String> =
        connection.prepare_cached(sql)?.query_map(bound, |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(SinceNoted {
        at: at_us.map(Timestamp::from_micros),
        in_one_run: breaks.is_empty(),
        left_without_stop: breaks.iter().any(|because| because != Break::Start.word()),
    })
}

/// The most that this ledger may have caused to stand on a row.
pub fn caused(connection: &Connection, record: &UsageRecord, now: Timestamp) -> Result<i64, OutboxError> {
    let noted = record.standing.unwrap_or(0);
    Ok(match record.channel.formula() {
        Some(Formula::Sum | Formula::SumOfDays) => noted
            .saturating_add(delivery::added_by_unanswered(connection, record.id)?)
            .saturating_add(delivery::falls_since(connection, record.id, now.minus(STRAGGLES_US))?),
        Some(Formula::Last) | None => delivery::largest_possible(connection, record.id)?
            .map_or(noted, |largest| largest.saturating_add(record.adopted_elsewhere).max(noted)),
    })
}

/// Whether a meter's summary may not show yet what was answered.
pub fn lags(connection: &Connection, record: &UsageRecord, now: Timestamp) -> Result<bool, OutboxError> {
    let accepted = delivery::accepted_at(connection, record.id)?;
    Ok(record.channel.meter().is_some() && accepted.is_some_and(|at| now.since(at) < STRAGGLES_US))
}

/// The last two closed periods of each item, as far as they ended lately; oldest first.
pub fn closed_lately(connection: &Connection, now: Timestamp) -> Result<Vec<UsageRecord>, OutboxError> {
    let mut found = record::closed_since(connection, now.minus(LATELY_US))?;
    found.reverse();
    let mut seen: Vec<ItemId> = Vec::new();
    found.retain(|record| {
        seen.push(record.item.clone());
        seen.iter().filter(|item| **item == record.item).count() <= LATELY
    });
    found.reverse();
    Ok(found)
}

/// Notes that the provider says something else of a closed period than it was closed with, or not any more. Its books stay
/// as they are: what was carried or listed then is settled.
pub fn note_closed_read(tx: &Tx<'_>, id: i64, total: i64, now: Timestamp) -> Result<(), OutboxError> {
    let record = record::by_id(tx, id)?;
    let closed_with = record.standing.unwrap_or(0);
    let drift =
        (total != closed_with).then(|| format!("{total} stands now, and {closed_with} stood when it was closed"));
    if record.state != RecordState::Closed || drift == record.drift {
        return Ok(());
    }
    tx.execute("UPDATE usage_record SET drift = ?2 WHERE id = ?1", (id, &drift))?;
    let detail = serde_json::json!({"total": total, "closed_with": closed_with});
    audit::append(tx, now, "usaged", "closed.differs", record.item.as_str(), &detail)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, Span};
    use crate::outbox::testing::{at, attempted, by, in_store, new};
    use crate::outbox::{draw, ensure};

    fn closed(tx: &Tx<'_>, from: u32, to: u32) -> i64 {
        let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(from, 0), at(to, 0)))).unwrap();
        tx.execute("UPDATE usage_record SET state = 'closed', standing = 5 WHERE id = ?1", [id]).unwrap();
        id
    }

    #[test]
    fn s5_the_last_two_periods_of_an_item_are_compared_for_70_days() {
        in_store(|tx| {
            let [_, second, third] = [(1, 5), (5, 9), (9, 12)].map(|(from, to)| closed(tx, from, to));
            let found = |now| closed_lately(tx, now).unwrap().iter().map(|row| row.id).collect::<Vec<_>>();
            assert_eq!(found(at(20, 0)), [second, third]);
            let last = at(12, 0).plus(70 * MICROS_PER_DAY);
            assert_eq!(found(last), [third]);
            assert_eq!(found(last.plus(1_000_000)), [0; 0]);
        });
    }

    #[test]
    fn s5_another_total_of_a_closed_period_is_noted_once_and_forgotten_with_its_cause() {
        in_store(|tx| {
            let id = closed(tx, 1, 5);
            let differs = || record::by_id(tx, id).unwrap().drift.is_some();
            let noted = || {
                let sql = "SELECT count(*) FROM audit WHERE action = 'closed.differs'";
                tx.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
            };
            for (total, is_drift, times) in [(5, false, 0), (7, true, 1), (7, true, 1), (4, true, 2), (5, false, 3)] {
                note_closed_read(tx, id, total, at(9, 0)).unwrap();
                assert_eq!((differs(), noted()), (is_drift, times), "{total}");
            }
            tx.execute("UPDATE usage_record SET state = 'ending' WHERE id = ?1", [id]).unwrap();
            note_closed_read(tx, id, 7, at(9, 0)).unwrap();
            assert!(!differs(), "what is not closed has reads of its own");
        });
    }

    #[test]
    fn s5_only_a_start_after_a_noted_stop_leaves_no_doubt() {
        for (because, left_without_stop) in
            [(Break::Start, false), (Break::StartWithoutStop, true), (Break::ClockJump, true)]
        {
            in_store(move |tx| {
                let first = draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(1, 0), at(5, 0)))).unwrap();
                let told = || since_noted(tx, &record::by_id(tx, id).unwrap()).unwrap();
                let sql = "UPDATE usage_record SET standing = 5, standing_us = ?2, read_generation = ?3 WHERE id = ?1";
                tx.execute(sql, (id, at(2, 0).micros(), first.id)).unwrap();
                let kept = SinceNoted { at: Some(at(2, 0)), in_one_run: true, left_without_stop: false };
                assert_eq!(told(), kept);
                draw(tx, 2, because, at(3, 0)).unwrap();
                assert_eq!(told(), SinceNoted { in_one_run: false, left_without_stop, ..kept });
            });
        }
    }

    #[test]
    fn s5_a_row_that_was_never_noted_is_judged_by_the_time_since_its_period_began() {
        in_store(|tx| {
            let id = ensure(tx, &new(Channel::UsageRecords, Span::new(at(2, 0), at(5, 0)))).unwrap();
            let in_one_run = || since_noted(tx, &record::by_id(tx, id).unwrap()).unwrap().in_one_run;
            draw(tx, 1, Break::StartWithoutStop, at(2, 0)).unwrap();
            assert!(in_one_run());
            draw(tx, 2, Break::Start, at(2, 1)).unwrap();
            assert!(!in_one_run());
        });
    }

    #[test]
    fn s7_a_summary_may_lag_for_two_hours_behind_what_was_answered() {
        for (channel, within, after) in [(by(Formula::Last), true, false), (Channel::UsageRecords, false, false)] {
            in_store(move |tx| {
                draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(5, 0)))).unwrap();
                attempted(tx, id, 1, 9, "accepted", at(2, 4), None);
                let row = record::by_id(tx, id).unwrap();
                assert_eq!(lags(tx, &row, at(2, 6).minus(1)).unwrap(), within);
                assert_eq!(lags(tx, &row, at(2, 6)).unwrap(), after);
            });
        }
    }

    #[test]
    fn s5_what_was_caused_is_what_was_noted_and_what_may_have_arrived() {
        for (channel, expected) in [
            // Increments: the lost one, and the fall that a summary may not show.
            (by(Formula::Sum), 30 + 8 + 2),
            (by(Formula::Last), 30),
            // A record beside units that stand at another timestamp.
            (Channel::UsageRecords, 30),
        ] {
            in_store(move |tx| {
                draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let id = ensure(tx, &new(channel, Span::new(at(1, 0), at(5, 0)))).unwrap();
                let row = || record::by_id(tx, id).unwrap();
                tx.execute("UPDATE usage_record SET standing = 30, adopted_elsewhere = 4 WHERE id = ?1", [id]).unwrap();
                assert_eq!(caused(tx, &row(), at(2, 5)).unwrap(), 30);
                attempted(tx, id, 1, -2, "accepted", at(2, 4), None);
                attempted(tx, id, 2, 8, "unknown", at(2, 5), None);
                assert_eq!(caused(tx, &row(), at(2, 5)).unwrap(), expected);
                let more = if row().channel.formula() == Some(Formula::Sum) { 30 + 40 + 2 } else { 40 + 4 };
                tx.execute("UPDATE delivery SET quantity = 40 WHERE revision = 2", []).unwrap();
                assert_eq!(caused(tx, &row(), at(2, 5)).unwrap(), more);
            });
        }
    }
}
