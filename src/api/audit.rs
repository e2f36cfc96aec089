use axum::extract::{RawQuery, State};

use super::access::Guest;
use super::body::unknown_field;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, usage};
use crate::model::Timestamp;
use crate::wire::{AuditReport, AuditVerifyReport};

/// Lines that are told where nobody says how many.
const USUALLY: u32 = 100;
/// More are not told at once.
const MOST: u32 = 10_000;

/// `GET /v1/audit?since=TIME&limit=N`.
pub(super) async fn audit(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
) -> Result<Reply<AuditReport>, ApiError> {
    guest.may_use()?;
    let (since, limit) = asked(query.as_deref().unwrap_or_default())?;
    app.desk.audit(since, limit).await.map(Reply)
}

/// `GET /v1/audit/verify`.
pub(super) async fn verify(State(app): State<App>, guest: Guest) -> Result<Reply<AuditVerifyReport>, ApiError> {
    guest.may_use()?;
    app.desk.audit_verify().await.map(Reply)
}

fn asked(query: &str) -> Result<(Option<Timestamp>, u32), ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(sentence) = unknown_field(pairs.iter().map(|(name, _)| name.as_ref()), &["since", "limit"]) {
        return Err(ApiError::bad_request("unknown_parameter", sentence.replace("field", "parameter")));
    }
    let last = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
    let since = last("since").map(|text| usage::moment("since", text)).transpose()?;
    let limit = last("limit").map(count).transpose()?;
    Ok((since, limit.unwrap_or(USUALLY)))
}

pub(super) fn count(text: &str) -> Result<u32, ApiError> {
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        ApiError::bad_request("bad_limit", format!("limit: {shown:?} is not a number from 1 to {MOST}"))
    })
}
