use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::usage::checked;
use super::{ApiError, body};
use crate::wire::{SyncReport, SyncRequest};

const FIELDS: [&str; 3] = ["month", "subscription_item", "commit"];

/// `POST /v1/sync`. Looking is reading; sending is commanding.
pub(super) async fn sync(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<SyncReport>, ApiError> {
    guest.may_use()?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let request: SyncRequest = if bytes.is_empty() { SyncRequest::default() } else { body::command(&bytes, &FIELDS)? };
    if request.commit {
        guest.may_command("sync --commit")?;
    }
    request.month.as_deref().map(checked).transpose()?;
    app.desk.sync(guest.caller, request).await.map(Reply)
}
