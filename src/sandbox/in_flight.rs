//! What only one request at a time may have: idempotency keys, and objects that are changed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::errors::ApiError;

/// The names that are in use.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeSet<String>>);

/// What is in use until this is dropped.
pub(super) struct InFlight<'a> {
    names: &'a Names,
    name: Option<String>,
}

impl Names {
    /// Holds a name, where there is one, until the mark is dropped.
    pub(super) fn mark(
        &self,
        name: Option<String>,
        in_use: impl FnOnce(&str) -> ApiError,
    ) -> Result<InFlight<'_>, ApiError> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            return Err(in_use(name));
        }
        Ok(InFlight { names: self, name })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.names.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }
}
