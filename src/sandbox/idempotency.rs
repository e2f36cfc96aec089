//! `Idempotency-Key`: the first answer is kept, in the same transaction as what it did, and given again.

use rusqlite::{Connection, OptionalExtension, params};

use super::errors::ApiError;

/// Keys are forgotten after this many seconds of the sandbox's time.
const KEPT: i64 = 24 * 3_600;
/// The longest key, in characters.
const LONGEST: usize = 255;

/// An answer that was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) status: u16,
    pub(super) body: String,
    /// The id of the request that was answered so first.
    pub(super) request: String,
    /// As [`ApiError::is_final`].
    pub(super) is_final: bool,
}

/// Checks a key's own form.
pub(super) fn check(key: &str) -> Result<(), ApiError> {
    if key.chars().count() <= LONGEST {
        return Ok(());
    }
    Err(ApiError::malformed(format!("Idempotency keys can be at most {LONGEST} characters long.")))
}

/// The answer kept under a key, if it is of the same request.
pub(super) fn look(
    books: &Connection,
    key: &str,
    path: &str,
    fingerprint: &str,
    now: i64,
) -> Result<Option<Stored>, ApiError> {
    books.execute("DELETE FROM idempotency WHERE at <= ?1", [now.saturating_sub(KEPT)])?;
    let sql = "SELECT path, fingerprint, status, body, request, is_final FROM idempotency WHERE key = ?1";
    let found = books.query_row(sql, [key], |row| {
        let (status, body, request, is_final) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
        let stored = Stored { status, body, request, is_final };
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, stored))
    });
    let Some((first_path, first_fingerprint, stored)) = found.optional()? else { return Ok(None) };
    let used = format!("Try using a key other than '{key}' if you meant to execute a different request.");
    if first_path != path {
        return Err(ApiError::idempotency(format!(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for \
             ('{first_path}' and not '{path}'). {used}"
        )));
    }
    if first_fingerprint != fingerprint {
        return Err(ApiError::idempotency(format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. {used}"
        )));
    }
    Ok(Some(stored))
}

/// Keeps an answer.
pub(super) fn keep(
    books: &Connection,
    key: &str,
    path: &str,
    fingerprint: &str,
    stored: &Stored,
    now: i64,
) -> Result<(), ApiError> {
    books.execute(
        "INSERT INTO idempotency (key, path, fingerprint, status, body, request, is_final, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![key, path, fingerprint, stored.status, stored.body, stored.request, stored.is_final, now],
    )?;
    Ok(())
}
