//! Beginning anew: `usage.db` is set aside whole, under another name, and an empty one takes its place. Marked inside the
//! file first, and carried out when nobody has it open: at whatever moment this is cut off, the next start finishes it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::check::{beside, open_untouched};
use super::{StoreError, Tx, meta, migrations, recover};

/// In the file that is to be set aside.
const MARK: &str = "set_aside";
/// In the file that took its place.
const BEGUN: &str = "begun_anew";
/// A connection that has just been dropped lets go of the file within this time.
const LETS_GO: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why a ledger was set aside, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The file's name, beside `usage.db`.
    pub name: String,
    /// Why.
    pub because: String,
    /// The subscription it was linked to, which the new ledger must not be linked to by itself.
    pub subscription: Option<String>,
}

/// Marks the file. It takes effect with [`set_aside_if_marked`].
pub fn mark_to_be_set_aside(tx: &Tx<'_>, how: &SetAside) -> Result<(), StoreError> {
    meta::set(tx, MARK, &serde_json::json!(how).to_string())
}

/// In a ledger that was begun anew: what became of the one before. `None` once that file is gone.
pub fn set_aside_before(connection: &Connection, path: &Path) -> Result<Option<SetAside>, StoreError> {
    Ok(begun_anew(connection)?.filter(|before| path.with_file_name(&before.name).exists()))
}

/// How this ledger was begun, where there was another before it on this disk.
pub fn begun_anew(connection: &Connection) -> Result<Option<SetAside>, StoreError> {
    Ok(meta::get(connection, BEGUN)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Sets a marked file aside, and says where it lies now. Nobody else may have it open. Safe to repeat.
pub fn set_aside_if_marked(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let next = path.with_extension("db.next");
    if !path.exists() && next.exists() {
        // Cut off between the two renames.
        recover::finish(path, &next)?;
        rename(&next, path)?;
    }
    let Some(mark) = read_mark(path) else { return Ok(None) };
    let aside = path.with_file_name(&mark.name);
    if aside.exists() {
        let source = Arc::new(std::io::Error::other("a file of that name is there already"));
        return Err(StoreError::Open { path: aside, hint: "move it away".to_owned(), source });
    }
    make(&next, &mark)?;
    fold_in(path)?;
    rename(path, &aside)?;
    rename(&next, path)?;
    // Whoever brings it back later does not want it set aside again.
    Connection::open(&aside)?.execute("DELETE FROM meta WHERE key = ?1", [MARK])?;
    Ok(Some(aside))
}

/// A file that cannot be read is no matter of this; opening it says what is wrong.
fn read_mark(path: &Path) -> Option<SetAside> {
    // Closed by whoever is the last to have it open, it would lose the log that is looked at next.
    let connection = path.metadata().is_ok_and(|found| found.len() > 0).then(|| open_untouched(path).ok()).flatten()?;
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).ok()?;
    if id != migrations::APPLICATION_ID {
        return None;
    }
    serde_json::from_str(&meta::get(&connection, MARK).ok()??).ok()
}

/// An empty ledger where there is none. Complete before it has its name: one that is cut short is damaged, not new.
pub(super) fn begin(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    // The log of a ledger that is gone would be played into this one.
    let stray = beside(path, "-wal");
    if stray.exists() {
        rename(&stray, &free(path, "usage.db.left"))?;
    }
    let next = path.with_extension("db.next");
    drop(empty(&next)?);
    rename(&next, path)
}

/// A name beside this file that nothing has yet.
pub(super) fn free(path: &Path, name: &str) -> PathBuf {
    let is_free = |found: &PathBuf| ["", "-wal", "-shm"].iter().all(|ending| !beside(found, ending).exists());
    let names = (2..).map(|n| path.with_file_name(format!("{name}-{n}")));
    std::iter::once(path.with_file_name(name)).chain(names).find(is_free).unwrap_or_else(|| path.with_file_name(name))
}

/// An empty ledger under this name, in place of what an earlier try left.
pub(super) fn empty(next: &Path) -> Result<Connection, StoreError> {
    // The journal of a try that was cut off would be played into this one.
    for left_over in [next.to_owned(), beside(next, "-journal")] {
        match std::fs::remove_file(&left_over) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(unusable(&left_over, source)),
            _ => {}
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(next, flags)?;
    migrations::migrate(&mut connection, next)?;
    Ok(connection)
}

/// The empty ledger, complete before it takes its place.
fn make(next: &Path, mark: &SetAside) -> Result<(), StoreError> {
    let connection = empty(next)?;
    let text = serde_json::json!(mark).to_string();
    connection.execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", [BEGUN, &text])?;
    Ok(())
}

/// Everything into the one file, so that it can be renamed as a whole.
fn fold_in(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path)?;
    let began = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = delete", [], |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "delete" => return Ok(()),
            Err(error) if began.elapsed() >= LETS_GO => return Err(error.into()),
            Ok(found) if began.elapsed() >= LETS_GO => {
                return Err(StoreError::Pragma { pragma: "journal_mode", found, wanted: "delete" });
            }
            _ => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

/// On disk when it returns.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let directory = to.parent().unwrap_or(Path::new("."));
    std::fs::rename(from, to)
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| unusable(directory, source))
}

