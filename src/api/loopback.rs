use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};

use super::ApiError;
use crate::host::is_loopback;

/// A request that names this machine by a loopback name or address.
#[derive(Debug)]
pub(super) struct ToLoopback;

impl<S: Sync> FromRequestParts<S> for ToLoopback {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let named = hosts.next().and_then(|host| host.to_str().ok());
        let in_path = parts.uri.authority().map(Authority::as_str);
        if hosts.next().is_none() && named.is_some_and(is_loopback) && in_path.is_none_or(is_loopback) {
            return Ok(Self);
        }
        let error = "the Host header does not name a loopback address; nothing else is answered here";
        Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_host", error)
            .hint("ask for http://127.0.0.1:PORT/metrics, or localhost"))
    }
}
