//! What an account's owner chooses at Stripe: about declined payments, and the API version of events.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::books;
use super::errors::ApiError;
use super::version::{PINNED_VERSION, Version};

/// Settings of the account. Remembered in the books.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// A declined payment is tried again after so many days, each counted from the try before.
    pub retry_days: Vec<u32>,
    /// What becomes of the subscription when no try is left.
    pub when_retries_fail: WhenRetriesFail,
    /// The API version in which events are made; [`PINNED_VERSION`] where left out.
    pub api_version: Option<String>,
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

const NAME: &str = "account";

/// The settings in force.
pub(super) fn of(books: &Connection) -> Result<Account, ApiError> {
    Ok(books::recall(books, NAME)?.unwrap_or_default())
}

/// The account's API version.
pub(super) fn version(books: &Connection) -> Result<Version, ApiError> {
    Version::parse(of(books)?.api_version.as_deref().unwrap_or(PINNED_VERSION))
}

pub(super) fn set(books: &Connection, account: &Account) -> Result<(), ApiError> {
    account.api_version.as_deref().map_or(Ok(()), |version| Version::parse(version).map(drop))?;
    books::remember(books, NAME, account)
}
