//! Whether the disk answers: a page that cannot be read is lost, a disk that cannot be read now is waited for.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::StoreError;
use super::check::beside;

const PAGE: usize = 4_096;

/// Of a file of which more pages than one of so many cannot be read, none is worth being recovered now.
const ONE_OF: usize = 8;

/// Pages that the disk does not give, of the file and of its log.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    pages: BTreeSet<(&'static str, usize)>,
    of: usize,
}

impl Unreadable {
    /// Reads it all, beside SQLite.
    pub(super) fn of(path: &Path) -> Self {
        let mut found = Self::default();
        for ending in ["", "-wal"] {
            let path = beside(path, ending);
            let (Ok(file), Ok(known)) = (File::open(&path), path.metadata()) else { continue };
            let pages = usize::try_from(known.len()).unwrap_or(usize::MAX).div_ceil(PAGE);
            found.of = found.of.saturating_add(pages);
            found.pages.extend((0..pages).filter(|page| fails(&file, *page)).map(|page| (ending, page)));
        }
        found
    }

    /// Refuses a disk that gives too little.
    pub(super) fn refuse_too_many(&self) -> Result<(), StoreError> {
        let (lost, of) = (self.pages.len(), self.of);
        if lost > of.div_ceil(ONE_OF) {
            return Err(StoreError::Unreadable { what: format!("{lost} of its {of} pages cannot be read") });
        }
        Ok(())
    }

    /// Refuses a disk that gave, since this was seen, less or more; `met` is what SQLite was not given meanwhile.
    pub(super) fn refuse_change(&self, path: &Path, met: bool) -> Result<(), StoreError> {
        if self.pages != Self::of(path).pages || (met && self.pages.is_empty()) {
            return Err(StoreError::Unreadable { what: "its pages can be read now and then".to_owned() });
        }
        Ok(())
    }
}

fn fails(file: &File, page: usize) -> bool {
    let mut bytes = [0; PAGE];
    let at = u64::try_from(page.saturating_mul(PAGE)).unwrap_or(u64::MAX);
    file.read_at(&mut bytes, at).is_err()
}
