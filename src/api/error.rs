use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::reply::Reply;
use crate::wire::ErrorBody;

/// An answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .body.error)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the caller reads.
    pub body: ErrorBody,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<u32>,
}

impl ApiError {
    /// An error with a status, a stable word for programs and one sentence for people.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, error: impl Into<String>) -> Self {
        let body = ErrorBody { code: code.to_owned(), error: error.into(), hint: None };
        Self { status, body, retry_after_s: None }
    }

    /// 400: the request itself is wrong.
    #[must_use]
    pub fn bad_request(code: &str, error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, error)
    }

    /// 403: this caller may not.
    #[must_use]
    pub fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", error)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(code: &str, error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, error)
    }

    /// 409: understood, and refused by a rule. `usagectl` exits 4.
    #[must_use]
    pub fn refused(code: &str, error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, error)
    }

    /// 413: more than is taken at once.
    #[must_use]
    pub fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    }

    /// 500: our own fault.
    #[must_use]
    pub fn internal(error: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
    }

    /// 502: the billing provider did not answer, or not usably.
    #[must_use]
    pub fn provider(code: &str, error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, error)
    }

    /// 503: nothing was stored, and the same request may work later. Always tells the caller when.
    #[must_use]
    pub fn busy(error: impl Into<String>, retry_after_s: u32) -> Self {
        let mut busy = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error);
        busy.retry_after_s = Some(retry_after_s);
        busy
    }

    /// 503: nothing was stored, since the ledger's file is damaged; the same request may work later.
    #[must_use]
    pub fn damaged(code: &str, error: impl Into<String>, retry_after_s: u32) -> Self {
        let mut damaged = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error);
        damaged.retry_after_s = Some(retry_after_s);
        damaged
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), code = %self.body.code, "answered: {}", self.body.error);
        }
        let retry_after = self.retry_after_s.map(HeaderValue::from);
        let mut response = (self.status, Reply(self.body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
