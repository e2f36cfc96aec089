use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::void::because_is_given;
use super::{ApiError, body};
use crate::wire::{PrepareImageReport, PrepareImageRequest};

const FIELDS: [&str; 1] = ["because"];

/// `POST /v1/prepare-image`.
pub(super) async fn prepare_image(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<PrepareImageReport>, ApiError> {
    guest.may_command("prepare-image")?;
    let request: PrepareImageRequest = body::command(&body::read(&headers, body, app.limits).await?, &FIELDS)?;
    request.because.as_deref().map_or(Ok(()), because_is_given)?;
    app.desk.prepare_image(guest.caller, request).await.map(Reply)
}
