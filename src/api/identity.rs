use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::void::because_is_given;
use super::{ApiError, body};
use crate::wire::{IdentityReport, IdentityRequest};

const FIELDS: [&str; 2] = ["this_vm", "because"];

/// `POST /v1/identity`.
pub(super) async fn identity(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<IdentityReport>, ApiError> {
    guest.may_command("identity")?;
    let request: IdentityRequest = body::command(&body::read(&headers, body, app.limits).await?, &FIELDS)?;
    because_is_given(&request.because)?;
    app.desk.identity(guest.caller, request).await.map(Reply)
}
