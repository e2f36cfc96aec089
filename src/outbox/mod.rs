//! Durable intent to send: per item and period the total that should stand at the provider, and what is known to stand.
//!
//! Owns: the tables `generation`, `usage_record`, `segment`, `day_share`, `delivery`, `carry`, `credit_due`, `unseen`;
//! rules S1 to S9, S12, R5 to R7.
//! After a crash: a request that may have left is found as `sending`, with its key, and is sent again under that key.
//! Does not know: why a total is what it is, or how a provider is spoken to.

mod backoff;
mod books;
mod carry;
mod carry_moves;
mod claim;
mod closing;
mod cut;
mod day_share;
mod deadline;
mod delivery;
mod event_time;
mod evidence;
mod export;
mod generation;
mod hold;
mod lost;
mod record;
mod segment;
mod settle;
mod standing;
#[cfg(test)]
pub(crate) mod testing;
mod unseen;

pub use backoff::retry_delay;
pub use books::{Imbalance, imbalances};
pub use carry::{
    Carried, CarryMove, carried_in, carried_out, credit_due, follows_unsettled, moves_of, settle_closed,
    waiting_carries,
};
pub use claim::{At, Claim, claim};
pub use closing::{Closing, close_by_answers, note_close_read};
pub use cut::{cut_short, end_unbilled};
pub use day_share::save_days;
pub use deadline::Limits;
pub use delivery::{Delivery, DeliveryState, last_accepted_at, last_sent, newest_of, settled_since};
pub use evidence::{SinceNoted, caused, closed_lately, lags, note_closed_read, since_noted};
pub use export::{Sent, deliveries, deliveries_in};
pub use generation::{Break, Generation, draw};
pub use hold::{Held, hold, is_of_a_change, take_over};
pub use lost::{all, make_good, rated_at, remember, takes_a_lost_place};
pub use record::{
    Falls, NewRecord, Rated, RecordState, UsageRecord, by_id, closed_since, end_period, ensure, known_standing,
    save_rating, timestamp_s, unfinished,
};
pub use segment::{
    GoesOn, Segment, bill_together, billed_before, close_segment, closed_segments, earlier_items, go_on, is_continued,
    sum_segments,
};
pub use settle::{After, Fate, Told, postpone, settle};
pub use standing::{
    ReadVerdict, Reader, Stands, is_answered, is_quiet, may_change, most_standing, note_first_read, note_read,
    read_again,
};
pub use unseen::{Unseen, forget_unseen, note_unseen, unseen};

use crate::model::NameError;
use crate::store::StoreError;

/// Why the outbox could not do it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored name that is none.
    #[error("usage.db holds a usage record that cannot be read: {0}")]
    Name(#[from] NameError),
    /// A stored word that is none.
    #[error("usage.db holds a usage record that cannot be read: {what} {value:?}")]
    Word {
        /// Which column.
        what: &'static str,
        /// What stands there.
        value: String,
    },
    /// No such row.
    #[error("usage record {0} is not in usage.db")]
    NoSuchRecord(i64),
    /// A move that no state allows.
    #[error("a delivery cannot go from {from} to {to}")]
    IllegalMove {
        /// State it is in.
        from: &'static str,
        /// Asked for.
        to: &'static str,
    },
}

impl From<rusqlite::Error> for OutboxError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
