use axum::extract::State;

use super::ApiError;
use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use crate::wire::Status;

/// `GET /v1/status`.
pub(super) async fn status(State(app): State<App>, guest: Guest) -> Result<Reply<Status>, ApiError> {
    guest.may_use()?;
    app.desk.status().await.map(Reply)
}
