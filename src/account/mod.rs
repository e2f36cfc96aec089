//! Who is billed: customer, subscription, plan and items in force on this VM, with their history (rule R1).
//!
//! Owns: the tables `link`, `item`, `subscription`, `customer`, `invoice` and `event`, and this ledger's machine identity
//! (rule S11). After a crash: a link is there with all its items, or not at all. Does not know: what was used, or what stands at the provider.

mod customer;
mod events;
mod identity;
mod invoices;
mod items;
mod links;
mod lost;
mod subscription;

pub use customer::{customer, note_customer};
pub use events::{PendingEvent, event_done, pending_events, prune_events, take_event};
pub use identity::{Identity, accept_identity, identity_since, judge_identity};
pub use invoices::{invoice, invoices_of, note_invoice};
pub use items::{Item, items_of};
pub use links::{Link, NewLink, all, begin, end, follows_items, in_force, in_force_since, is_single_writer, latest};
pub use lost::{lost_links, make_good};
pub use subscription::{Subscription, last_read, note_read};

use crate::model::NameError;
use crate::store::StoreError;

/// Why account data could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored name that is none.
    #[error("usage.db holds account data that cannot be read: {0}")]
    Name(#[from] NameError),
    /// A stored price that is none.
    #[error("usage.db holds a price that cannot be read: {0:?}")]
    Price(String),
    /// A stored channel that is none.
    #[error("usage.db holds a channel that cannot be read: {0:?}")]
    Channel(String),
}

impl From<rusqlite::Error> for AccountError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
