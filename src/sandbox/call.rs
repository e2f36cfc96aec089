//! What a handler gets: the books inside a transaction, the time, and what was asked.

use rusqlite::Connection;
use serde_json::Value;

use super::errors::ApiError;
use super::form::Form;
use super::version::Version;

/// One request on its way through a handler.
pub(super) struct Call<'a> {
    /// Inside the request's transaction.
    pub(super) books: &'a Connection,
    /// The time of the test clock that the object lives on, otherwise the sandbox's; unix seconds.
    pub(super) now: i64,
    /// The sandbox's time, unix seconds.
    pub(super) sandbox_now: i64,
    pub(super) version: &'a Version,
    pub(super) form: &'a Form,
    /// The object that the path names; empty where it names none.
    pub(super) id: &'a str,
    /// The idempotency key, where there is one.
    pub(super) key: Option<&'a str>,
}

/// Does one thing and renders the object it is about.
pub(super) type Handler = fn(&Call<'_>) -> Result<Value, ApiError>;
