//! `Delivery`: an attempt to set a quantity, under one key.

use rusqlite::{Connection, OptionalExtension, Row};

use super::OutboxError;
use crate::model::Timestamp;
use crate::store::Tx;

/// Where an attempt is. `Sending` and `Unknown` are in flight: at most one of them per record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Committed before it leaves; after a crash it may or may not have left.
    Sending,
    /// It left, and no answer says what became of it.
    Unknown,
    /// It stands.
    Accepted,
    /// It certainly did nothing.
    Refused,
    /// It may have done something, and is not asked about again: a later read decides.
    Abandoned,
}

impl DeliveryState {
    /// The word in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }

    fn of(word: String) -> Result<Self, OutboxError> {
        match word.as_str() {
            "sending" => Ok(Self::Sending),
            "unknown" => Ok(Self::Unknown),
            "accepted" => Ok(Self::Accepted),
            "refused" => Ok(Self::Refused),
            "abandoned" => Ok(Self::Abandoned),
            _ => Err(OutboxError::Word { what: "delivery.state", value: word }),
        }
    }

    /// The one table of legal moves.
    pub(super) fn go(self, to: Self) -> Result<Self, OutboxError> {
        match (self, to) {
            (Self::Sending, _) | (Self::Unknown, Self::Sending | Self::Accepted | Self::Abandoned) => Ok(to),
            _ => Err(OutboxError::IllegalMove { from: self.word(), to: to.word() }),
        }
    }
}

/// One row of `delivery`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Row id.
    pub id: i64,
    /// Whose attempt it is.
    pub usage_record_id: i64,
    /// Which revision of the record.
    pub revision: i64,
    /// Its own name: the key it leaves under, and a meter event's identifier.
    pub idempotency_key: String,
    /// What it sets.
    pub quantity: i64,
    /// At which timestamp, seconds.
    pub timestamp_s: i64,
    /// Rule S8: the UTC day whose share it sets, by its first second; `None` for the whole period.
    pub day_s: Option<i64>,
    /// Keys under which the provider stored a failure.
    pub spent_keys: i64,
    /// Where it is.
    pub state: DeliveryState,
    /// How often it left.
    pub sends: i64,
    /// When it left first.
    pub first_sent: Timestamp,
    /// When an answer settled it.
    pub settled: Option<Timestamp>,
    /// The provider's request id.
    pub request_id: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Delivery {
    /// The key it leaves under now. An event that got a stored failure keeps its identifier and takes another key.
    #[must_use]
    pub fn key(&self) -> String {
        match self.spent_keys {
            0 => self.idempotency_key.clone(),
            spent => format!("{}:{spent}", self.idempotency_key),
        }
    }
}

/// The attempt in flight, where there is one.
pub(super) fn in_flight(connection: &Connection, record: i64) -> Result<Option<Delivery>, OutboxError> {
    one(connection, "WHERE usage_record_id = ?1 AND state IN ('sending', 'unknown')", record)
}

/// The newest attempt that was accepted, of a later revision than this.
pub(super) fn last_accepted(connection: &Connection, record: i64, after: i64) -> Result<Option<Delivery>, OutboxError> {
    let newest =
        one(connection, "WHERE usage_record_id = ?1 AND state = 'accepted' ORDER BY revision DESC LIMIT 1", record)?;
    Ok(newest.filter(|delivery| delivery.revision > after))
}

/// One attempt.
pub(super) fn by_id(connection: &Connection, id: i64) -> Result<Option<Delivery>, OutboxError> {
    one(connection, "WHERE id = ?1", id)
}

/// The newest attempt of all records, for `status`.
pub fn last_sent(connection: &Connection) -> Result<Option<Delivery>, OutboxError> {
    one(connection, "WHERE ?1 = 0 ORDER BY ifnull(settled_us, first_sent_us) DESC, id DESC LIMIT 1", 0)
}

/// The newest attempts of a record, newest first.
pub fn newest_of(connection: &Connection, record: i64, at_most: u32) -> Result<Vec<Delivery>, OutboxError> {
    let mut statement = connection.prepare_cached(&select("WHERE usage_record_id = ?1 ORDER BY id DESC LIMIT ?2"))?;
    let found: Vec<_> = statement.query_map((record, at_most), raw)?.collect::<Result<_, _>>()?;
    found.into_iter().map(known).collect()
}

