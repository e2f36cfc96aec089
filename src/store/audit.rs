//! The append-only record of what changed something at the provider, or in the account data. Each row's hash covers the row
//! before it, so that a row that was changed or taken out later shows.

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::{StoreError, Tx};
use crate::model::Timestamp;

/// SHA-256; of a row that somebody changed, whatever it holds in its place.
pub type Hash = Vec<u8>;

/// What the first row follows.
const NOTHING: [u8; 32] = [0; 32];

/// So many breaks are named; where there are more, nothing is left to be trusted.
const NAMED: usize = 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Numbered through.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// `usaged`, or `uid:N`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// What it happened to.
    pub subject: String,
    /// JSON, as it was stored.
    pub detail: String,
    /// Of the row before it and of this one.
    pub hash: Hash,
}

impl Entry {
    /// Of a row that follows this one. Each field with its length, so that none can lend to its neighbour.
    fn hash_after(&self, before: &[u8]) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(before);
        context.update(&self.id.to_le_bytes());
        context.update(&self.at.micros().to_le_bytes());
        for field in [&self.actor, &self.action, &self.subject, &self.detail] {
            context.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_le_bytes());
            context.update(field.as_bytes());
        }
        context.finish().as_ref().to_vec()
    }
}

/// Where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// These rows are not there.
    Missing {
        /// The first.
        from: i64,
        /// The last.
        to: i64,
    },
    /// This row is not what was written, or does not follow the one before it.
    Changed {
        /// Which.
        id: i64,
    },
}

/// What the whole of it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Rows.
    pub entries: u64,
    /// Number and hash of the last one.
    pub head: Option<(i64, Hash)>,
    /// Where it does not hold, the first of them.
    pub breaks: Vec<Break>,
}

/// Appends one line. `actor` is `usaged` or `uid:N`; `subject` what it happened to.
pub fn append(
    tx: &Tx<'_>,
    now: Timestamp,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &Value,
) -> Result<(), StoreError> {
    let (last, before) = last(tx)?;
    let mut entry = Entry {
        id: last.saturating_add(1),
        at: now,
        actor: actor.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_string(),
        hash: Hash::new(),
    };
    entry.hash = entry.hash_after(&before);
    let sql = "INSERT INTO audit (id, at_us, actor, action, subject, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    tx.prepare_cached(sql)?.execute((
        entry.id,
        entry.at.micros(),
        entry.actor,
        entry.action,
        entry.subject,
        entry.detail,
        entry.hash,
    ))?;
    Ok(())
}

/// The highest number there ever was, and the hash of the last row that is there.
fn last(connection: &Connection) -> Result<(i64, Hash), StoreError> {
    let sql = "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let last: Option<(i64, Hash)> = connection.prepare_cached(sql)?.query_row([], read).optional()?;
    let (id, hash) = last.unwrap_or((0, NOTHING.to_vec()));
    Ok((id.max(ever(connection)?), hash))
}

fn ever(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'audit'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The last lines since a moment, oldest first.
pub fn since(connection: &Connection, since: Timestamp, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let sql =
        "SELECT id, at_us, actor, action, subject, detail, hash FROM audit WHERE at_us >= ?1 ORDER BY id DESC LIMIT ?2";
    let mut entries: Vec<Entry> =
        connection.prepare_cached(sql)?.query_map((since.micros(), limit), entry)?.collect::<Result<_, _>>()?;
    entries.reverse();
    Ok(entries)
}

/// Looks at every row.
pub fn verify(connection: &Connection) -> Result<Chain, StoreError> {
    let mut chain = Chain { entries: 0, head: None, breaks: Vec::new() };
    let (mut last, mut before) = (0_i64, NOTHING.to_vec());
    let mut rows =
        connection.prepare("SELECT id, at_us, actor, action, subject, detail, hash FROM audit ORDER BY id")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        let next = last.saturating_add(1);
        if entry.id > next {
            chain.note(Break::Missing { from: next, to: entry.id.saturating_sub(1) });
        } else if entry.id < next || entry.hash != entry.hash_after(&before) {
            chain.note(Break::Changed { id: entry.id });
        }
        chain.entries = chain.entries.saturating_add(1);
        chain.head = Some((entry.id, entry.hash.clone()));
        (last, before) = (entry.id, entry.hash);
    }
    let ever = ever(connection)?;
    if ever > last {
        chain.note(Break::Missing { from: last.saturating_add(1), to: ever });
    }
    Ok(chain)
}

