//! Recovery: what can be read of a damaged ledger goes on in a new file, and the damaged one is set aside as it is. The new
//! one is complete before anything is renamed: at whatever moment this is cut off, the next start finishes it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::anew::{empty, free, rename, unusable};
use super::check::{beside, check_log, open_untouched};
use super::reads::Unreadable;
use super::salvage::{Salvaged, salvage};
use super::{StoreError, Tx, audit, damage, meta};
use crate::model::Timestamp;

/// In the file that took its place.
const RECOVERED: &str = "recovered";
/// The part of a file before its first page's content.
const HEADER: usize = 100;
const PAGE: u64 = 4_096;

/// What became of a damaged ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// When.
    pub at: Timestamp,
    /// The damaged file's name now, beside `usage.db`.
    pub name: String,
    /// What was wrong with it, a line for each.
    pub found: Vec<String>,
    /// What was read of it.
    pub tables: Vec<Salvaged>,
    /// What its log lost: transactions that were stored, and of which nothing tells what they held.
    pub log: Option<String>,
}

impl Recovered {
    /// Whether every row of these tables was read.
    #[must_use]
    pub fn is_whole(&self, tables: &[&str]) -> bool {
        let of_these = |table: &&Salvaged| tables.contains(&&*table.table);
        self.tables.iter().filter(of_these).all(Salvaged::is_whole)
    }

    /// Tables of which rows are missing.
    pub fn torn(&self) -> impl Iterator<Item = &Salvaged> {
        self.tables.iter().filter(|table| !table.is_whole())
    }
}

