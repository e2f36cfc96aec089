use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, body};
use crate::wire::{LinkReport, LinkRequest};

const FIELDS: [&str; 9] =
    ["customer", "subscription", "plan", "from", "items", "on_top", "from_next_period", "single_writer", "shared"];

/// `POST /v1/link`.
pub(super) async fn link(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<LinkReport>, ApiError> {
    guest.may_command("link")?;
    let request: LinkRequest = body::command(&body::read(&headers, body, app.limits).await?, &FIELDS)?;
    if request.single_writer && request.shared {
        return Err(ApiError::bad_request("contradiction", "single_writer and shared exclude each other"));
    }
    if request.on_top && request.from_next_period {
        return Err(ApiError::bad_request("contradiction", "on_top and from_next_period exclude each other"));
    }
    app.desk.link(guest.caller, request).await.map(Reply)
}
