use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, body};
use crate::wire::{DrainReport, DrainRequest};

/// `POST /v1/drain`.
pub(super) async fn drain(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<DrainReport>, ApiError> {
    guest.may_command("drain")?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let DrainRequest {} = if bytes.is_empty() { DrainRequest {} } else { body::command(&bytes, &[])? };
    app.desk.drain(guest.caller).await.map(Reply)
}