/// When an attempt of any record was last accepted, for `status`.
pub fn last_accepted_at(connection: &Connection) -> Result<Option<Timestamp>, OutboxError> {
    let sql = "SELECT max(settled_us) FROM delivery WHERE state = 'accepted'";
    let at: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(at.map(Timestamp::from_micros))
}

/// How many attempts of all records were answered for certain since then, and how many of those were accepted. What was
/// given up unanswered says nothing: a read has found what became of it.
pub fn settled_since(connection: &Connection, since: Timestamp) -> Result<(u32, u32), OutboxError> {
    let sql = "SELECT count(*), ifnull(sum(state = 'accepted'), 0) FROM delivery
               WHERE settled_us > ?1 AND state IN ('accepted', 'refused')";
    Ok(connection.prepare_cached(sql)?.query_row([since.micros()], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// The largest quantity that any attempt of this record may have left standing; `None` where nothing ever left.
pub(super) fn largest_possible(connection: &Connection, record: i64) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT max(quantity) FROM delivery WHERE usage_record_id = ?1 AND state <> 'refused'";
    Ok(connection.prepare_cached(sql)?.query_row([record], |row| row.get(0))?)
}

/// Whether an attempt of this record without an answer may have left this standing.
pub(super) fn may_have_set(connection: &Connection, record: i64, quantity: i64) -> Result<bool, OutboxError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM delivery WHERE usage_record_id = ?1 AND quantity = ?2
                   AND state IN ('sending', 'unknown', 'abandoned'))";
    Ok(connection.prepare_cached(sql)?.query_row((record, quantity), |row| row.get(0))?)
}

/// When an attempt of this record was accepted last.
pub(super) fn accepted_at(connection: &Connection, record: i64) -> Result<Option<Timestamp>, OutboxError> {
    let sql = "SELECT max(settled_us) FROM delivery WHERE usage_record_id = ?1 AND state = 'accepted'";
    let at: Option<i64> = connection.prepare_cached(sql)?.query_row([record], |row| row.get(0))?;
    Ok(at.map(Timestamp::from_micros))
}

/// What attempts without an answer may have added, where they add up; with days, where each adds a day's share.
pub(super) fn added_by_unanswered(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    let sql = "SELECT ifnull(sum(max(quantity, 0)), 0) FROM delivery
               WHERE usage_record_id = ?1 AND state IN ('sending', 'unknown', 'abandoned')";
    Ok(connection.prepare_cached(sql)?.query_row([record], |row| row.get(0))?)
}

/// By how much accepted falls lowered a sum since then.
pub(super) fn falls_since(connection: &Connection, record: i64, since: Timestamp) -> Result<i64, OutboxError> {
    let sql = "SELECT ifnull(sum(-quantity), 0) FROM delivery
               WHERE usage_record_id = ?1 AND state = 'accepted' AND quantity < 0 AND settled_us > ?2";
    Ok(connection.prepare_cached(sql)?.query_row((record, since.micros()), |row| row.get(0))?)
}

/// How many falls were refused with a 400.
pub(super) fn refused_falls(connection: &Connection, record: i64) -> Result<i64, OutboxError> {
    let sql = "SELECT count(*) FROM delivery
               WHERE usage_record_id = ?1 AND quantity < 0 AND state = 'refused' AND http_status = 400";
    Ok(connection.prepare_cached(sql)?.query_row([record], |row| row.get(0))?)
}

/// The largest share of a day that any attempt may have left standing.
pub(super) fn largest_possible_on(
    connection: &Connection,
    record: i64,
    day_s: i64,
) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT max(quantity) FROM delivery WHERE usage_record_id = ?1 AND day_s = ?2 AND state <> 'refused'";
    Ok(connection.prepare_cached(sql)?.query_row((record, day_s), |row| row.get(0))?)
}

/// Whether a fall below this on a day was accepted since then, and nothing else explains that as much stands there.
pub(super) fn fell_on(
    connection: &Connection,
    record: i64,
    day_s: i64,
    found: i64,
    since: Timestamp,
) -> Result<bool, OutboxError> {
    let sql = "SELECT ifnull(max(state = 'accepted' AND quantity < ?3 AND settled_us > ?4), 0)
                      AND NOT max(state IN ('sending', 'unknown', 'abandoned') AND quantity >= ?3)
               FROM delivery WHERE usage_record_id = ?1 AND day_s = ?2";
    Ok(connection.prepare_cached(sql)?.query_row((record, day_s, found, since.micros()), |row| row.get(0))?)
}

