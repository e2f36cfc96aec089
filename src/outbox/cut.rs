//! A period that ends before its time: the billing cycle was set to begin anew, or the subscription was ended. Its invoice
//! is made there and then, so nothing waits for totals that come later.

use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use super::{OutboxError, UsageRecord, day_share, record};
use crate::model::{Formula, Timestamp};
use crate::store::{Tx, audit};

/// The period ended at `at`, before it was thought to. Also of one that was thought to be over already.
pub fn cut_short(tx: &Tx<'_>, id: i64, at: Timestamp, now: Timestamp) -> Result<(), OutboxError> {
    let before = record::by_id(tx, id)?;
    tx.execute(
        "UPDATE usage_record SET state = 'ending', cut = 1, period_to_s = min(period_to_s, max(?2, period_from_s)),
                close_read = NULL, close_read_us = NULL, next_attempt_us = NULL, attempts = 0
         WHERE id = ?1 AND state <> 'closed'",
        (id, at.secs()),
    )?;
    leave_events_behind(tx, &before, at)?;
    record::note_difference(tx, id, now)?;
    let detail = json!({"was_to_end": before.period.to, "ended": at});
    audit::append(tx, now, "usaged", "period.cut", before.item.as_str(), &detail).map_err(OutboxError::from)
}

/// Rule R6: nothing is carried out of the period, since its invoice is not to be paid.
pub fn end_unbilled(tx: &Tx<'_>, id: i64) -> Result<(), OutboxError> {
    tx.execute("UPDATE usage_record SET billable = 0 WHERE id = ?1 AND state <> 'closed'", [id])?;
    Ok(())
}

/// Events that were sent after the end and before it was known lie in the next period: they do not stand in this one.
fn leave_events_behind(tx: &Tx<'_>, record: &UsageRecord, at: Timestamp) -> Result<(), OutboxError> {
    let (Some(formula), Some(noted)) = (record.channel.formula(), record.standing) else { return Ok(()) };
    let standing = match formula {
        Formula::Sum => noted.saturating_sub(placed_from(tx, record.id, at, Added::Accepted)?),
        Formula::Last => match placed_before(tx, record.id, None, at)? {
            Some(total) => total,
            // What was adopted, or read, before this ledger sent anything.
            None if placed_from(tx, record.id, at, Added::Accepted)? > 0 => record.adopted,
            None => noted,
        },
        Formula::SumOfDays => {
            for day in day_share::all(tx, record.id)? {
                if let Some(share) = placed_before(tx, record.id, Some(day.day_s), at)? {
                    day_share::set_standing(tx, record.id, day.day_s, share)?;
                } else if day.day_s >= at.secs() {
                    day_share::set_standing(tx, record.id, day.day_s, 0)?;
                }
            }
            day_share::standing(tx, record.id)?
        }
    };
    tx.execute("UPDATE usage_record SET standing = ?2 WHERE id = ?1", (record.id, standing))?;
    Ok(())
}

/// Which attempts are asked about.
#[derive(Clone, Copy)]
enum Added {
    Accepted,
    Possibly,
}

/// What the item's other rows sent into this row's period, before it was known to have begun: it may stand here.
pub(super) fn sent_into(connection: &Connection, record: &UsageRecord) -> Result<i64, OutboxError> {
    let sql = "SELECT id FROM usage_record WHERE item = ?1 AND id <> ?2 AND cut = 1 AND period_to_s = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let from = record.period.from;
    let rows = statement.query_map((record.item.as_str(), record.id, from.secs()), |row| row.get::<_, i64>(0))?;
    let mut sent = 0_i64;
    for row in rows {
        let row = row?;
        let more = match record.channel.formula() {
            Some(Formula::Sum | Formula::SumOfDays) => placed_from(connection, row, from, Added::Possibly)?,
            _ => largest_from(connection, row, from)?,
        };
        sent = sent.saturating_add(more);
    }
    Ok(sent)
}

fn placed_from(connection: &Connection, record: i64, from: Timestamp, added: Added) -> Result<i64, OutboxError> {
    let sql = match added {
        Added::Accepted => {
            "SELECT ifnull(sum(quantity), 0) FROM delivery
             WHERE usage_record_id = ?1 AND timestamp_s >= ?2 AND state = 'accepted'"
        }
        Added::Possibly => {
            "SELECT ifnull(sum(quantity), 0) FROM delivery
             WHERE usage_record_id = ?1 AND timestamp_s >= ?2 AND state <> 'refused' AND (state = 'accepted' OR quantity > 0)"
        }
    };
    Ok(connection.prepare_cached(sql)?.query_row((record, from.secs()), |row| row.get(0))?)
}

fn largest_from(connection: &Connection, record: i64, from: Timestamp) -> Result<i64, OutboxError> {
    let sql = "SELECT ifnull(max(quantity), 0) FROM delivery
               WHERE usage_record_id = ?1 AND timestamp_s >= ?2 AND state <> 'refused'";
    Ok(connection.prepare_cached(sql)?.query_row((record, from.secs()), |row| row.get(0))?)
}

