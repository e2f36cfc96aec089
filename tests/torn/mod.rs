//! Tears pages of a database, as a bad sector does.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

const PAGE: usize = 4_096;

/// Tears every leaf of a table or index.
pub(crate) fn tear(path: &Path, name: &str) {
    tear_some(path, name, |_, _| true);
}

/// Tears those leaves that are wanted, by their place and how many there are.
pub(crate) fn tear_some(path: &Path, name: &str, wanted: impl Fn(usize, usize) -> bool) {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root = open(path).query_row(sql, [name], |row| row.get(0)).unwrap();
    let mut leaves = Vec::new();
    descend(&std::fs::read(path).unwrap(), root, &mut leaves);
    let file = File::options().write(true).open(path).unwrap();
    for (_, page) in leaves.iter().enumerate().filter(|(place, _)| wanted(*place, leaves.len())) {
        let at = u64::from(page - 1) * u64::try_from(PAGE).unwrap();
        file.write_all_at(&[0xa5; PAGE], at).unwrap();
    }
}

fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}

/// <https://www.sqlite.org/fileformat2.html#b_tree_pages>
fn descend(file: &[u8], page: u32, leaves: &mut Vec<u32>) {
    let at = usize::try_from(page - 1).unwrap() * PAGE;
    let bytes = &file[at..at + PAGE];
    let long = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let short = |at: usize| usize::from(u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap()));
    if matches!(bytes[0], 10 | 13) {
        return leaves.push(page);
    }
    // What has only the log, or was torn already, is no way further.
    if !matches!(bytes[0], 2 | 5) {
        return;
    }
    (0..short(3)).for_each(|cell| descend(file, long(short(12 + 2 * cell)), leaves));
    descend(file, long(8), leaves);
}
