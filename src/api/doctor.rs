use axum::extract::State;

use super::ApiError;
use super::access::Guest;
use super::reply::Reply;
use super::routes::App;
use crate::wire::DoctorReport;

/// `GET /v1/doctor`.
pub(super) async fn doctor(State(app): State<App>, guest: Guest) -> Result<Reply<DoctorReport>, ApiError> {
    guest.may_use()?;
    app.desk.doctor().await.map(Reply)
}