impl Chain {
    fn note(&mut self, found: Break) {
        if self.breaks.len() < NAMED {
            self.breaks.push(found);
        }
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        at: Timestamp::from_micros(row.get(1)?),
        actor: row.get(2)?,
        action: row.get(3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
        hash: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::TransactionBehavior;
    use serde_json::json;

    use super::super::anew::empty;
    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// Five lines, a second apart.
    fn five() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = empty(&dir.path().join("usage.db")).unwrap();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        for n in 0..5 {
            let at = AT.plus(n * 1_000_000);
            append(&Tx::of(&tx), at, "usaged", "push.sent", "si_1", &json!({ "quantity": n })).unwrap();
        }
        tx.commit().unwrap();
        (dir, connection)
    }

    /// As somebody does who has the file and no respect.
    fn tampered(sql: &str) -> Vec<Break> {
        let (_dir, connection) = five();
        let drop_triggers = "DROP TRIGGER audit_is_append_only_update; DROP TRIGGER audit_is_append_only_delete;";
        connection.execute_batch(&format!("{drop_triggers} {sql}")).unwrap();
        verify(&connection).unwrap().breaks
    }

    #[test]
    fn a_chain_that_nobody_touched_holds_and_says_where_it_ends() {
        let (_dir, connection) = five();
        let chain = verify(&connection).unwrap();
        assert_eq!((chain.entries, chain.breaks), (5, Vec::new()));
        let last = since(&connection, AT, 1).unwrap().remove(0);
        assert_eq!(chain.head, Some((last.id, last.hash)));
        assert_eq!(last.detail, r#"{"quantity":4}"#);
    }

    #[test]
    fn a_row_that_was_changed_is_found_by_whatever_was_changed() {
        for column in ["actor = 'uid:0'", "action = 'x'", "subject = 'si_2'", "detail = '{}'", "at_us = at_us + 1"] {
            assert_eq!(tampered(&format!("UPDATE audit SET {column} WHERE id = 3")), [Break::Changed { id: 3 }]);
        }
    }

    #[test]
    fn a_hash_that_was_put_right_breaks_the_next_row() {
        let sql = "UPDATE audit SET hash = zeroblob(32) WHERE id = 3";
        assert_eq!(tampered(sql), [Break::Changed { id: 3 }, Break::Changed { id: 4 }]);
    }

    #[test]
    fn rows_that_are_gone_are_missed_wherever_they_were() {
        let gone = |which: &str| tampered(&format!("DELETE FROM audit WHERE id IN ({which})"));
        assert_eq!(gone("1"), [Break::Missing { from: 1, to: 1 }]);
        assert_eq!(gone("2, 3"), [Break::Missing { from: 2, to: 3 }]);
        assert_eq!(gone("5"), [Break::Missing { from: 5, to: 5 }]);
    }

    #[test]
    fn what_no_row_ever_held_is_named_and_written_on_after() {
        for (sql, broken) in [
            ("UPDATE audit SET hash = x'00' WHERE id = 5", Break::Changed { id: 5 }),
            ("UPDATE audit SET id = -9223372036854775808 WHERE id = 1", Break::Changed { id: i64::MIN }),
            ("UPDATE audit SET id = 9223372036854775807 WHERE id = 5", Break::Missing { from: 5, to: i64::MAX - 1 }),
        ] {
            assert_eq!(tampered(sql)[0], broken, "{sql}");
        }
        let (_dir, mut connection) = five();
        let sql = "DROP TRIGGER audit_is_append_only_update; UPDATE audit SET hash = x'' WHERE id = 5";
        connection.execute_batch(sql).unwrap();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        append(&Tx::of(&tx), AT, "usaged", "link", "sub_1", &json!({})).unwrap();
        tx.commit().unwrap();
        assert_eq!(verify(&connection).unwrap().breaks, [Break::Changed { id: 5 }]);
    }

    #[test]
    fn two_fields_cannot_lend_to_each_other() {
        assert_eq!(
            tampered("UPDATE audit SET actor = 'usagedp', action = 'ush.sent' WHERE id = 2"),
            [Break::Changed { id: 2 }]
        );
    }

    #[test]
    fn what_follows_rows_that_are_gone_is_numbered_on() {
        let (_dir, mut connection) = five();
        connection.execute_batch("DROP TRIGGER audit_is_append_only_delete; DELETE FROM audit WHERE id > 3").unwrap();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        append(&Tx::of(&tx), AT, "usaged", "link", "sub_1", &json!({})).unwrap();
        tx.commit().unwrap();
        let chain = verify(&connection).unwrap();
        assert_eq!(chain.breaks, [Break::Missing { from: 4, to: 5 }]);
        assert_eq!(chain.head.unwrap().0, 6);
    }

    #[test]
    fn only_the_last_lines_since_a_moment_are_told() {
        let (_dir, connection) = five();
        let ids = |from: Timestamp, limit| -> Vec<i64> {
            since(&connection, from, limit).unwrap().into_iter().map(|entry| entry.id).collect()
        };
        assert_eq!(ids(AT.plus(2_000_000), 10), [3, 4, 5]);
        assert_eq!(ids(AT, 2), [4, 5]);
    }
}