/// Recovers what can be read. Nobody else may have the file open. `repair` makes the rooms' sense of what was read, in the
/// transaction that stores it.
///
/// # Errors
/// There is no room for another file, the directory cannot be written, or the disk does not answer: then everything is as it
/// was.
pub fn recover<E: From<StoreError>>(
    path: &Path,
    found: Vec<String>,
    now: Timestamp,
    repair: impl FnOnce(&Tx<'_>, &Recovered) -> Result<(), E>,
) -> Result<Recovered, E> {
    let aside = free(path, &format!("usage.db.damaged-{}", now.to_string().replace(':', "-")));
    let next = path.with_extension("db.next");
    let unreadable = Unreadable::of(path);
    unreadable.refuse_too_many()?;
    damage::read_failed();
    let recovered = fill(path, &next, &aside, found, now, repair).and_then(|recovered| {
        // What could not be read only meanwhile is not lost.
        unreadable.refuse_change(path, damage::read_failed())?;
        Ok(recovered)
    });
    // Errors that told of the damage are no news.
    drop(damage::met());
    let recovered = match recovered {
        Ok(recovered) => recovered,
        Err(error) => {
            drop(std::fs::remove_file(&next));
            return Err(error);
        }
    };
    rename(path, &aside)?;
    finish(path, &next)?;
    rename(&next, path)?;
    Ok(recovered)
}

/// How this ledger was recovered, as long as the damaged file lies there.
pub fn recovered(connection: &Connection, path: &Path) -> Result<Option<Recovered>, StoreError> {
    let text = meta::get(connection, RECOVERED)?;
    let recovered: Option<Recovered> = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(recovered.filter(|recovered| path.with_file_name(&recovered.name).exists()))
}

/// The log of a damaged file that has its new name already goes with it: it would be played into what takes its place.
pub(super) fn finish(path: &Path, next: &Path) -> Result<(), StoreError> {
    let text = meta::get(&open_untouched(next)?, RECOVERED)?;
    let Some(recovered) = text.and_then(|text| serde_json::from_str::<Recovered>(&text).ok()) else { return Ok(()) };
    let aside = path.with_file_name(recovered.name);
    for ending in ["-wal", "-shm"] {
        let (from, to) = (beside(path, ending), beside(&aside, ending));
        if from.exists() && !to.exists() {
            rename(&from, &to)?;
        }
    }
    Ok(())
}

fn fill<E: From<StoreError>>(
    path: &Path,
    next: &Path,
    aside: &Path,
    found: Vec<String>,
    now: Timestamp,
    repair: impl FnOnce(&Tx<'_>, &Recovered) -> Result<(), E>,
) -> Result<Recovered, E> {
    let log = check_log(path)?;
    let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut to = empty(next)?;
    let source = Source::open(path, next)?;
    // It is synced as a whole at the end; before that nobody misses it.
    to.execute_batch("PRAGMA journal_mode = memory; PRAGMA synchronous = off; PRAGMA foreign_keys = off")
        .map_err(StoreError::from)?;
    let tx = to.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
    let tables = salvage(&source.connection, &tx)?;
    let recovered = Recovered { at: now, name, found, tables, log };
    {
        let tx = Tx::of(&tx);
        repair(&tx, &recovered)?;
        meta::set(&tx, RECOVERED, &json!(recovered).to_string())?;
        let detail = json!({"found": recovered.found, "torn": recovered.torn().collect::<Vec<_>>()});
        audit::append(&tx, now, "usaged", "database.recovered", &recovered.name, &detail)?;
    }
    tx.commit().map_err(StoreError::from)?;
    drop(to);
    keep_owner(path, next).map_err(|source| unusable(next, source))?;
    File::open(next).and_then(|file| file.sync_all()).map_err(|source| unusable(next, source))?;
    Ok(recovered)
}

/// Whose the damaged file is, his is the new one, also where root recovers it.
fn keep_owner(path: &Path, next: &Path) -> std::io::Result<()> {
    let (was, is) = (path.metadata()?, next.metadata()?);
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        chown(next, Some(was.uid()), Some(was.gid()))?;
    }
    std::fs::set_permissions(next, was.permissions())
}

/// A damaged file, open for reading; where its header is gone, a copy of it that has one.
struct Source {
    connection: Connection,
    copy: Option<PathBuf>,
}

impl Source {
    fn open(path: &Path, sound: &Path) -> Result<Self, StoreError> {
        // SQLite deletes the log of an empty file, which may hold all there is.
        let is_empty = path.metadata().is_ok_and(|found| found.len() == 0);
        if !is_empty {
            let connection = open_untouched(path)?;
            let schema = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
            if schema.is_ok_and(|tables| tables > 0) {
                return Ok(Self { connection, copy: None });
            }
        }
        let copy = path.with_extension("db.readable");
        for ending in ["", "-wal"] {
            let (from, to) = (beside(path, ending), beside(&copy, ending));
            if from.exists() {
                std::fs::copy(&from, &to).map_err(|source| unusable(&to, source))?;
            }
        }
        let made = if is_empty {
            File::options().write(true).open(&copy).and_then(|file| file.set_len(PAGE))
        } else {
            put_header(&copy, sound)
        };
        made.map_err(|source| unusable(&copy, source))?;
        Ok(Self { connection: open_untouched(&copy)?, copy: Some(copy) })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            for ending in ["", "-wal", "-shm"] {
                drop(std::fs::remove_file(beside(copy, ending)));
            }
        }
    }
}

/// The header of a sound ledger, but for the file's own length and that it has a log.
/// <https://www.sqlite.org/fileformat2.html#the_database_header>
fn put_header(copy: &Path, sound: &Path) -> std::io::Result<()> {
    const VERSIONS: u64 = 18;
    const PAGES: u64 = 28;
    const FREE_LIST: u64 = 32;
    let mut header = [0; HEADER];
    File::open(sound)?.read_exact(&mut header)?;
    let mut file = File::options().write(true).open(copy)?;
    let pages = u32::try_from(file.metadata()?.len().div_euclid(PAGE)).unwrap_or(u32::MAX);
    let mut put = |at: u64, bytes: &[u8]| file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes));
    put(0, &header)?;
    put(VERSIONS, &[2, 2])?;
    put(PAGES, &pages.to_be_bytes())?;
    put(FREE_LIST, &[0; 8])
}

