use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, body};
use crate::wire::{VoidReport, VoidRequest};

const FIELDS: [&str; 4] = ["meter", "id", "source", "because"];

/// `POST /v1/void`.
pub(super) async fn void(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<VoidReport>, ApiError> {
    guest.may_command("void")?;
    let request: VoidRequest = body::command(&body::read(&headers, body, app.limits).await?, &FIELDS)?;
    because_is_given(&request.because)?;
    app.desk.void(guest.caller, request).await.map(Reply)
}

/// The audit has no use for an empty reason.
pub(super) fn because_is_given(because: &str) -> Result<(), ApiError> {
    if because.trim().is_empty() {
        return Err(ApiError::bad_request("no_reason", "`because` is empty")
            .hint("say in a few words why; it is kept in the audit"));
    }
    Ok(())
}
