//! The one SQLite file, `usage.db`.
//!
//! Owns: opening, migrating, locking, one writer thread, one reader thread. Tables belong to the rooms that fill them;
//! their SQL lies in `schema/`.
//! After a crash: whatever [`Store::write`] answered with `Ok` is on disk; whatever it did not answer may or may not be.
//! Does not know: what any table means.

mod anew;
pub mod audit;
mod backup;
mod check;
mod connection;
mod damage;
mod error;
mod lock;
mod log;
pub mod meta;
mod migrations;
mod reads;
mod recover;
mod salvage;
mod writer;

use std::path::{Path, PathBuf};

pub use anew::{SetAside, begun_anew, mark_to_be_set_aside, set_aside_before, set_aside_if_marked};
pub use backup::backup;
pub use check::{Depth, Soundness, check, check_log};
use damage::Noted;
pub use error::StoreError;
pub use lock::StateLock;
pub use recover::{Recovered, recover, recovered};
use rusqlite::Connection;
pub use salvage::{LOST, Salvaged};
use tokio::sync::watch;
pub use writer::Tx;
use writer::{Reader, Writer};

/// A handle to the open database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    writer: Writer,
    reader: Reader,
    noted: Noted,
}

impl Store {
    /// Opens or creates the file, brings its schema up to date and starts its two threads.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Complete before it has its name: a file that is empty was not begun, but cut off.
        anew::begin(path)?;
        let mut connection = connection::open_writer(path)?;
        migrations::migrate(&mut connection, path)?;
        let reader = connection::open_reader(path)?;
        let noted = Noted::new();
        let (writer, reader) = (Writer::start(connection, noted.clone())?, Reader::start(reader, noted.clone())?);
        Ok(Self { path: path.to_owned(), writer, reader, noted })
    }

    /// Becomes `Some`, and stays so, once the file is found damaged: from then on nothing is written to it. Ends once
    /// nobody has the file open any more.
    #[must_use]
    pub fn damage(&self) -> watch::Receiver<Option<String>> {
        self.noted.listen()
    }

    /// Somebody who looked at the file has found it damaged.
    pub fn note_damage(&self, what: &str) {
        self.noted.note(what.to_owned());
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `f` inside an immediate transaction and answers after the commit is on disk. Calls that wait at the
    /// same time share one transaction and one sync; one that fails is rolled back alone.
    ///
    /// # Errors
    /// What `f` returned, or that the database could not take it: then nothing of it is stored.
    pub async fn write<T, E>(&self, f: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        #[cfg(feature = "sandbox")]
        let _turn = crate::fuse::turn().await;
        self.writer.run(f).await
    }

    /// Runs `f` on the read-only connection.
    ///
    /// # Errors
    /// What `f` returned, or that the reader is gone.
    pub async fn read<T, E>(&self, f: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        #[cfg(feature = "sandbox")]
        let _turn = crate::fuse::turn().await;
        self.reader.run(f).await
    }

    /// Waits until all earlier writes are done and moves the WAL into the file; the last act before exit.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        self.writer.checkpoint().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_failed_write_is_rolled_back_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("usage.db")).unwrap();
        runtime().block_on(async {
            let good = store.write(|tx| put(tx, "a"));
            let bad = store.write(|tx| {
                put(tx, "b")?;
                Err::<(), _>(StoreError::Gone)
            });
            let (good, bad) = tokio::join!(good, bad);
            assert!(good.is_ok() && bad.is_err());
            let keys: i64 = store
                .read(|c| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM meta", [], |r| r.get(0))?))
                .await
                .unwrap();
            assert_eq!(keys, 1);
        });
    }

    #[test]
    fn too_many_waiting_writes_are_told_so_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("usage.db")).unwrap();
        runtime().block_on(async {
            let (let_go, held) = std::sync::mpsc::channel::<()>();
            let (begun, has_begun) = std::sync::mpsc::channel::<()>();
            let mut writes = tokio::task::JoinSet::new();
            let first = store.clone();
            writes.spawn(async move {
                let stay = move |_: &Tx<'_>| {
                    begun.send(()).unwrap();
                    assert!(held.recv().is_ok());
                    Ok::<_, StoreError>(())
                };
                first.write(stay).await
            });
            tokio::task::yield_now().await;
            has_begun.recv().unwrap();
            for n in 0..2_000 {
                let store = store.clone();
                writes.spawn(async move { store.write(move |tx| put(tx, &n.to_string())).await });
            }
            // Tasks have their turns in order, so by this one's all others wait in the queue, or were told that it is full.
            writes.spawn(async move {
                let_go.send(()).unwrap();
                Ok(())
            });
            let answers = writes.join_all().await;
            let busy = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Busy))).count();
            let stored: i64 = store
                .read(|c| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM meta", [], |row| row.get(0))?))
                .await
                .unwrap();
            assert!(busy > 0, "a full queue says so");
            assert_eq!(usize::try_from(stored).unwrap(), 2_000 - busy);
        });
    }

    fn put(tx: &Tx<'_>, key: &str) -> Result<(), StoreError> {
        tx.execute("INSERT INTO meta (key, value) VALUES (?1, '')", [key])?;
        Ok(())
    }

    #[test]
    fn a_newer_schema_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        let said = Store::open(&path).err().unwrap().to_string();
        assert!(said.contains("999") && said.contains("hint:"), "{said}");
    }

    #[test]
    fn a_file_of_another_program_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(Store::open(&path).err(), Some(StoreError::Foreign { .. })));
        std::fs::write(&path, b"not a database at all, but long enough to be read as a header").unwrap();
        assert!(Store::open(&path).is_err());
    }

    #[test]
    fn a_statement_is_prepared_once_whatever_is_bound_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("usage.db")).unwrap();
        // As a bucket is found by a moment within it.
        let look = |tx: &Tx<'_>| {
            let sql = "UPDATE bucket SET quantity = quantity + ?3 WHERE meter_id = ?1 AND from_us + width_us > ?2
                       AND from_us = (SELECT max(from_us) FROM bucket WHERE meter_id = ?1 AND from_us <= ?2)";
            let mut statement = tx.prepare_cached(sql)?;
            for at_us in 0..3 {
                statement.execute((1, at_us, 5))?;
            }
            Ok::<_, StoreError>(statement.get_status(rusqlite::StatementStatus::RePrepare))
        };
        assert_eq!(runtime().block_on(store.write(look)).unwrap(), 0);
    }
}
