//! Whether the file is what was written to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{StoreError, damage, log, migrations};

/// So many findings are listed; a torn file has thousands.
const LISTED: u32 = 10;

/// How closely it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every page and row: about a second for a gigabyte on a quick disk.
    Quick,
    /// Also whether every index has what its table has: several times as long.
    Full,
}

impl Depth {
    const fn pragma(self) -> &'static str {
        match self {
            Self::Quick => "quick_check",
            Self::Full => "integrity_check",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// Nothing is wrong with it, as far as can be told without checksums.
    Sound,
    /// What is wrong, a line for each.
    Damaged(Vec<String>),
    /// It took too long.
    Unfinished,
}

/// Looks at the whole file beside whoever has it open; neither waits for the other. A file that is not there is sound, one
/// of another program or a later version is left to whoever opens it.
///
/// # Errors
/// It cannot be looked at, which says nothing of it.
pub fn check(path: &Path, depth: Depth, patience: Duration) -> Result<Soundness, StoreError> {
    if !path.exists() {
        return Ok(Soundness::Sound);
    }
    if path.metadata().is_ok_and(|found| found.len() == 0) {
        return Ok(damaged("it is empty"));
    }
    let judged = Judged::of(path).and_then(|judged| match judged {
        Judged::Ours(connection) => Ok(said(&connection, depth, patience)?),
        Judged::NotOurs => Ok(Soundness::Sound),
        Judged::Torn(what) => Ok(damaged(&what)),
    });
    match judged {
        Err(StoreError::Damaged { what }) => {
            drop(damage::met());
            Ok(damaged(&what))
        }
        other => other,
    }
}

/// What its log lost, before anybody opens the file: whoever does begins the log anew.
///
/// # Errors
/// It cannot be read.
pub fn check_log(path: &Path) -> Result<Option<String>, StoreError> {
    let wal = beside(path, "-wal");
    log::lost(&wal).map_err(|source| StoreError::Directory { path: wal, source: Arc::new(source) })
}

/// The file's companion.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn damaged(what: &str) -> Soundness {
    Soundness::Damaged(vec![what.to_owned()])
}

enum Judged {
    Ours(Connection),
    NotOurs,
    Torn(String),
}

impl Judged {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let connection = open_untouched(path)?;
        let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        if id == migrations::APPLICATION_ID {
            let newer = matches!(migrations::refuse_newer(&connection, path), Err(StoreError::Newer { .. }));
            return Ok(if newer { Self::NotOurs } else { Self::Ours(connection) });
        }
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('usage_record', 'generation')";
        let ours: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        Ok(if ours == 2 { Self::Torn("its header is not the one it was made with".to_owned()) } else { Self::NotOurs })
    }
}

/// A connection that leaves file and log as they are, also where it is the last.
pub(super) fn open_untouched(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA cell_size_check = 1")?;
    Ok(connection)
}

fn said(connection: &Connection, depth: Depth, patience: Duration) -> Result<Soundness, StoreError> {
    let stop = connection.get_interrupt_handle();
    let (done, is_done) = channel::<()>();
    let lines = std::thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                stop.interrupt();
            }
        });
        let lines = lines(connection, depth);
        drop(done);
        lines
    });
    match lines {
        Ok(lines) if lines.iter().all(|line| line == "ok") => Ok(Soundness::Sound),
        Ok(lines) => Ok(Soundness::Damaged(lines)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(Soundness::Unfinished),
        Err(error) => Err(error.into()),
    }
}

fn lines(connection: &Connection, depth: Depth) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA {}({LISTED})", depth.pragma()))?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let said: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
    // A row may hold several lines, and a heading.
    Ok(said.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("***")).map(str::to_owned).collect())
}
