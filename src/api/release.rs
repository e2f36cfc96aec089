use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::void::because_is_given;
use super::{ApiError, body};
use crate::wire::{ReleaseReport, ReleaseRequest};

const FIELDS: [&str; 3] = ["item", "adopt", "because"];

/// `POST /v1/release`.
pub(super) async fn release(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<ReleaseReport>, ApiError> {
    guest.may_command("release")?;
    let request: ReleaseRequest = body::command(&body::read(&headers, body, app.limits).await?, &FIELDS)?;
    because_is_given(&request.because)?;
    app.desk.release(guest.caller, request).await.map(Reply)
}
