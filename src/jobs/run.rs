//! When each job last ran, why, and what came of it.

use rusqlite::{Connection, OptionalExtension, Row};

use super::JobError;
use crate::model::Timestamp;
use crate::store::Tx;

/// One row of `job_run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    /// Its name.
    pub job: String,
    /// Last start.
    pub started: Timestamp,
    /// Why it ran.
    pub because: String,
    /// What came of it; `None` while it runs, or where it was cut short.
    pub result: Option<String>,
}

pub(super) fn begin(tx: &Tx<'_>, job: &str, because: &str, now: Timestamp) -> Result<(), JobError> {
    tx.prepare_cached(
        "INSERT INTO job_run (job, started_us, because) VALUES (?1, ?2, ?3)
         ON CONFLICT (job) DO UPDATE SET started_us = excluded.started_us, finished_us = NULL, because = excluded.because,
             result = NULL",
    )?
    .execute((job, now.micros(), because))?;
    Ok(())
}

pub(super) fn finish(tx: &Tx<'_>, job: &str, result: &str, now: Timestamp) -> Result<(), JobError> {
    tx.prepare_cached("UPDATE job_run SET finished_us = ?2, result = ?3 WHERE job = ?1")?.execute((
        job,
        now.micros(),
        result,
    ))?;
    Ok(())
}

/// The last run of a job.
pub fn last_run(connection: &Connection, job: &str) -> Result<Option<JobRun>, JobError> {
    let sql = "SELECT job, started_us, because, result FROM job_run WHERE job = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([job], raw).optional()?)
}

/// The last run of every job.
pub fn runs(connection: &Connection) -> Result<Vec<JobRun>, JobError> {
    let mut statement =
        connection.prepare_cached("SELECT job, started_us, because, result FROM job_run ORDER BY job")?;
    let rows = statement.query_map([], raw)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn raw(row: &Row<'_>) -> rusqlite::Result<JobRun> {
    Ok(JobRun {
        job: row.get(0)?,
        started: Timestamp::from_micros(row.get(1)?),
        because: row.get(2)?,
        result: row.get(3)?,
    })
}