/// The newest total that was accepted with a timestamp before this moment.
fn placed_before(
    connection: &Connection,
    record: i64,
    day_s: Option<i64>,
    at: Timestamp,
) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT quantity FROM delivery
               WHERE usage_record_id = ?1 AND day_s IS ?2 AND timestamp_s < ?3 AND state = 'accepted'
               ORDER BY timestamp_s DESC LIMIT 1";
    let found = connection.prepare_cached(sql)?.query_row((record, day_s, at.secs()), |row| row.get(0));
    Ok(found.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::outbox::testing::{at, attempted, by, in_store, new};
    use crate::outbox::{Break, Generation, ReadVerdict, Reader, Stands, draw, ensure, note_read};

    fn in_outbox(formula: Formula, test: impl FnOnce(&Tx<'_>, &Generation, i64) + Send + 'static) {
        in_store(move |tx| {
            let generation = draw(tx, 1, Break::Start, at(5, 0)).unwrap();
            let id = ensure(tx, &new(by(formula), Span::new(at(5, 0), at(30, 0)))).unwrap();
            test(tx, &generation, id);
        });
    }

    /// An event that was answered.
    fn sent(tx: &Tx<'_>, id: i64, revision: i64, quantity: i64, at: Timestamp, day: Option<Timestamp>) {
        attempted(tx, id, revision, quantity, "accepted", at, day);
    }

    fn noted(tx: &Tx<'_>, id: i64, standing: i64) {
        tx.execute("UPDATE usage_record SET standing = ?2 WHERE id = ?1", (id, standing)).unwrap();
    }

    /// Cuts at noon of the tenth; returns what stands on the old row, and what a read of the new one means.
    fn cut_and_read(tx: &Tx<'_>, generation: &Generation, formula: Formula, id: i64, found: i64) -> (i64, ReadVerdict) {
        cut_short(tx, id, at(10, 12), at(10, 18)).unwrap();
        let next = ensure(tx, &new(by(formula), Span::new(at(10, 12), at(30, 12)))).unwrap();
        let reader = Reader { generation, is_single_writer: false, now: at(10, 18) };
        let verdict = note_read(tx, next, &Stands { total: found, days: None }, &reader).unwrap();
        (record::by_id(tx, id).unwrap().standing.unwrap(), verdict)
    }

    #[test]
    fn s7_a_total_that_was_sent_after_the_cut_stands_in_the_next_period_and_is_our_own() {
        in_outbox(Formula::Last, |tx, generation, id| {
            sent(tx, id, 1, 40, at(10, 11), None);
            sent(tx, id, 2, 50, at(10, 13), None);
            noted(tx, id, 50);
            let (stands, verdict) = cut_and_read(tx, generation, Formula::Last, id, 50);
            assert_eq!((stands, verdict), (40, ReadVerdict::OursLate));
        });
    }

    #[test]
    fn s8_increments_that_were_sent_after_the_cut_stand_in_the_next_period() {
        in_outbox(Formula::Sum, |tx, generation, id| {
            sent(tx, id, 1, 40, at(10, 11), None);
            sent(tx, id, 2, 6, at(10, 13), None);
            sent(tx, id, 3, 4, at(10, 14), None);
            noted(tx, id, 50);
            let (stands, verdict) = cut_and_read(tx, generation, Formula::Sum, id, 10);
            assert_eq!((stands, verdict), (40, ReadVerdict::OursLate));
        });
    }

    #[test]
    fn s8_a_days_share_that_was_sent_after_the_cut_does_not_stand_in_the_old_period() {
        in_outbox(Formula::SumOfDays, |tx, _, id| {
            for (revision, quantity, day, hour) in [(1, 30, 9, 11), (2, 5, 10, 11), (3, 9, 10, 13), (4, 7, 11, 1)] {
                sent(tx, id, revision, quantity, at(day, hour), Some(at(day, 0)));
                day_share::set_standing(tx, id, at(day, 0).secs(), quantity).unwrap();
            }
            noted(tx, id, 46);
            cut_short(tx, id, at(10, 12), at(11, 18)).unwrap();
            assert_eq!(record::by_id(tx, id).unwrap().standing, Some(35));
        });
    }

    #[test]
    fn s4_what_another_sent_into_the_next_period_is_held_all_the_same() {
        in_outbox(Formula::Last, |tx, generation, id| {
            sent(tx, id, 1, 40, at(10, 11), None);
            noted(tx, id, 40);
            let (stands, verdict) = cut_and_read(tx, generation, Formula::Last, id, 41);
            assert_eq!(stands, 40);
            assert!(matches!(verdict, ReadVerdict::Held(_)), "{verdict:?}");
        });
    }

    #[test]
    fn a_period_that_is_cut_is_read_anew() {
        in_outbox(Formula::Last, |tx, _, id| {
            noted(tx, id, 4);
            tx.execute("UPDATE usage_record SET state = 'ending', close_read = 4, close_read_us = 1", []).unwrap();
            cut_short(tx, id, at(10, 12), at(10, 18)).unwrap();
            let row = record::by_id(tx, id).unwrap();
            assert_eq!((row.period.to, row.close_read, row.cut), (at(10, 12), None, true));
            end_unbilled(tx, id).unwrap();
            assert!(!record::by_id(tx, id).unwrap().billable);
        });
    }

    #[test]
    fn s7_before_anything_was_sent_what_was_taken_over_stands_in_the_old_period() {
        for (is_sent, stands) in [(true, 7), (false, 50)] {
            in_outbox(Formula::Last, move |tx, _, id| {
                if is_sent {
                    sent(tx, id, 1, 50, at(10, 13), None);
                }
                tx.execute("UPDATE usage_record SET adopted = 7, standing = 50 WHERE id = ?1", [id]).unwrap();
                cut_short(tx, id, at(10, 12), at(10, 18)).unwrap();
                assert_eq!(record::by_id(tx, id).unwrap().standing, Some(stands));
            });
        }
    }
}
