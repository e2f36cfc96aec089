//! `Alert`: a state that needs someone, from when it begins until it is over.

use rusqlite::{Connection, Row};

use super::{AlertsError, message};
use crate::model::{AlertState, AlertWay, Problem, Severity, Span, Timestamp};
use crate::store::Tx;

/// One row of `alert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Row id.
    pub id: i64,
    /// By what it is known outside.
    pub name: String,
    /// What needs someone, as it was when this fired.
    pub problem: Problem,
    /// The provider's period in which it fired, where one was known.
    pub period: Option<Span>,
    /// Whether it ends with that period, and not with its cause.
    pub once_a_period: bool,
    /// When it began.
    pub fired: Timestamp,
    /// When it was over.
    pub cleared: Option<Timestamp>,
}

/// An alert that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlert {
    /// By what it is to be known: never given twice.
    pub name: String,
    /// What needs someone.
    pub problem: Problem,
    /// The provider's period, where one is known.
    pub period: Option<Span>,
    /// Whether it ends with that period.
    pub once_a_period: bool,
}

/// Begins it, and owes a message on each way.
pub fn fire(tx: &Tx<'_>, new: &NewAlert, ways: &[AlertWay], now: Timestamp) -> Result<(), AlertsError> {
    let problem = &new.problem;
    let (from_s, to_s) = new.period.map(|period| (period.from.secs(), period.to.secs())).unzip();
    tx.execute(
        "INSERT INTO alert (name, code, about, severity, what, hint, period_from_s, period_to_s, once_a_period, fired_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            &new.name,
            &problem.code,
            problem.subject(),
            problem.severity.word(),
            &problem.what,
            &problem.hint,
            from_s,
            to_s,
            new.once_a_period,
            now.micros(),
        ),
    )?;
    message::owe(tx, tx.last_insert_rowid(), AlertState::Fired, ways, now)
}

/// Ends it, and owes a message on each way.
pub fn clear(tx: &Tx<'_>, alert: i64, ways: &[AlertWay], now: Timestamp) -> Result<(), AlertsError> {
    let ended =
        tx.execute("UPDATE alert SET cleared_us = ?2 WHERE id = ?1 AND cleared_us IS NULL", (alert, now.micros()))?;
    if ended == 0 {
        return Ok(());
    }
    message::owe(tx, alert, AlertState::Cleared, ways, now)
}

/// Those that are not over, oldest first.
pub fn standing(connection: &Connection) -> Result<Vec<Alert>, AlertsError> {
    select(connection, "WHERE cleared_us IS NULL AND ?1 = 0 ORDER BY id", 0)
}

/// The newest, newest first.
pub fn recent(connection: &Connection, most: u32) -> Result<Vec<Alert>, AlertsError> {
    select(connection, "ORDER BY id DESC LIMIT ?1", i64::from(most))
}

/// Whether this one stands.
pub fn is_standing(connection: &Connection, code: &str, about: &str) -> Result<bool, AlertsError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM alert WHERE code = ?1 AND about = ?2 AND cleared_us IS NULL)";
    Ok(connection.prepare_cached(sql)?.query_row((code, about), |row| row.get(0))?)
}

/// Forgets those that were over before then, and what was told of them.
pub fn forget(tx: &Tx<'_>, before: Timestamp) -> Result<(), AlertsError> {
    let old = "SELECT id FROM alert WHERE cleared_us < ?1
               AND NOT EXISTS (SELECT 1 FROM alert_message WHERE alert = alert.id AND next_us IS NOT NULL)";
    tx.execute(&format!("DELETE FROM alert_message WHERE alert IN ({old})"), [before.micros()])?;
    tx.execute(
        "DELETE FROM alert WHERE cleared_us < ?1 AND NOT EXISTS (SELECT 1 FROM alert_message WHERE alert = alert.id)",
        [before.micros()],
    )?;
    Ok(())
}

pub(super) fn by_id(connection: &Connection, id: i64) -> Result<Option<Alert>, AlertsError> {
    Ok(select(connection, "WHERE id = ?1", id)?.pop())
}

fn select(connection: &Connection, rest: &str, bound: i64) -> Result<Vec<Alert>, AlertsError> {
    let sql = format!(
        "SELECT id, name, code, about, severity, what, hint, period_from_s, period_to_s, once_a_period, fired_us,
                cleared_us FROM alert {rest}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([bound], raw)?;
    rows.map(|row| {
        let (mut alert, severity) = row?;
        alert.problem.severity = severity_of(severity)?;
        Ok(alert)
    })
    .collect()
}

fn raw(row: &Row<'_>) -> rusqlite::Result<(Alert, String)> {
    let about: String = row.get(3)?;
    let (code, what, hint): (String, String, String) = (row.get(2)?, row.get(5)?, row.get(6)?);
    let from_s: Option<i64> = row.get(7)?;
    let to_s: Option<i64> = row.get(8)?;
    let problem = Problem::note(&code, what, hint);
    let alert = Alert {
        id: row.get(0)?,
        name: row.get(1)?,
        problem: if about.is_empty() { problem } else { problem.about(about) },
        period: from_s.zip(to_s).map(|(from, to)| Span::new(Timestamp::from_secs(from), Timestamp::from_secs(to))),
        once_a_period: row.get(9)?,
        fired: Timestamp::from_micros(row.get(10)?),
        cleared: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_micros),
    };
    Ok((alert, row.get(4)?))
}

fn severity_of(word: String) -> Result<Severity, AlertsError> {
    [Severity::Note, Severity::Problem]
        .into_iter()
        .find(|severity| severity.word() == word)
        .ok_or(AlertsError::Word { what: "alert.severity", value: word })
}
