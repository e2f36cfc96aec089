//! What can go wrong in the ledger.

use crate::model::{MeterName, SourceName, Span};
use crate::store::StoreError;

/// Why the ledger did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The database did not take or give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A meter's unit is not the one its data was recorded in.
    #[error(
        "meter {meter} has data in units of {stored}, and is now configured in units of {configured}\nhint: give the new unit a meter of its own name, or set back unit under [meters.{meter}]"
    )]
    UnitChanged {
        /// Which.
        meter: MeterName,
        /// As `3600 seconds`.
        stored: String,
        /// As `60 seconds`.
        configured: String,
    },
    /// A stretch that no usage can be of.
    #[error(
        "usage.db holds usage from {} to {}, and no machine runs that long\nhint: a row was spoiled; usagectl db check, and usagectl db recover",
        .span.from, .span.to
    )]
    Impossible {
        /// Of what.
        span: Span,
    },
    /// No such meter.
    #[error(
        "there is no meter {meter} in usage.db\nhint: configure it under [meters.{meter}] and restart or reload usaged"
    )]
    NoMeter {
        /// Which.
        meter: MeterName,
    },
    /// No such credit.
    #[error(
        "there is no record {id:?} of source {source_name} on meter {meter}\nhint: ids belong to the source that recorded them, name it with --source; records older than they are kept cannot be taken back"
    )]
    NoCredit {
        /// On which meter.
        meter: MeterName,
        /// Who recorded it.
        source_name: SourceName,
        /// Its id.
        id: String,
    },
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
