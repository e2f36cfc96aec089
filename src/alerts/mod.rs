//! Who is told of what needs someone: alerts fire once, clear, and may fire again.
//!
//! Owns: the tables `alert` and `alert_message`; when an alert begins and ends, and the ways on which it goes out.
//! After a crash: an alert is stored with the messages it owes before any leaves, so that each is told at least once,
//! under the same id. Does not know: what is wrong with what, or when to look.

mod book;
mod command;
mod message;
mod moves;
mod post;
mod rules;
mod signature;

pub use book::{Alert, NewAlert, clear, fire, forget, is_standing, recent, standing};
pub use command::{Hook, Words, run};
pub use message::{Failing, Message, due, failing, give_up, next_due, of_alert, put_off, told};
pub use moves::{Moves, Wanted, moves};
pub use post::Web;
pub use rules::{Budget, is_beyond, is_silent, is_unreliable, reached};
pub use signature::sign;

use crate::store::StoreError;

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored word that is none.
    #[error("usage.db holds an alert that cannot be read: {what} {value:?}")]
    Word {
        /// Which column.
        what: &'static str,
        /// What stands there.
        value: String,
    },
}

impl From<rusqlite::Error> for AlertsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
