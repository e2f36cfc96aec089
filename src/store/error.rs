//! What can go wrong with the file.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::damage;

/// Why the database did not do it. Cloneable, since calls that share a transaction share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("usage.db: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// No room.
    #[error(
        "the disk that holds usage.db is full; nothing of this was stored\nhint: free space there; usaged goes on by itself"
    )]
    Full,
    /// Its content cannot be what was written to it.
    #[error(
        "usage.db is damaged ({what}); nothing of this was stored\nhint: usaged recovers what can be read by itself; usagectl status shows what became of it"
    )]
    Damaged {
        /// SQLite's words.
        what: String,
    },
    /// The disk does not give it now. It may be sound.
    #[error(
        "usage.db cannot be read: {what}; nothing was changed\nhint: look at the disk (dmesg); usaged tries again by itself"
    )]
    Unreadable {
        /// How much of it.
        what: String,
    },
    /// More is waiting than the queue takes.
    #[error("usage.db is busy: too many writes are waiting")]
    Busy,
    /// It is set aside, and an empty one takes its place.
    #[error("usage.db is being set aside; nothing of this was stored\nhint: usagectl status shows when usaged is back")]
    SettingAside,
    /// The VM is about to be deleted, or an image to be made of it.
    #[error(
        "this VM is being drained, and takes no records; nothing of this was stored\nhint: usagectl status shows whether it goes on"
    )]
    Draining,
    /// The writer's thread has ended.
    #[error("usage.db is closed")]
    Gone,
    /// Cannot be opened.
    #[error("cannot open {path}: {source}\nhint: {hint}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// What to do.
        hint: String,
        /// SQLite's or the system's words.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Written by a later version.
    #[error(
        "{path} has schema {found}, this usaged knows up to {known}\nhint: install the version that wrote it, or newer; the file was not touched"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// Some other program's database.
    #[error("{path} is a database of another program\nhint: name another state directory; the file was not touched")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A setting did not take.
    #[error("usage.db: PRAGMA {pragma} is {found}, wanted {wanted}")]
    Pragma {
        /// Which.
        pragma: &'static str,
        /// Read back.
        found: String,
        /// Set.
        wanted: &'static str,
    },
    /// No copy can be made there.
    #[error(
        "cannot write a copy to {path}: {source}\nhint: name a new file where the service may write, as below its state directory"
    )]
    Backup {
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: Arc<std::io::Error>,
    },
    /// Another process holds the state directory.
    #[error("another usaged{holder} uses {path}\nhint: stop it first: systemctl stop usaged")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// ` (pid 123)` where known.
        holder: String,
    },
    /// The state directory cannot be used.
    #[error(
        "cannot use the state directory {path}: {source}\nhint: create it writable for this user, or set another with --state-dir"
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: Arc<std::io::Error>,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if let Some(what) = damage::of(&error) {
            damage::meet(&what);
            return Self::Damaged { what };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the program.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Full | Self::Damaged { .. } | Self::Busy | Self::SettingAside | Self::Draining => true,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                )
            ),
            _ => false,
        }
    }
}
