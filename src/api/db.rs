use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, body};
use crate::wire::{DbBackupReport, DbBackupRequest, DbCheckReport, DbCheckRequest, DbRecoverReport, DbRecoverRequest};

/// `POST /v1/db/check`.
pub(super) async fn check(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<DbCheckReport>, ApiError> {
    guest.may_command("db check")?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let request = if bytes.is_empty() { DbCheckRequest::default() } else { body::command(&bytes, &["full"])? };
    app.desk.db_check(guest.caller, request).await.map(Reply)
}

/// `POST /v1/db/backup`.
pub(super) async fn backup(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<DbBackupReport>, ApiError> {
    guest.may_command("db backup")?;
    let request: DbBackupRequest = body::command(&body::read(&headers, body, app.limits).await?, &["path"])?;
    app.desk.db_backup(guest.caller, request).await.map(Reply)
}

/// `POST /v1/db/recover`.
pub(super) async fn recover(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<DbRecoverReport>, ApiError> {
    guest.may_command("db recover")?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let DbRecoverRequest {} = if bytes.is_empty() { DbRecoverRequest {} } else { body::command(&bytes, &[])? };
    app.desk.db_recover(guest.caller).await.map(Reply)
}
