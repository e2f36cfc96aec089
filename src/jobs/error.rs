//! Why a job could not do it.

use crate::account::AccountError;
use crate::alerts::AlertsError;
use crate::ledger::LedgerError;
use crate::outbox::OutboxError;
use crate::provider::{ReadError, RefusalKind};
use crate::rating::RatingError;
use crate::sources::SourceError;
use crate::store::StoreError;

/// A job's failure: one of the rooms', or a rule's.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The alerts.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// The rating.
    #[error(transparent)]
    Rating(#[from] RatingError),
    /// The machine.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The provider, when reading.
    #[error("the billing provider: {0}")]
    Provider(#[from] ReadError),
    /// A rule forbids it.
    #[error("{what}")]
    Refused {
        /// A stable word for programs.
        code: &'static str,
        /// What is refused, and why.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl From<rusqlite::Error> for JobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl JobError {
    /// A rule's refusal.
    pub(super) fn refused(code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { code, what: what.into(), hint: hint.into() }
    }

    /// Whether the provider does not know what was asked for.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Provider(error) if error.refusal.kind == RefusalKind::Missing)
    }

    /// What to do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Provider(error) => Some(error.refusal.hint().to_owned()),
            _ => None,
        }
    }
}
