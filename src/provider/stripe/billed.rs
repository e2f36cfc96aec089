//! What invoices bill on an item at a price (rule R5).

use crate::provider::{Answer, BilledAt, ReadAnswer, ReadError};

use super::client::Client;

/// `GET /v1/invoices` and the preview of the next one.
pub(super) async fn read(_client: &Client, _billed: &BilledAt) -> ReadAnswer<i64> {
    Answer::unanswered(Err(ReadError::not_configured()))
}
