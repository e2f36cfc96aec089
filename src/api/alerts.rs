use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;

use super::access::Guest;
use super::body::unknown_field;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, audit, body};
use crate::wire::{AlertTestReport, AlertTestRequest, AlertsReport};

/// Alerts that are told where nobody says how many.
const USUALLY: u32 = 20;

/// `GET /v1/alerts?limit=N`.
pub(super) async fn alerts(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
) -> Result<Reply<AlertsReport>, ApiError> {
    guest.may_use()?;
    let most = asked(query.as_deref().unwrap_or_default())?;
    app.desk.alerts(most).await.map(Reply)
}

/// `POST /v1/alerts/test`.
pub(super) async fn test(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<AlertTestReport>, ApiError> {
    guest.may_command("alerts test")?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let AlertTestRequest {} = if bytes.is_empty() { AlertTestRequest {} } else { body::command(&bytes, &[])? };
    app.desk.test_alert(guest.caller).await.map(Reply)
}

fn asked(query: &str) -> Result<u32, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(sentence) = unknown_field(pairs.iter().map(|(name, _)| name.as_ref()), &["limit"]) {
        return Err(ApiError::bad_request("unknown_parameter", sentence.replace("field", "parameter")));
    }
    pairs.last().map_or(Ok(USUALLY), |(_, value)| audit::count(value))
}
