use axum::extract::{RawQuery, State};

use super::access::Guest;
use super::body::unknown_field;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, usage};
use crate::wire::{ExplainReport, ExplainRequest};

/// `GET /v1/explain?month=YYYY-MM&meter=NAME`.
pub(super) async fn explain(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
) -> Result<Reply<ExplainReport>, ApiError> {
    guest.may_use()?;
    let request = asked(query.as_deref().unwrap_or_default())?;
    app.desk.explain(request).await.map(Reply)
}

fn asked(query: &str) -> Result<ExplainRequest, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(sentence) = unknown_field(pairs.iter().map(|(name, _)| name.as_ref()), &["month", "meter"]) {
        return Err(ApiError::bad_request("unknown_parameter", sentence.replace("field", "parameter")));
    }
    let last = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
    let month = last("month").map(usage::checked).transpose()?;
    Ok(ExplainRequest { month, meter: last("meter").map(str::to_owned) })
}
