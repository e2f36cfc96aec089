//! What is not settled about Stripe, or is an account's own setting: chosen here, and remembered by the books.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::books;
use super::errors::ApiError;

/// The name under which the books remember it.
const NAME: &str = "behaviour";
/// The longest time for which an account may let its drafts stand, seconds.
/// <https://docs.stripe.com/billing/subscriptions/usage-based/configure-grace-period>
const GRACE_MAX: i64 = 72 * 3_600;

/// How the sandbox reads what Stripe leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Which event a meter with the formula `last` means.
    pub last: Newest,
    /// Which event of one hour or day a meter with an `event_time_window` means.
    pub window: Newest,
    /// What becomes of the usage so far where an item is given another metered price.
    pub swapped: SwappedUsage,
    /// What becomes of the usage so far where a metered item is taken off.
    pub removed: RemovedUsage,
    /// Which usage an item on a meter is billed for that was put on within a period.
    pub added: AddedUsage,
    /// What becomes of the usage of a period that an anchor set to now cuts short.
    pub reset: ResetUsage,
    /// So many seconds pass before summaries and previews see an event, or that it was cancelled. Invoices see all.
    pub summary_lag_s: i64,
    /// So many seconds a draft invoice waits, and takes meter events of the period that ended. 72 hours at most.
    pub draft_grace_s: i64,
    /// Whether events below zero are accepted.
    pub negative_values: bool,
    /// Whether events with decimal places are accepted.
    pub decimal_values: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            last: Newest::Timestamp,
            window: Newest::Arrival,
            swapped: SwappedUsage::AtNewPrice,
            removed: RemovedUsage::Dropped,
            added: AddedUsage::SinceAdded,
            reset: ResetUsage::Billed,
            summary_lag_s: 0,
            draft_grace_s: 3_600,
            negative_values: true,
            decimal_values: false,
        }
    }
}

/// Which of several events is the newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Newest {
    /// That with the highest timestamp; of equal ones that which arrived last.
    Timestamp,
    /// That which arrived last.
    Arrival,
}

/// What becomes of usage before its item was given another price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwappedUsage {
    /// It stays, and is billed at the price of the period's end.
    AtNewPrice,
    /// It is billed at the old price, on the next invoice; the item starts anew. Documented for the flexible mode.
    AtOldPrice,
    /// It is never billed; the item starts anew. Documented for meters in the classic mode.
    Dropped,
}

/// What becomes of usage of an item that is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovedUsage {
    /// It is never billed. Where it is usage records, it has to be given up in so many words. Documented for the
    /// classic mode.
    Dropped,
    /// It is billed on the next invoice, unless it is given up. Documented for the flexible mode.
    Billed,
}

/// Which events of the period bill an item that was put on a subscription within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddedUsage {
    /// Those since it was put on, as is documented.
    SinceAdded,
    /// All of the period.
    WholePeriod,
}

/// What becomes of the usage of a period that ends early by a new anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetUsage {
    /// It is billed on the invoice that the reset makes.
    Billed,
    /// It is never billed.
    Dropped,
}

/// What is in force.
pub(super) fn of(books: &Connection) -> Result<Behaviour, ApiError> {
    Ok(books::recall(books, NAME)?.unwrap_or_default())
}

/// Puts another in force.
pub(super) fn choose(books: &Connection, behaviour: Behaviour) -> Result<(), ApiError> {
    if behaviour.summary_lag_s < 0 {
        return Err(ApiError::malformed("summary_lag_s is a number of seconds, zero or more"));
    }
    if !(0..=GRACE_MAX).contains(&behaviour.draft_grace_s) {
        return Err(ApiError::malformed(format!("draft_grace_s is a number of seconds from 0 to {GRACE_MAX}")));
    }
    books::remember(books, NAME, &behaviour)
}
