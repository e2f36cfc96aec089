//! The schema's history. A fixed list: an entry that has shipped never changes, and none imports a type of the program.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// `usgd`, in the file's header, so that a foreign database is not taken for ours.
pub(super) const APPLICATION_ID: i64 = 0x7573_6764;

/// Schema N is reached by running entry N-1. Each entry is several files, one per room that owns tables.
const MIGRATIONS: &[&[&str]] = &[
    &[
        include_str!("schema/store.sql"),
        include_str!("schema/ledger.sql"),
        include_str!("schema/account.sql"),
        include_str!("schema/outbox.sql"),
    ],
    &[include_str!("schema/channels.sql")],
    &[include_str!("schema/periods.sql")],
    &[include_str!("schema/events.sql")],
    &[include_str!("schema/alerts.sql")],
];

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Looks before anything is set: even a pragma would change the file. Returns its schema.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known() { Err(StoreError::Newer { path: path.to_owned(), found, known: known() }) } else { Ok(found) }
}

pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = refuse_newer(&tx, path)?;
    let done = usize::try_from(found).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        for sql in *migration {
            tx.execute_batch(sql)?;
        }
    }
    if found < known() {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", known())?;
    }
    tx.commit()?;
    Ok(())
}
