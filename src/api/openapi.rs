use axum::http::header;
use axum::response::IntoResponse;

use super::ApiError;
use super::access::Guest;

const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /v1/openapi.json`.
pub(super) async fn openapi(guest: Guest) -> Result<impl IntoResponse, ApiError> {
    guest.may_use()?;
    Ok(([(header::CONTENT_TYPE, "application/json")], DOCUMENT))
}