#[cfg(test)]
mod tests {
    use super::super::{Depth, Soundness, Store, check};
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    const CREDITS: i64 = 3_000;
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A ledger with some thousand rows, all of it in the one file.
    fn ledger(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("usage.db");
        let connection = empty(&path).unwrap();
        let sql = format!(
            "PRAGMA journal_mode = delete;
             INSERT INTO meter VALUES (1, 'api_credits', 1000000, 0);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CREDITS})
             INSERT INTO credit SELECT i, 1, 'uid:0', 'order-' || i, 5, i, NULL, i, 0 FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CREDITS})
             INSERT INTO bucket SELECT 1, i * 60000000, 60000000, 7 FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO audit (at_us, actor, action, subject, detail, hash)
             SELECT i, 'usaged', 'link', 'sub_1', '{{}}', zeroblob(32) FROM n;
             INSERT INTO meta VALUES ('fact', 'kept');"
        );
        connection.execute_batch(&sql).unwrap();
        path
    }

    /// Pages of a table or index, in the order of their keys.
    fn pages(path: &Path, name: &str, leaves: bool) -> Vec<u32> {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root = open_untouched(path).unwrap().query_row(sql, [name], |row| row.get(0)).unwrap();
        let mut found = Vec::new();
        descend(&std::fs::read(path).unwrap(), root, leaves, &mut found);
        found
    }

    /// <https://www.sqlite.org/fileformat2.html#b_tree_pages>
    fn descend(file: &[u8], page: u32, leaves: bool, found: &mut Vec<u32>) {
        let at = usize::try_from(page - 1).unwrap() * 4_096;
        let bytes = &file[at..at + 4_096];
        let long = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let short = |at: usize| usize::from(u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap()));
        let is_leaf = matches!(bytes[0], 10 | 13);
        if is_leaf == leaves {
            found.push(page);
        }
        if !is_leaf {
            (0..short(3)).for_each(|cell| descend(file, long(short(12 + 2 * cell)), leaves, found));
            descend(file, long(8), leaves, found);
        }
    }

    fn tear(path: &Path, page: u32) {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0xa5; 4_096], u64::from(page - 1) * 4_096).unwrap();
    }

    fn is_damaged(path: &Path) -> bool {
        matches!(check(path, Depth::Quick, Duration::from_mins(1)).unwrap(), Soundness::Damaged(_))
    }

    fn recover_it(path: &Path) -> Recovered {
        assert!(is_damaged(path));
        let before = std::fs::read(path).unwrap();
        let recovered = recover::<StoreError>(path, vec!["torn".to_owned()], NOW, |_, _| Ok(())).unwrap();
        let aside = path.with_file_name(&recovered.name);
        assert_eq!(std::fs::read(&aside).unwrap(), before, "it is set aside as it was");
        assert_eq!(path.metadata().unwrap().mode(), aside.metadata().unwrap().mode());
        assert_eq!(check(path, Depth::Full, Duration::from_mins(1)).unwrap(), Soundness::Sound);
        let left_over = ["db.next", "db.readable"].map(|ending| path.with_extension(ending).exists());
        assert_eq!(left_over, [false; 2]);
        recovered
    }

    fn of<'r>(recovered: &'r Recovered, table: &str) -> &'r Salvaged {
        recovered.tables.iter().find(|found| found.table == table).unwrap()
    }

    fn ask<T: rusqlite::types::FromSql>(path: &Path, sql: &str) -> T {
        Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn rows_on_both_sides_of_every_torn_page_are_read_and_the_others_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        let leaves = pages(&path, "credit", true);
        for at in [0, 3, 4, leaves.len() - 1] {
            tear(&path, leaves[at]);
        }
        let recovered = recover_it(&path);
        let credits = of(&recovered, "credit");
        let stored: i64 = ask(&path, "SELECT count(*) FROM credit");
        assert_eq!(i64::try_from(credits.read).unwrap(), stored);
        assert_eq!(i64::try_from(credits.missing.unwrap()).unwrap(), CREDITS - stored, "the index knows the others");
        let pages = i64::try_from(leaves.len()).unwrap();
        assert!(stored > CREDITS - (6 * CREDITS).div_euclid(pages) && stored < CREDITS, "{stored} on {pages} pages");
        assert!(recovered.is_whole(&["bucket", "meter", "meta", "audit"]));
        assert_eq!(recovered.torn().count(), 1);
        assert_eq!(ask::<String>(&path, "SELECT value FROM meta WHERE key = 'fact'"), "kept");
    }

    #[test]
    fn buckets_are_read_on_both_sides_too_and_nobody_can_tell_how_many_there_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        let leaves = pages(&path, "bucket", true);
        tear(&path, leaves[1]);
        tear(&path, leaves[3]);
        let buckets = of(&recover_it(&path), "bucket").clone();
        assert_eq!(buckets.missing, None);
        let pages = i64::try_from(leaves.len()).unwrap();
        assert!(
            i64::try_from(buckets.read).unwrap() > CREDITS - (3 * CREDITS).div_euclid(pages),
            "{buckets:?} of {pages} pages"
        );
    }

    #[test]
    fn what_an_index_alone_knows_is_handed_to_the_rooms() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        tear(&path, pages(&path, "credit", true)[2]);
        let recovered = recover::<StoreError>(&path, Vec::new(), NOW, |tx, recovered| {
            let sql = "SELECT count(*) FROM temp.lost WHERE name = 'credit' AND k1 = 1 AND k2 = 'uid:0'
                       AND k3 = 'order-' || id";
            let known: u32 = tx.query_row(sql, [], |row| row.get(0))?;
            assert_eq!(Some(u64::from(known)), of(recovered, "credit").missing);
            Ok(())
        });
        assert!(!recovered.unwrap().is_whole(&["credit"]));
    }

    #[test]
    fn a_torn_index_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        tear(&path, pages(&path, "credit_by_place", true)[0]);
        tear(&path, pages(&path, "sqlite_autoindex_credit_1", true)[1]);
        assert_eq!(recover_it(&path).torn().count(), 0);
        assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM credit"), CREDITS);
    }

    #[test]
    fn a_torn_root_costs_its_table_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        tear(&path, pages(&path, "audit", false)[0]);
        let recovered = recover_it(&path);
        let audit = Salvaged { table: "audit".to_owned(), read: 0, missing: Some(500) };
        assert_eq!(recovered.torn().collect::<Vec<_>>(), [&audit], "it is numbered through");
        assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM audit"), 1, "and says what happened");
    }

    #[test]
    fn a_torn_header_costs_nothing() {
        for bytes in [1, 16, 100] {
            let dir = tempfile::tempdir().unwrap();
            let path = ledger(&dir);
            let file = File::options().write(true).open(&path).unwrap();
            file.write_all_at(&vec![0x5a; bytes], 0).unwrap();
            assert_eq!(recover_it(&path).torn().count(), 0, "{bytes}");
            assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM credit"), CREDITS);
        }
    }

    #[test]
    fn the_mark_by_which_it_is_known_as_ours_may_be_what_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        File::options().write(true).open(&path).unwrap().write_all_at(b"XX", 69).unwrap();
        assert_eq!(recover_it(&path).torn().count(), 0);
    }

    #[test]
    fn what_holds_nothing_readable_is_set_aside_and_an_empty_ledger_takes_its_place() {
        for content in ["", "not a database at all, but long enough to be read as a header of one, if it were any"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("usage.db");
            std::fs::write(&path, content).unwrap();
            let recovered = recover_it(&path);
            assert!(recovered.tables.iter().all(|table| table.read == 0 && table.missing.is_none()), "{content}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        File::options().write(true).open(&path).unwrap().set_len(60 * 4_096).unwrap();
        assert!(
            recover_it(&path).tables.iter().any(|table| table.read > 0),
            "a file that is cut off has its first pages"
        );
    }

    /// Ten transactions that are in the log only.
    fn logged(dir: &tempfile::TempDir) -> PathBuf {
        let path = ledger(dir);
        let connection = open_untouched(&path).unwrap();
        connection.execute_batch("PRAGMA query_only = 0; PRAGMA journal_mode = wal").unwrap();
        for n in 0..10 {
            connection.execute("INSERT INTO meta VALUES (?1, '')", [format!("logged {n}")]).unwrap();
        }
        path
    }

    #[test]
    fn the_log_belongs_to_the_ledger_and_goes_aside_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = logged(&dir);
        assert_eq!(check_log(&path).unwrap(), None);
        tear(&path, pages(&path, "audit", true)[0]);
        let recovered = recover_it(&path);
        assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM meta WHERE key LIKE 'logged%'"), 10);
        let aside = beside(&path.with_file_name(recovered.name), "-wal");
        assert!(aside.metadata().unwrap().len() > 10 * 4_096);
    }

    #[test]
    fn the_log_of_a_file_that_was_emptied_is_read_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        let connection = empty(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = wal; VACUUM; INSERT INTO meta VALUES ('fact', 'kept')")
            .unwrap();
        let log = std::fs::read(beside(&path, "-wal")).unwrap();
        drop(connection);
        std::fs::write(&path, "").unwrap();
        std::fs::write(beside(&path, "-wal"), &log).unwrap();
        assert_eq!(super::super::set_aside_if_marked(&path).unwrap(), None);
        let recovered = recover_it(&path);
        assert_eq!(std::fs::read(beside(&path.with_file_name(&recovered.name), "-wal")).unwrap(), log);
        assert_eq!(ask::<String>(&path, "SELECT value FROM meta WHERE key = 'fact'"), "kept");
    }

    #[test]
    fn a_log_that_lost_transactions_is_told_from_one_that_a_power_cut_left() {
        let torn = |at: &dyn Fn(u64) -> u64| {
            let dir = tempfile::tempdir().unwrap();
            let path = logged(&dir);
            let log = File::options().write(true).open(beside(&path, "-wal")).unwrap();
            log.write_all_at(&[0xa5; 64], at(log.metadata().unwrap().len())).unwrap();
            check_log(&path).unwrap()
        };
        assert!(torn(&|_| 32 + 200).unwrap().contains("10 transactions"));
        assert!(torn(&|_| 0).unwrap().contains("header"));
        assert_eq!(torn(&|length| length - 500), None, "the last transaction may be half on disk");
    }

    #[test]
    fn cut_off_between_its_renames_the_next_start_finishes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = logged(&dir);
        tear(&path, pages(&path, "audit", true)[0]);
        let (next, aside) = (path.with_extension("db.next"), path.with_file_name("usage.db.damaged"));
        fill::<StoreError>(&path, &next, &aside, Vec::new(), NOW, |_, _| Ok(())).unwrap();
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(super::super::set_aside_if_marked(&path).unwrap(), None);
        assert!(beside(&aside, "-wal").exists(), "it would be played into the new ledger");
        assert_eq!(ask::<i64>(&path, "SELECT count(*) FROM meta WHERE key LIKE 'logged%'"), 10);
        assert!(recovered(&Connection::open(&path).unwrap(), &path).unwrap().is_some());
        std::fs::remove_file(aside).unwrap();
        assert_eq!(recovered(&Connection::open(&path).unwrap(), &path).unwrap(), None, "what was deleted is no news");
    }

    #[test]
    fn where_it_fails_everything_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        tear(&path, pages(&path, "audit", true)[0]);
        let before = std::fs::read(&path).unwrap();
        let failed = recover(&path, Vec::new(), NOW, |_, _| Err(StoreError::Full));
        assert!(matches!(failed, Err(StoreError::Full)));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_recoveries_of_one_second_do_not_overwrite_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.db");
        std::fs::write(&path, "").unwrap();
        let first = recover_it(&path).name;
        std::fs::write(&path, "").unwrap();
        assert_ne!(recover_it(&path).name, first);
    }

    #[test]
    fn a_store_says_that_its_file_is_damaged_and_takes_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = ledger(&dir);
        let store = Store::open(&path).unwrap();
        tear(&path, pages(&path, "credit", true)[5]);
        let damage = store.damage();
        assert_eq!(*damage.borrow(), None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let write = |tx: &Tx<'_>| Ok::<_, StoreError>(tx.execute("UPDATE meta SET value = 'changed'", [])?);
            let sum = |tx: &Tx<'_>| {
                Ok::<i64, StoreError>(tx.query_row("SELECT sum(uid + quantity) FROM credit", [], |row| row.get(0))?)
            };
            let (bad, good) = tokio::join!(store.write(sum), store.write(write));
            assert!(matches!(bad, Err(StoreError::Damaged { .. })));
            assert!(matches!(good, Err(StoreError::Damaged { .. })), "in one transaction with it or after it");
            assert!(damage.borrow().as_ref().unwrap().contains("malformed"));
            assert!(matches!(store.write(write).await, Err(StoreError::Damaged { .. })));
        });
        assert_eq!(ask::<String>(&path, "SELECT value FROM meta"), "kept");
    }
}
