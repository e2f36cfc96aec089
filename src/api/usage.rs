use axum::extract::{RawQuery, State};

use super::ApiError;
use super::access::Guest;
use super::body::unknown_field;
use super::reply::Reply;
use super::routes::App;
use crate::wire::{UsageReport, is_month};

/// `GET /v1/usage?month=YYYY-MM`.
pub(super) async fn usage(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
) -> Result<Reply<UsageReport>, ApiError> {
    guest.may_use()?;
    let month = month(query.as_deref().unwrap_or_default())?;
    app.desk.usage(month).await.map(Reply)
}

fn month(query: &str) -> Result<Option<String>, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(sentence) = unknown_field(pairs.iter().map(|(name, _)| name.as_ref()), &["month"]) {
        return Err(ApiError::bad_request("unknown_parameter", sentence.replace("field", "parameter")));
    }
    pairs.last().map(|(_, month)| checked(month)).transpose()
}

/// A month as requests give it, or a sentence about what one looks like.
pub(super) fn checked(month: &str) -> Result<String, ApiError> {
    if is_month(month) {
        return Ok(month.to_owned());
    }
    let shown: String = month.chars().take(40).collect();
    Err(ApiError::bad_request("bad_month", format!("{shown:?} is not a month")).hint("write it as 2026-11"))
}
