//! The sandbox's own SQLite file. Every answer is given after its effects are on disk.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::changes;
use super::errors::{ApiError, SandboxError};

/// `usgs`, in the file's header.
const APPLICATION_ID: i64 = 0x7573_6773;
const SCHEMA: i64 = 4;

const TABLES: &str = "
CREATE TABLE objects (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    id    TEXT NOT NULL UNIQUE,
    kind  TEXT NOT NULL,
    owner TEXT,              -- what lists of it are filtered by: a customer, a subscription
    due   INTEGER,           -- unix seconds at which time alone changes it
    clock TEXT,              -- the test clock whose time it lives in; NULL: the sandbox's
    body  TEXT NOT NULL
);
CREATE INDEX objects_kind ON objects (kind, owner);
CREATE INDEX objects_due ON objects (clock, due) WHERE due IS NOT NULL;
CREATE TABLE usage_records (
    item      TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    quantity  INTEGER NOT NULL,
    PRIMARY KEY (item, timestamp)
) WITHOUT ROWID;
CREATE TABLE item_periods (  -- ended periods of metered items, as they were billed
    item    TEXT NOT NULL,
    start   INTEGER NOT NULL,
    end     INTEGER NOT NULL,
    total   INTEGER NOT NULL,
    invoice TEXT,
    PRIMARY KEY (item, start)
) WITHOUT ROWID;
CREATE TABLE meter_events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of arrival
    identifier TEXT NOT NULL,
    meter      TEXT NOT NULL,
    customer   TEXT NOT NULL,    -- as the payload names it, known or not
    value      TEXT NOT NULL,    -- a decimal
    timestamp  INTEGER NOT NULL,
    created    INTEGER NOT NULL, -- when it arrived
    cancelled  INTEGER           -- when an adjustment cancelled it
);
CREATE INDEX meter_events_counted ON meter_events (meter, customer, timestamp);
CREATE INDEX meter_events_identifier ON meter_events (identifier, created);
CREATE TABLE idempotency (
    key         TEXT PRIMARY KEY,
    path        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    request     TEXT NOT NULL,
    is_final    INTEGER NOT NULL, -- whether it says that the same again changes nothing
    at          INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE changes (       -- objects as they were before they were stored, until events tell of it
    seq    INTEGER PRIMARY KEY,
    kind   TEXT NOT NULL,
    id     TEXT NOT NULL,
    word   TEXT,             -- what to tell without comparing
    before TEXT              -- NULL: it was not there
);
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    type    TEXT NOT NULL,
    created INTEGER NOT NULL, -- in the time of what it is about
    made    INTEGER NOT NULL, -- in the sandbox's own time
    head    TEXT NOT NULL,    -- what it shows of itself
    data    TEXT NOT NULL     -- what it tells, by API version
);
CREATE INDEX events_made ON events (made);
CREATE TABLE deliveries (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    event     TEXT NOT NULL,
    endpoint  TEXT NOT NULL,
    due       INTEGER,          -- when it is sent next; NULL: it arrived, or was given up
    held      INTEGER NOT NULL DEFAULT 0, -- as deliveries.rs says
    began     INTEGER,          -- when it was sent first
    attempts  INTEGER NOT NULL DEFAULT 0,
    status    INTEGER,          -- what the endpoint answered last
    delivered INTEGER           -- when it arrived
);
CREATE INDEX deliveries_due ON deliveries (endpoint, due) WHERE due IS NOT NULL;
CREATE INDEX deliveries_event ON deliveries (event);
CREATE TABLE keys (key TEXT PRIMARY KEY, permissions TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// Something the books keep.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// As `subscription_item`.
    const KIND: &'static str;
    /// As Stripe says it in `No such …`.
    const NOUN: &'static str;
    /// Its id.
    fn id(&self) -> &str;
    /// What lists of it are filtered by. Stored before it: an object lives on the test clock of its owner.
    fn owner(&self) -> Option<&str> {
        None
    }
    /// The test clock it was put on; the owner's where it names none.
    fn clock(&self) -> Option<&str> {
        None
    }
    /// Unix seconds at which time alone changes it.
    fn due(&self) -> Option<i64> {
        None
    }
    /// The object whose change is told by an event where this is stored, as kind and id.
    fn told(&self) -> Option<(&'static str, &str)> {
        None
    }
}

