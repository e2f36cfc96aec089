use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::access::Guest;
use super::routes::App;
use super::{ApiError, Desk, exposition};

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<App>, guest: Guest) -> Result<impl IntoResponse, ApiError> {
    guest.may_use()?;
    read(&*app.desk).await
}

/// What the status says, as text. Not below `/v1/`, since it is where every scraper looks.
pub(super) async fn read(desk: &dyn Desk) -> Result<impl IntoResponse + use<>, ApiError> {
    let text = exposition::of(desk.status().await?)
        .map_err(|error| ApiError::internal(format!("the status cannot be written as metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text))
}
