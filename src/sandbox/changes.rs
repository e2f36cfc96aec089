//! What a transaction changes of the objects that events tell of: noted as it was before, and told at the end of a step.
//!
//! What was stored several times in one step is one change, but for invoices and payment intents: each of their states
//! is told of.

use rusqlite::{Connection, OptionalExtension, params};

use super::books::Record;
use super::errors::ApiError;
use super::invoices::Invoice;
use super::items::Item;
use super::payments::PaymentIntent;
use super::subscriptions::Subscription;

/// One object, before and after.
pub(super) struct Change {
    pub(super) kind: String,
    /// What to tell without comparing; then there is no before.
    pub(super) word: Option<String>,
    /// `None`: it is new.
    pub(super) before: Option<String>,
    pub(super) after: String,
}

/// A row of the table.
struct Noted {
    kind: String,
    id: String,
    word: Option<String>,
    before: Option<String>,
}

/// Notes how an object is before it is stored.
pub(super) fn note(books: &Connection, kind: &str, id: &str) -> Result<(), ApiError> {
    let is_stepwise = [Invoice::KIND, PaymentIntent::KIND].contains(&kind);
    let sql = "SELECT EXISTS (SELECT 1 FROM changes WHERE kind = ?1 AND id = ?2)";
    if !is_stepwise && books.query_row(sql, params![kind, id], |row| row.get(0))? {
        return Ok(());
    }
    insert(books, kind, id, None)
}

/// Notes something to tell of an object, as it is now, that does not show on it.
pub(super) fn tell(books: &Connection, kind: &str, id: &str, word: &str) -> Result<(), ApiError> {
    insert(books, kind, id, Some(word))
}

fn insert(books: &Connection, kind: &str, id: &str, word: Option<&str>) -> Result<(), ApiError> {
    let before = snapshot(books, kind, id)?;
    let sql = "INSERT INTO changes (kind, id, word, before) VALUES (?1, ?2, ?3, ?4)";
    books.execute(sql, params![kind, id, word, before])?;
    Ok(())
}

/// Everything noted, in order; nothing is noted any more.
pub(super) fn drain(books: &Connection) -> Result<Vec<Change>, ApiError> {
    let mut statement = books.prepare_cached("SELECT kind, id, word, before FROM changes ORDER BY seq")?;
    let noted = statement.query_map([], |row| {
        Ok(Noted { kind: row.get(0)?, id: row.get(1)?, word: row.get(2)?, before: row.get(3)? })
    })?;
    let mut noted = noted.collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut changes = Vec::new();
    while let Some(Noted { kind, id, word, before }) = noted.next() {
        let (before, after) = if word.is_some() {
            (None, before)
        } else {
            let next = noted.as_slice().iter().find(|next| next.kind == kind && next.id == id);
            let after = match next {
                Some(next) => next.before.clone(),
                None => snapshot(books, &kind, &id)?,
            };
            (before, after)
        };
        // Gone again, as what is on a test clock that was deleted.
        changes.extend(after.map(|after| Change { kind, word, before, after }));
    }
    if !changes.is_empty() {
        books.execute("DELETE FROM changes", [])?;
    }
    Ok(changes)
}

/// An object as the books keep it; a subscription as a pair with its items.
fn snapshot(books: &Connection, kind: &str, id: &str) -> Result<Option<String>, ApiError> {
    let sql = "SELECT body FROM objects WHERE id = ?1 AND kind = ?2";
    let body: Option<String> = books.prepare_cached(sql)?.query_row([id, kind], |row| row.get(0)).optional()?;
    if kind != Subscription::KIND {
        return Ok(body);
    }
    let Some(body) = body else { return Ok(None) };
    let mut statement = books.prepare_cached("SELECT body FROM objects WHERE kind = ?1 AND owner = ?2 ORDER BY seq")?;
    let items = statement.query_map([Item::KIND, id], |row| row.get(0))?;
    let items: Vec<String> = items.collect::<Result<_, _>>()?;
    Ok(Some(format!("[{body},[{}]]", items.join(","))))
}
