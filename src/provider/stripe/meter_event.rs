//! Sending meter events, and reading what they come to.

use crate::model::{BillingMeter, CustomerId};
use crate::provider::{Answer, Outcome, ReadAnswer, ReadError, Refusal, SetUsage, Standing, Window};

use super::client::Client;

/// `POST /v1/billing/meter_events`.
pub(super) async fn send(_client: &Client, _meter: &BillingMeter, _set: &SetUsage) -> Answer<Outcome> {
    Answer::unanswered(Outcome::Refused(Refusal::not_configured()))
}

/// `GET /v1/billing/meters/{id}/event_summaries`.
pub(super) async fn read_standing(
    _client: &Client,
    _meter: &BillingMeter,
    _customer: &CustomerId,
    _window: Window,
) -> ReadAnswer<Standing> {
    Answer::unanswered(Err(ReadError::not_configured()))
}
