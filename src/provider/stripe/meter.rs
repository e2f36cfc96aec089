//! Reading a meter.

use crate::model::BillingMeterId;
use crate::provider::{Answer, MeterView, ReadAnswer, ReadError};

use super::client::Client;

/// `GET /v1/billing/meters/{id}`.
pub(super) async fn read(_client: &Client, _id: &BillingMeterId) -> ReadAnswer<MeterView> {
    Answer::unanswered(Err(ReadError::not_configured()))
}
