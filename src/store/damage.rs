//! What tells a damaged file from one that is busy or full, and who hears of it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};
use tokio::sync::watch;

thread_local! {
    /// Met on this thread since it was asked last. An error goes through many hands before the thread that has the
    /// connection is done with a call.
    static MET: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether a read failed on this thread since it was asked last.
    static READ_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// What an error says of the file, where it says that its content cannot be what was written.
pub(super) fn of(error: &rusqlite::Error) -> Option<String> {
    let found = error.sqlite_error()?;
    let is_damage = match found.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => true,
        ErrorCode::SystemIoFailure => matches!(
            found.extended_code,
            ffi::SQLITE_IOERR_READ
                | ffi::SQLITE_IOERR_SHORT_READ
                | ffi::SQLITE_IOERR_DATA
                | ffi::SQLITE_IOERR_CORRUPTFS
        ),
        _ => false,
    };
    // A file that is too short is read as far as it goes, and stays so.
    if found.extended_code == ffi::SQLITE_IOERR_READ {
        READ_FAILED.set(true);
    }
    is_damage.then(|| error.to_string())
}

/// Whether a read failed on this thread since it was asked last.
pub(super) fn read_failed() -> bool {
    READ_FAILED.take()
}

/// Keeps for this thread that its file is damaged.
pub(super) fn meet(what: &str) {
    MET.with_borrow_mut(|met| {
        met.get_or_insert_with(|| what.to_owned());
    });
}

/// What was met on this thread since it was asked last.
pub(super) fn met() -> Option<String> {
    MET.take()
}

/// The same, kept for whoever asks with [`met`].
pub(super) fn seen() -> Option<String> {
    MET.with_borrow(Clone::clone)
}

/// Where the threads of a store say that its file is damaged. The first word stays.
#[derive(Clone)]
pub(super) struct Noted(Arc<watch::Sender<Option<String>>>);

impl Noted {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(super) fn note(&self, what: String) {
        self.0.send_if_modified(|noted| {
            let is_first = noted.is_none();
            noted.get_or_insert(what);
            is_first
        });
    }

    /// Passes on what was met on this thread.
    pub(super) fn note_met(&self) {
        if let Some(what) = met() {
            self.note(what);
        }
    }

    pub(super) fn what(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(super) fn listen(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}
