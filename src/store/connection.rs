//! Opening, with every pragma read back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, migrations};

/// Pages kept in memory by each connection, in KiB (negative is SQLite's way of saying KiB).
const CACHE_KIB: &str = "-256";

pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, e))?;
    refuse_foreign(&connection, path)?;
    migrations::refuse_newer(&connection, path)?;
    set(&connection, "journal_mode", "wal").map_err(|e| with_path(path, e))?;
    set(&connection, "synchronous", "2")?;
    set(&connection, "foreign_keys", "1")?;
    set(&connection, "cache_size", CACHE_KIB)?;
    set(&connection, "wal_autocheckpoint", "1000")?;
    settle(&connection)?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, e))?;
    set(&connection, "query_only", "1")?;
    set(&connection, "cache_size", CACHE_KIB)?;
    settle(&connection)?;
    Ok(connection)
}

/// Plans do not depend on what is bound to them. Without that SQLite prepares a statement anew each time a value that its
/// plan could depend on is bound: half of the time of an intake went there.
fn settle(connection: &Connection) -> Result<(), StoreError> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(())
}

/// A database that has tables but not our mark was made by somebody else; switching its journal mode would already
/// change it.
fn refuse_foreign(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let id: i64 =
        connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(|e| cannot_open(path, e))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| cannot_open(path, e))?;
    if id != migrations::APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    Ok(())
}

fn set(connection: &Connection, pragma: &'static str, wanted: &'static str) -> Result<(), StoreError> {
    connection.pragma_update(None, pragma, wanted)?;
    let found: String = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => other.as_str().unwrap_or_default().to_owned(),
        })
    })?;
    if found == wanted { Ok(()) } else { Err(StoreError::Pragma { pragma, found, wanted }) }
}

fn with_path(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Sqlite(source) => StoreError::Open { path: path.to_owned(), hint: hint(), source },
        other => other,
    }
}

fn cannot_open(path: &Path, error: rusqlite::Error) -> StoreError {
    match StoreError::from(error) {
        StoreError::Sqlite(source) => {
            StoreError::Open { path: path.to_owned(), hint: hint(), source: Arc::new(source) }
        }
        other => other,
    }
}

fn hint() -> String {
    "see that the state directory exists and is writable for this user, and that the file is a healthy usage.db"
        .to_owned()
}