/// The largest quantity that was given up since then and may arrive late; `or_resent`, or that was sent more than once.
pub(super) fn largest_late(
    connection: &Connection,
    record: i64,
    or_resent: bool,
    since: Timestamp,
) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT max(quantity) FROM delivery
               WHERE usage_record_id = ?1 AND (state = 'abandoned' OR ?2 AND sends > 1) AND settled_us > ?3";
    Ok(connection.prepare_cached(sql)?.query_row((record, or_resent, since.micros()), |row| row.get(0))?)
}

/// Whether every attempt that may still do something left, and was settled, before then.
pub(super) fn is_answered_since(connection: &Connection, record: i64, since: Timestamp) -> Result<bool, OutboxError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM delivery WHERE usage_record_id = ?1
                                  AND state IN ('sending', 'unknown', 'abandoned')
                                  AND max(first_sent_us, ifnull(settled_us, 0)) > ?2)";
    Ok(connection.prepare_cached(sql)?.query_row((record, since.micros()), |row| row.get(0))?)
}

/// Whether every attempt that may have done something left, and was settled, before then.
pub(super) fn is_quiet_since(connection: &Connection, record: i64, since: Timestamp) -> Result<bool, OutboxError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM delivery WHERE usage_record_id = ?1 AND state <> 'refused'
                                  AND max(first_sent_us, ifnull(settled_us, 0)) > ?2)";
    Ok(connection.prepare_cached(sql)?.query_row((record, since.micros()), |row| row.get(0))?)
}

/// Moves an attempt to another state, where that is legal.
pub(super) fn set_state(
    tx: &Tx<'_>,
    delivery: &Delivery,
    to: DeliveryState,
    now: Timestamp,
    error: Option<&str>,
) -> Result<(), OutboxError> {
    let to = delivery.state.go(to)?;
    tx.execute(
        "UPDATE delivery SET state = ?2, settled_us = ?3, error = ?4 WHERE id = ?1",
        (delivery.id, to.word(), now.micros(), error),
    )?;
    Ok(())
}

fn one(connection: &Connection, rest: &str, bound: i64) -> Result<Option<Delivery>, OutboxError> {
    let found = connection.prepare_cached(&select(rest))?.query_row([bound], raw).optional()?;
    found.map(known).transpose()
}

fn select(rest: &str) -> String {
    format!(
        "SELECT id, usage_record_id, revision, idempotency_key, quantity, timestamp_s, state, sends, first_sent_us,
                settled_us, request_id, error, day_s, spent_keys FROM delivery {rest}"
    )
}

fn known((delivery, state): (Delivery, String)) -> Result<Delivery, OutboxError> {
    Ok(Delivery { state: DeliveryState::of(state)?, ..delivery })
}

fn raw(row: &Row<'_>) -> rusqlite::Result<(Delivery, String)> {
    let delivery = Delivery {
        id: row.get(0)?,
        usage_record_id: row.get(1)?,
        revision: row.get(2)?,
        idempotency_key: row.get(3)?,
        quantity: row.get(4)?,
        timestamp_s: row.get(5)?,
        state: DeliveryState::Sending,
        sends: row.get(7)?,
        first_sent: Timestamp::from_micros(row.get(8)?),
        settled: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_micros),
        request_id: row.get(10)?,
        error: row.get(11)?,
        day_s: row.get(12)?,
        spent_keys: row.get(13)?,
    };
    Ok((delivery, row.get(6)?))
}

#[cfg(test)]
mod tests {
    use super::DeliveryState::{Abandoned, Accepted, Refused, Sending, Unknown};
    use super::*;
    use crate::model::{Formula, Span};
    use crate::outbox::testing::{at, attempted, by, in_store, new};
    use crate::outbox::{Break, draw, ensure};

    #[test]
    fn what_is_settled_stays_settled() {
        for settled in [Accepted, Refused, Abandoned] {
            for to in [Sending, Unknown, Accepted, Refused, Abandoned] {
                assert!(settled.go(to).is_err(), "{settled:?} to {to:?}");
            }
        }
    }