/// Opens or creates the file.
pub(super) fn open(path: &Path) -> Result<Connection, SandboxError> {
    let cannot = |source| SandboxError::Open { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(cannot)?;
    prepare(&mut connection, path).map_err(|error| match error {
        SandboxError::Books(source) => cannot(source),
        other => other,
    })?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), SandboxError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    let number = |connection: &Connection, sql| connection.query_row::<i64, _, _>(sql, [], |row| row.get(0));
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema")?;
    let id = number(connection, "PRAGMA application_id")?;
    let version = number(connection, "PRAGMA user_version")?;
    if tables != 0 && (id, version) != (APPLICATION_ID, SCHEMA) {
        return Err(SandboxError::Foreign { path: path.to_owned() });
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if tables == 0 {
        let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute_batch(TABLES)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", SCHEMA)?;
        tx.commit()?;
    }
    Ok(())
}

/// A new id, as `cus_` and 24 letters and digits.
pub(super) fn new_id(prefix: &str) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(24).fold(prefix.to_owned(), |mut id, letter| {
        id.push(letter);
        id
    })
}

/// Stores an object, new or changed.
pub(super) fn put<R: Record>(books: &Connection, record: &R) -> Result<(), ApiError> {
    if let Some((kind, id)) = record.told() {
        changes::note(books, kind, id)?;
    }
    let body = serde_json::to_string(record)?;
    books.execute(
        "INSERT INTO objects (id, kind, owner, due, body, clock)
         VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, (SELECT clock FROM objects WHERE id = ?3)))
         ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, due = excluded.due, body = excluded.body",
        params![record.id(), R::KIND, record.owner(), record.due(), body, record.clock()],
    )?;
    Ok(())
}

/// Takes an object out.
pub(super) fn remove<R: Record>(books: &Connection, record: &R) -> Result<(), ApiError> {
    books.execute("DELETE FROM objects WHERE id = ?1 AND kind = ?2", params![record.id(), R::KIND])?;
    Ok(())
}

/// The object of this id, if there is one of this kind.
pub(super) fn find<R: Record>(books: &Connection, id: &str) -> Result<Option<R>, ApiError> {
    let sql = "SELECT body FROM objects WHERE id = ?1 AND kind = ?2";
    let body: Option<String> = books.query_row(sql, params![id, R::KIND], |row| row.get(0)).optional()?;
    Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
}

/// The object that the path names.
pub(super) fn get<R: Record>(books: &Connection, id: &str) -> Result<R, ApiError> {
    find(books, id)?.ok_or_else(|| ApiError::no_such(R::NOUN, id))
}

/// The object that a parameter names.
pub(super) fn get_at<R: Record>(books: &Connection, param: &str, id: &str) -> Result<R, ApiError> {
    find(books, id)?.ok_or_else(|| ApiError::no_such_at(param, R::NOUN, id))
}

/// All of a kind, oldest first; of one owner where named.
pub(super) fn all<R: Record>(books: &Connection, owner: Option<&str>) -> Result<Vec<R>, ApiError> {
    let sql = "SELECT body FROM objects WHERE kind = ?1 AND (?2 IS NULL OR owner = ?2) ORDER BY seq";
    let mut statement = books.prepare(sql)?;
    let bodies = statement.query_map(params![R::KIND, owner], |row| row.get::<_, String>(0))?;
    bodies.map(|body| Ok(serde_json::from_str(&body?)?)).collect()
}

/// The first thing that time alone changes by now, on this test clock or on none: its kind, its id and the moment.
pub(super) fn first_due(
    books: &Connection,
    clock: Option<&str>,
    now: i64,
) -> Result<Option<(String, String, i64)>, ApiError> {
    let sql = "SELECT kind, id, due FROM objects WHERE clock IS ?1 AND due <= ?2 ORDER BY due, seq LIMIT 1";
    Ok(books.query_row(sql, params![clock, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?)
}

/// Whether there is one of a kind.
pub(super) fn is_any<R: Record>(books: &Connection) -> Result<bool, ApiError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM objects WHERE kind = ?1)";
    Ok(books.query_row(sql, [R::KIND], |row| row.get(0))?)
}

/// The test clock that an object lives on.
pub(super) fn clock_of(books: &Connection, id: &str) -> Result<Option<String>, ApiError> {
    let sql = "SELECT clock FROM objects WHERE id = ?1";
    Ok(books.query_row(sql, [id], |row| row.get(0)).optional()?.flatten())
}

/// A remembered value.
pub(super) fn recall<T: DeserializeOwned>(books: &Connection, name: &str) -> Result<Option<T>, ApiError> {
    let value: Option<String> =
        books.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?;
    Ok(value.map(|value| serde_json::from_str(&value)).transpose()?)
}

/// Remembers a value.
pub(super) fn remember<T: Serialize>(books: &Connection, name: &str, value: &T) -> Result<(), ApiError> {
    let value = serde_json::to_string(value)?;
    books.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

#[cfg(test)]
pub(super) fn in_memory() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(TABLES).unwrap();
    connection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(open(&path).unwrap_err(), SandboxError::Foreign { .. }));
    }

    #[test]
    fn every_commit_is_synced_to_disk() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(&dir.path().join("sandbox.db")).unwrap();
        let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!((synchronous, journal.as_str()), (2, "wal"));
    }
}
