//! Requests whose connection was cut before the work, and that are carried out late all the same.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::super::books::{self, Record};
use super::errors::ApiError;
use super::{behaviour, new_id, usage_records};

/// A request for a usage record that is still on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Straggler {
    id: String,
    arrives: Option<i64>,
    body: String,
}

impl Record for Straggler {
    const KIND: &'static str = "stragglers";
    const NOUN: &'static str = "straggler";
    fn id(&self) -> &str {
        &self.id
    }
    fn due(&self) -> Option<i64> {
        self.arrives
    }
}

/// Keeps a request until it arrives.
pub(super) fn keep(books: &Connection, body: &[u8], arrives: i64) -> Result<(), ApiError> {
    let body = String::from_utf8_lossy(body).into_owned();
    Ok(books::put(books, &Straggler { id: new_id(books)?, arrives: Some(arrives), body })?)
}

/// Carries it out. Nobody hears of it where it is refused.
pub(super) fn arrive(books: &Connection, mut straggler: Straggler, now: i64) -> Result<(), ApiError> {
    let behaviour = behaviour::of(books)?;
    match usage_records::store(books, straggler.body.as_bytes(), behaviour, now) {
        Err(error) if error.status >= 500 => return Err(error),
        _ => {}
    }
    straggler.arrives = None;
    Ok(books::put(books, &straggler)?)
}
