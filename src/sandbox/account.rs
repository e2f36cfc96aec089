//! What an account's owner chooses at Stripe, and what Stripe leaves open.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::books;
use super::errors::ApiError;

/// Settings of the account. Remembered in the books.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// A declined payment is tried again after so many days, each counted from the try before.
    pub retry_days: Vec<u32>,
    /// What becomes of the subscription when no try is left.
    pub when_retries_fail: WhenRetriesFail,
    /// Whether an anchor that is set to now bills the usage of the period that it cuts short. Not settled about Stripe.
    pub usage_at_reset: UsageAtReset,
}

/// See [`Account::when_retries_fail`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRetriesFail {
    /// It stays as it is and goes on being invoiced.
    #[default]
    PastDue,
    /// Its invoices are made and stay drafts.
    Unpaid,
    /// It ends.
    Canceled,
}

/// See [`Account::usage_at_reset`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageAtReset {
    /// On the invoice that the reset makes.
    #[default]
    Billed,
    /// Nowhere.
    Dropped,
}

const NAME: &str = "account";

/// The settings in force.
pub(super) fn of(books: &Connection) -> Result<Account, ApiError> {
    Ok(books::recall(books, NAME)?.unwrap_or_default())
}

pub(super) fn set(books: &Connection, account: &Account) -> Result<(), ApiError> {
    books::remember(books, NAME, account)
}
