//! Which event is still to be sent where, and when. At least once: what is not known to have arrived is sent again.
//! The same for every provider, on its own terms.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::errors::ApiError;

/// How long something is tried.
pub(super) struct Terms {
    /// The pause before the second try, seconds.
    pub(super) pause: i64,
    /// Each pause is so many times the one before.
    pub(super) factor: i64,
    /// No try is later than this after the first, seconds.
    pub(super) within: i64,
    /// So many tries at most.
    pub(super) tries: i64,
    /// Whether a status ends it.
    pub(super) is_taken: fn(u16) -> bool,
}

impl Terms {
    /// When it is tried again after so many tries; `None`: no more.
    fn next_try(&self, began: i64, attempts: i64, now: i64) -> Option<i64> {
        let before = u32::try_from(attempts.saturating_sub(1)).ok()?;
        let due = now.checked_add(self.pause.checked_mul(self.factor.checked_pow(before)?)?)?;
        (attempts < self.tries && due <= began.saturating_add(self.within)).then_some(due)
    }
}

/// What `held` says: not yet looked at by a tampering that puts deliveries off.
const FRESH: i64 = 0;
/// Waits until another one to the same endpoint was sent.
const HELD: i64 = 1;
/// Was put off, and is not again.
const RELEASED: i64 = 2;

/// One that is to be sent now.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    seq: i64,
    pub(super) event: String,
    endpoint: String,
    began: Option<i64>,
    attempts: i64,
    held: i64,
}

impl Delivery {
    /// Whether it may be put off: once, before its first try.
    pub(super) fn can_wait(&self) -> bool {
        self.attempts == 0 && self.held == FRESH
    }
}

/// An event is to be delivered to an endpoint.
pub(super) fn plan(books: &Connection, event: &str, endpoint: &str, due: i64) -> Result<(), ApiError> {
    let sql = "INSERT INTO deliveries (event, endpoint, due) VALUES (?1, ?2, ?3)";
    books.execute(sql, params![event, endpoint, due])?;
    Ok(())
}

/// The endpoints to which something is to be sent now.
pub(super) fn waiting(books: &Connection, now: i64) -> Result<Vec<String>, ApiError> {
    let sql = "SELECT DISTINCT endpoint FROM deliveries WHERE due <= ?1 AND held != ?2";
    let mut statement = books.prepare_cached(sql)?;
    let endpoints = statement.query_map([now, HELD], |row| row.get(0))?;
    Ok(endpoints.collect::<Result<_, _>>()?)
}

/// What is to be sent to an endpoint next.
pub(super) fn next(books: &Connection, endpoint: &str, now: i64) -> Result<Option<Delivery>, ApiError> {
    let sql = "SELECT seq, event, endpoint, began, attempts, held FROM deliveries
               WHERE endpoint = ?1 AND due <= ?2 AND held != ?3 ORDER BY due, seq LIMIT 1";
    let found = books.query_row(sql, params![endpoint, now, HELD], |row| {
        let (seq, event, endpoint) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Delivery { seq, event, endpoint, began: row.get(3)?, attempts: row.get(4)?, held: row.get(5)? })
    });
    Ok(found.optional()?)
}

/// It is sent later.
pub(super) fn put_off(books: &Connection, delivery: &Delivery, due: i64) -> Result<(), ApiError> {
    let sql = "UPDATE deliveries SET due = ?2, held = ?3 WHERE seq = ?1";
    books.execute(sql, [delivery.seq, due, RELEASED])?;
    Ok(())
}

/// It is sent after the one behind it.
pub(super) fn hold(books: &Connection, delivery: &Delivery) -> Result<(), ApiError> {
    books.execute("UPDATE deliveries SET held = ?2 WHERE seq = ?1", [delivery.seq, HELD])?;
    Ok(())
}

/// It is not sent any more, and never arrived.
pub(super) fn give_up(books: &Connection, delivery: &Delivery) -> Result<(), ApiError> {
    books.execute("UPDATE deliveries SET due = NULL WHERE seq = ?1", [delivery.seq])?;
    Ok(())
}

/// It was sent: where it was not taken it is tried again.
pub(super) fn settle(
    books: &Connection,
    sent: &Delivery,
    status: Option<u16>,
    terms: &Terms,
    now: i64,
) -> Result<(), ApiError> {
    let arrived = status.is_some_and(terms.is_taken);
    let (began, attempts) = (sent.began.unwrap_or(now), sent.attempts.saturating_add(1));
    let again = terms.next_try(began, attempts, now).filter(|_| !arrived);
    books.execute(
        "UPDATE deliveries SET began = ?2, attempts = ?3, status = ?4, due = ?5, delivered = ?6 WHERE seq = ?1",
        params![sent.seq, began, attempts, status, again, arrived.then_some(now)],
    )?;
    let sql = "UPDATE deliveries SET held = ?3 WHERE endpoint = ?1 AND held = ?4 AND seq < ?2";
    books.execute(sql, params![sent.endpoint, sent.seq, RELEASED, HELD])?;
    Ok(())
}

/// To how many endpoints an event has not been delivered.
pub(super) fn pending(books: &Connection, event: &str) -> Result<i64, ApiError> {
    let sql = "SELECT count(*) FROM deliveries WHERE event = ?1 AND delivered IS NULL";
    Ok(books.prepare_cached(sql)?.query_row([event], |row| row.get(0))?)
}

/// Nothing is delivered to an endpoint any more.
pub(super) fn forget(books: &Connection, endpoint: &str) -> Result<(), ApiError> {
    books.execute("DELETE FROM deliveries WHERE endpoint = ?1", [endpoint])?;
    Ok(())
}

/// When an endpoint took something last.
pub(super) fn last_taken(books: &Connection, endpoint: &str) -> Result<Option<i64>, ApiError> {
    let sql = "SELECT max(delivered) FROM deliveries WHERE endpoint = ?1";
    Ok(books.query_row(sql, [endpoint], |row| row.get(0))?)
}

/// All of them, oldest first, for `GET /_sandbox/deliveries`.
pub(super) fn all(books: &Connection) -> Result<Vec<Value>, ApiError> {
    let sql = "SELECT event, endpoint, due, attempts, status, delivered FROM deliveries ORDER BY seq";
    let mut statement = books.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(json!({
            "event": row.get::<_, String>(0)?,
            "endpoint": row.get::<_, String>(1)?,
            "due": row.get::<_, Option<i64>>(2)?,
            "attempts": row.get::<_, i64>(3)?,
            "status": row.get::<_, Option<u16>>(4)?,
            "delivered": row.get::<_, Option<i64>>(5)?,
        }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(terms: &Terms) -> Vec<i64> {
        let mut pauses = Vec::new();
        let (mut now, mut attempts) = (0, 1);
        while let Some(due) = terms.next_try(0, attempts, now) {
            pauses.push(due - now);
            (now, attempts) = (due, attempts + 1);
        }
        pauses
    }

    #[test]
    fn pauses_grow_and_end_with_the_time_or_the_tries() {
        let terms = Terms { pause: 10, factor: 3, within: 400, tries: 100, is_taken: |_| false };
        assert_eq!(pauses(&terms), [10, 30, 90, 270]);
        assert_eq!(terms.next_try(0, 1, 391), None, "a try that came very late is the last");
        assert_eq!(pauses(&Terms { tries: 3, ..terms }), [10, 30]);
    }
}
