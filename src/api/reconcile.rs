use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, body};
use crate::wire::{ReconcileReport, ReconcileRequest};

const FIELDS: [&str; 1] = ["item"];

/// `POST /v1/reconcile`. It sends nothing, but what it reads may hold an item, so it is a command.
pub(super) async fn reconcile(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<ReconcileReport>, ApiError> {
    guest.may_command("reconcile")?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let request = if bytes.is_empty() { ReconcileRequest::default() } else { body::command(&bytes, &FIELDS)? };
    app.desk.reconcile(guest.caller, request).await.map(Reply)
}
