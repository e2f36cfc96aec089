//! `Message`: what is to be told of an alert, on one way.

use rusqlite::{Connection, OptionalExtension, Row};

use super::AlertsError;
use super::book::{self, Alert};
use crate::model::{AlertState, AlertWay, MICROS_PER_HOUR, Timestamp};
use crate::store::Tx;

/// One row of `alert_message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Of which alert.
    pub alert: i64,
    /// What happened to it.
    pub state: AlertState,
    /// On which way.
    pub way: AlertWay,
    /// Since when it is owed.
    pub made: Timestamp,
    /// Failed attempts.
    pub attempts: u32,
    /// When it is tried next; `None` once it was told or given up.
    pub next: Option<Timestamp>,
    /// When it was told.
    pub told: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// Messages that do not get through on a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The way.
    pub way: AlertWay,
    /// How many of them wait.
    pub waiting: u32,
    /// How many were given up.
    pub given_up: u32,
    /// Why the last attempt failed.
    pub error: String,
}

const COLUMNS: &str = "alert, state, way, made_us, attempts, next_us, told_us, error";

pub(super) fn owe(
    tx: &Tx<'_>,
    alert: i64,
    state: AlertState,
    ways: &[AlertWay],
    now: Timestamp,
) -> Result<(), AlertsError> {
    for way in ways {
        tx.execute(
            "INSERT INTO alert_message (alert, state, way, made_us, next_us) VALUES (?1, ?2, ?3, ?4, ?4)",
            (alert, state.word(), way.word(), now.micros()),
        )?;
    }
    Ok(())
}

/// A message follows the one before it about the same alert on the same way: nobody hears of an end before its beginning.
const NOTHING_BEFORE: &str = "NOT EXISTS (SELECT 1 FROM alert_message earlier WHERE earlier.alert = alert_message.alert
    AND earlier.way = alert_message.way AND earlier.state = 'fired' AND alert_message.state = 'cleared'
    AND earlier.next_us IS NOT NULL)";

/// No message is put off for so long: one that seems to be was, before the clock was set back.
const FAR_US: i64 = 2 * MICROS_PER_HOUR;

/// The message that is due for the longest time, with its alert.
pub fn due(connection: &Connection, now: Timestamp) -> Result<Option<(Alert, Message)>, AlertsError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM alert_message WHERE (next_us <= ?1 OR next_us > ?2) AND {NOTHING_BEFORE} ORDER BY next_us, alert LIMIT 1"
    );
    let Some(raw) =
        connection.prepare_cached(&sql)?.query_row([now.micros(), now.plus(FAR_US).micros()], raw).optional()?
    else {
        return Ok(None);
    };
    let message = read(raw)?;
    Ok(book::by_id(connection, message.alert)?.map(|alert| (alert, message)))
}

/// When the next is due.
pub fn next_due(connection: &Connection) -> Result<Option<Timestamp>, AlertsError> {
    let sql = format!("SELECT min(next_us) FROM alert_message WHERE next_us IS NOT NULL AND {NOTHING_BEFORE}");
    let next: Option<i64> = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_micros))
}

/// Every message of an alert.
pub fn of_alert(connection: &Connection, alert: i64) -> Result<Vec<Message>, AlertsError> {
    let sql = format!("SELECT {COLUMNS} FROM alert_message WHERE alert = ?1 ORDER BY made_us, state DESC, way");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([alert], raw)?;
    rows.map(|row| read(row?)).collect()
}

/// It got through.
pub fn told(tx: &Tx<'_>, message: &Message, now: Timestamp) -> Result<(), AlertsError> {
    settle(tx, message, None, Some(now), None)
}

/// It did not, and is tried again.
pub fn put_off(tx: &Tx<'_>, message: &Message, error: &str, next: Timestamp) -> Result<(), AlertsError> {
    settle(tx, message, Some(next), None, Some(error))
}

/// It did not, and is not tried again.
pub fn give_up(tx: &Tx<'_>, message: &Message, error: &str) -> Result<(), AlertsError> {
    settle(tx, message, None, None, Some(error))
}

fn settle(
    tx: &Tx<'_>,
    message: &Message,
    next: Option<Timestamp>,
    told: Option<Timestamp>,
    error: Option<&str>,
) -> Result<(), AlertsError> {
    tx.execute(
        "UPDATE alert_message SET attempts = attempts + ?4, next_us = ?5, told_us = ?6, error = ?7
         WHERE alert = ?1 AND state = ?2 AND way = ?3",
        (
            message.alert,
            message.state.word(),
            message.way.word(),
            error.is_some(),
            next.map(Timestamp::micros),
            told.map(Timestamp::micros),
            error,
        ),
    )?;
    Ok(())
}

/// Ways on which at least so many attempts at one message failed, or one was given up since then.
pub fn failing(connection: &Connection, attempts: u32, since: Timestamp) -> Result<Vec<Failing>, AlertsError> {
    let sql = "SELECT way, count(next_us), count(*) - count(next_us), max(error) FROM alert_message
               WHERE told_us IS NULL AND (next_us IS NOT NULL AND attempts >= ?1 OR next_us IS NULL AND made_us >= ?2)
               GROUP BY way";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((attempts, since.micros()), |row| {
        let (way, waiting, given_up): (String, u32, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let error: Option<String> = row.get(3)?;
        Ok((way, waiting, given_up, error.unwrap_or_default()))
    })?;
    rows.map(|row| {
        let (way, waiting, given_up, error) = row?;
        Ok(Failing { way: way_of(way)?, waiting, given_up, error })
    })
    .collect()
}

type Raw = (Message, String, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let message = Message {
        alert: row.get(0)?,
        state: AlertState::Fired,
        way: AlertWay::Command,
        made: Timestamp::from_micros(row.get(3)?),
        attempts: row.get(4)?,
        next: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        told: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_micros),
        error: row.get(7)?,
    };
    Ok((message, row.get(1)?, row.get(2)?))
}

fn read((message, state, way): Raw) -> Result<Message, AlertsError> {
    Ok(Message { state: state_of(state)?, way: way_of(way)?, ..message })
}

fn state_of(word: String) -> Result<AlertState, AlertsError> {
    [AlertState::Fired, AlertState::Cleared]
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or(AlertsError::Word { what: "alert_message.state", value: word })
}

fn way_of(word: String) -> Result<AlertWay, AlertsError> {
    [AlertWay::Command, AlertWay::Url]
        .into_iter()
        .find(|way| way.word() == word)
        .ok_or(AlertsError::Word { what: "alert_message.way", value: word })
}
