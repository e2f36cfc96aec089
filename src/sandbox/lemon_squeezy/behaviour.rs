//! What is not settled about Lemon Squeezy: chosen here, and remembered by the books.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::super::books;
use super::errors::ApiError;

/// The name under which the books remember it.
const NAME: &str = "behaviour";

/// How the sandbox reads what Lemon Squeezy leaves open. By default as its documents say, where they say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Whether a quantity of 0 is taken. Documented is "a positive integer".
    pub zero: Zero,
    /// What `set` does where the price adds up. Documented is that it sets the period's quantity, and beside that that
    /// it should not be used there.
    pub set_on_sum: SetOnSum,
    /// What becomes of the usage of a cancelled subscription's last period.
    pub last_usage: LastUsage,
    /// So many seconds after its connection was cut before the work, a usage record is carried out after all; never
    /// where 0. The clock's seconds: it may arrive in another period.
    pub straggles_after_s: i64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            zero: Zero::Refused,
            set_on_sum: SetOnSum::Overwrites,
            last_usage: LastUsage::Dropped,
            straggles_after_s: 0,
        }
    }
}

/// What becomes of a quantity of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zero {
    /// It is a quantity as any other.
    Accepted,
    /// 422.
    Refused,
}

/// What `set` does on an item whose price has the aggregation `sum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetOnSum {
    /// What was recorded before in the period counts no more.
    Overwrites,
    /// It is one more record that is added up.
    Adds,
    /// 422.
    Refused,
}

/// What becomes of the usage of the period that a cancelled subscription ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastUsage {
    /// It is billed at the end.
    Billed,
    /// It is never billed: cancelling cancels future payments.
    Dropped,
}

/// What is in force.
pub(super) fn of(books: &Connection) -> Result<Behaviour, ApiError> {
    Ok(books::recall(books, NAME)?.unwrap_or_default())
}

/// Puts another in force.
pub(super) fn choose(books: &Connection, behaviour: Behaviour) -> Result<(), ApiError> {
    if behaviour.straggles_after_s < 0 {
        return Err(ApiError::order("straggles_after_s is a number of seconds, zero or more"));
    }
    Ok(books::remember(books, NAME, &behaviour)?)
}