    #[test]
    fn what_may_have_been_done_is_never_called_refused() {
        assert!(Unknown.go(Refused).is_err());
        assert!(Sending.go(Refused).is_ok(), "a first answer may say that nothing was done");
    }

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in [Sending, Unknown, Accepted, Refused, Abandoned] {
            assert_eq!(DeliveryState::of(state.word().to_owned()).unwrap(), state);
        }
        assert!(DeliveryState::of("lost".to_owned()).is_err());
    }

    #[test]
    fn what_attempts_may_have_left_is_told_by_how_they_came_out_and_when() {
        in_store(|tx| {
            draw(tx, 1, Break::Start, at(1, 0)).unwrap();
            let id = ensure(tx, &new(by(Formula::Sum), Span::new(at(1, 0), at(30, 0)))).unwrap();
            assert_eq!((largest_possible(tx, id).unwrap(), accepted_at(tx, id).unwrap()), (None, None));
            for (revision, quantity, state) in [
                (1, 40, "accepted"),
                (2, 55, "refused"),
                (3, 50, "abandoned"),
                (4, -6, "accepted"),
                (5, -3, "refused"),
                (6, 45, "unknown"),
            ] {
                let hour = u32::try_from(revision).unwrap();
                attempted(tx, id, revision, quantity, state, at(2, hour), None);
            }
            assert_eq!(largest_possible(tx, id).unwrap(), Some(50));
            assert_eq!(accepted_at(tx, id).unwrap(), Some(at(2, 4)));
            assert_eq!(last_accepted(tx, id, 3).unwrap().map(|last| last.quantity), Some(-6));
            assert!(last_accepted(tx, id, 4).unwrap().is_none());
            assert_eq!(in_flight(tx, id).unwrap().map(|pending| pending.quantity), Some(45));
            assert_eq!(added_by_unanswered(tx, id).unwrap(), 50 + 45);
            assert_eq!((falls_since(tx, id, at(2, 3)).unwrap(), falls_since(tx, id, at(2, 4)).unwrap()), (6, 0));
            assert_eq!(refused_falls(tx, id).unwrap(), 0, "without the provider's 400");
            tx.execute("UPDATE delivery SET http_status = 400 WHERE state = 'refused'", []).unwrap();
            assert_eq!(refused_falls(tx, id).unwrap(), 1);
            let late = |or_resent, hour| largest_late(tx, id, or_resent, at(2, hour)).unwrap();
            assert_eq!((late(false, 2), late(false, 3), late(true, 3)), (Some(50), None, None));
            tx.execute("UPDATE delivery SET sends = 2 WHERE revision = 4", []).unwrap();
            assert_eq!((late(false, 3), late(true, 3)), (None, Some(-6)));
        });
    }

    #[test]
    fn an_item_is_answered_and_quiet_when_the_last_attempt_is_long_enough_ago() {
        in_store(|tx| {
            draw(tx, 1, Break::Start, at(1, 0)).unwrap();
            let id = ensure(tx, &new(by(Formula::Sum), Span::new(at(1, 0), at(30, 0)))).unwrap();
            for (revision, state, hour) in [(1, "unknown", 3), (2, "accepted", 5), (3, "refused", 7)] {
                attempted(tx, id, revision, 9, state, at(2, hour), None);
            }
            let answered = |hour| is_answered_since(tx, id, at(2, hour)).unwrap();
            assert_eq!((answered(2), answered(3), answered(4)), (false, true, true));
            let quiet = |hour| is_quiet_since(tx, id, at(2, hour)).unwrap();
            assert_eq!((quiet(4), quiet(5), quiet(6)), (false, true, true));
        });
    }

    #[test]
    fn s8_a_fall_on_a_day_explains_what_stands_there_unless_something_else_does() {
        in_store(|tx| {
            draw(tx, 1, Break::Start, at(1, 0)).unwrap();
            let id = ensure(tx, &new(by(Formula::SumOfDays), Span::new(at(1, 0), at(30, 0)))).unwrap();
            let day = Some(at(2, 0));
            let fell = |found| fell_on(tx, id, at(2, 0).secs(), found, at(2, 4)).unwrap();
            assert!(!fell(9), "nothing was sent");
            attempted(tx, id, 1, 9, "accepted", at(2, 3), day);
            assert!(!fell(10), "it was accepted before");
            attempted(tx, id, 2, 5, "accepted", at(2, 5), day);
            assert!(fell(9) && !fell(5));
            assert_eq!(largest_possible_on(tx, id, at(2, 0).secs()).unwrap(), Some(9));
            assert_eq!(largest_possible_on(tx, id, at(3, 0).secs()).unwrap(), None);
            attempted(tx, id, 3, 9, "abandoned", at(2, 6), day);
            assert!(!fell(9) && fell(10), "the one that was given up may stand");
        });
    }
}