pub(super) fn unusable(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Directory { path: path.to_owned(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    fn mark() -> SetAside {
        let (name, because) = ("usage.db.old".to_owned(), "it is a clone".to_owned());
        SetAside { name, because, subscription: Some("sub_1".to_owned()) }
    }

    /// A ledger with one fact, marked, with its WAL not folded in yet.
    fn marked(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("usage.db");
        let store = Store::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let write = |tx: &Tx<'_>| {
            meta::set(tx, "fact", "old")?;
            mark_to_be_set_aside(tx, &mark())
        };
        runtime.block_on(store.write(write)).unwrap();
        path
    }

    fn fact(path: &Path, key: &str) -> Option<String> {
        meta::get(&Connection::open(path).unwrap(), key).unwrap()
    }

    fn assert_done(path: &Path) {
        let aside = path.with_file_name("usage.db.old");
        assert_eq!(fact(&aside, "fact").as_deref(), Some("old"));
        assert_eq!(fact(path, "fact"), None);
        let connection = Connection::open(path).unwrap();
        assert_eq!(set_aside_before(&connection, path).unwrap(), Some(mark()));
        std::fs::remove_file(aside).unwrap();
        assert_eq!(set_aside_before(&connection, path).unwrap(), None, "what was deleted is no news");
        assert_eq!(begun_anew(&connection).unwrap(), Some(mark()));
    }

    #[test]
    fn s11_a_marked_ledger_is_set_aside_whole_and_an_empty_one_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = marked(&dir);
        assert_eq!(set_aside_if_marked(&path).unwrap(), Some(path.with_file_name("usage.db.old")));
        assert_eq!(set_aside_if_marked(&path).unwrap(), None, "once");
        assert!(!path.with_file_name("usage.db.old-wal").exists());
        assert_done(&path);
    }

    #[test]
    fn s11_cut_off_before_either_rename_the_next_start_finishes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = marked(&dir);
        // Half of an earlier try.
        std::fs::write(path.with_extension("db.next"), "half of it").unwrap();
        let journal = path.with_extension("db.next-journal");
        std::fs::write(&journal, "half of it").unwrap();
        set_aside_if_marked(&path).unwrap();
        assert!(!journal.exists(), "it would be played into the new ledger");
        assert_done(&path);

        let dir = tempfile::tempdir().unwrap();
        let path = marked(&dir);
        make(&path.with_extension("db.next"), &mark()).unwrap();
        fold_in(&path).unwrap();
        std::fs::rename(&path, path.with_file_name("usage.db.old")).unwrap();
        assert_eq!(set_aside_if_marked(&path).unwrap(), None);
        assert_done(&path);
    }

    #[test]
    fn a_ledger_without_a_mark_and_what_is_none_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        assert_eq!(set_aside_if_marked(&path).unwrap(), None);
        assert!(!path.exists());
        std::fs::write(&path, "not a database at all, but long enough to be read as a header").unwrap();
        assert_eq!(set_aside_if_marked(&path).unwrap(), None);
        drop(Store::open(&dir.path().join("other.db")).unwrap());
        assert_eq!(set_aside_if_marked(&dir.path().join("other.db")).unwrap(), None);
    }

    #[test]
    fn a_file_that_has_the_name_already_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = marked(&dir);
        std::fs::write(path.with_file_name("usage.db.old"), "precious").unwrap();
        assert!(set_aside_if_marked(&path).unwrap_err().to_string().contains("usage.db.old"));
        assert_eq!(std::fs::read(path.with_file_name("usage.db.old")).unwrap(), b"precious");
        assert_eq!(fact(&path, "fact").as_deref(), Some("old"));
    }
}
