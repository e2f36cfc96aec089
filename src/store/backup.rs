//! A copy of the ledger, made while it is in use.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::StoreError;
use super::anew::unusable;
use super::check::{Depth, Soundness, check, open_untouched};

/// A copy that cannot be looked at within this time is as large as no ledger is.
const PATIENCE: Duration = Duration::from_mins(10);

/// Copies the ledger as it is at one moment into a new file, which nobody else may read; writes go on beside it. Returns its
/// size. The copy is whole and on disk, or it is not there.
///
/// # Errors
/// There is a file of that name, or none can be written there; or the ledger is damaged.
pub fn backup(path: &Path, to: &Path) -> Result<u64, StoreError> {
    let refuse = |source| StoreError::Backup { path: to.to_owned(), source: Arc::new(source) };
    // Made by us alone: what lies under that name is never followed or overwritten.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(refuse)?;
    match copy(path, to, &file) {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            drop(std::fs::remove_file(to));
            Err(error)
        }
    }
}

fn copy(path: &Path, to: &Path, file: &File) -> Result<u64, StoreError> {
    let connection = open_untouched(path)?;
    // One read of one moment, which no write has to wait for; a copy page by page would begin anew with every write.
    connection.execute_batch("PRAGMA query_only = 0")?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    match check(to, Depth::Quick, PATIENCE)? {
        Soundness::Damaged(found) => return Err(StoreError::Damaged { what: found.join("; ") }),
        Soundness::Sound | Soundness::Unfinished => {}
    }
    let directory = to.parent().unwrap_or(Path::new("."));
    file.sync_all()
        .and_then(|()| File::open(directory)?.sync_all())
        .and_then(|()| Ok(file.metadata()?.len()))
        .map_err(|source| unusable(directory, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Store, Tx, meta};
    use super::*;

    #[test]
    fn a_copy_has_what_was_stored_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("usage.db"), dir.path().join("copy.db"));
        let store = Store::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let write = |tx: &Tx<'_>| meta::set(tx, "fact", "kept");
        runtime.block_on(store.write(write)).unwrap();
        let bytes = backup(&path, &to).unwrap();
        let found = to.metadata().unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (bytes, 0o600));
        let copy = Store::open(&to).unwrap();
        let fact = runtime.block_on(copy.read(|c| meta::get(c, "fact"))).unwrap();
        assert_eq!(fact.as_deref(), Some("kept"));
    }

    #[test]
    fn what_is_there_already_is_not_overwritten_and_what_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("usage.db"), dir.path().join("copy.db"));
        drop(Store::open(&path).unwrap());
        std::fs::write(&to, "precious").unwrap();
        let said = backup(&path, &to).unwrap_err().to_string();
        assert!(said.contains("copy.db") && said.contains("hint:"), "{said}");
        assert_eq!(std::fs::read(&to).unwrap(), b"precious");
        let torn = dir.path().join("torn.db");
        std::fs::write(&torn, "not a database at all, but long enough to be read as a header of one").unwrap();
        assert!(backup(&torn, &dir.path().join("other.db")).is_err());
        assert!(!dir.path().join("other.db").exists());
    }
}
