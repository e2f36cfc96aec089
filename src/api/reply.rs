use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiError;

/// A 200 with JSON, ended by a newline, so that a shell prompt does not follow on the same line.
pub(super) struct Reply<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut json) => {
                json.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], json).into_response()
            }
            Err(error) => ApiError::internal(format!("the answer cannot be written as JSON: {error}")).into_response(),
        }
    }
}
