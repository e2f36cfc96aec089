use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};

use super::ApiError;

/// A request that names this machine by a loopback name or address. A page in a browser here can have its own name
/// resolve to 127.0.0.1 and so read what answers there; but its requests still carry that name.
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

/// With or without a port.
fn is_loopback(host: &str) -> bool {
    // Before an @ would stand a user's name, which no scraper sends.
    let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_addresses_are_taken_for_this_machine() {
        for host in ["localhost", "LocalHost:9477", "127.0.0.1", "127.0.0.1:9477", "127.8.9.1:1", "[::1]", "[::1]:9477"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "usaged",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:9477",
            "10.0.0.1:9477",
            "0.0.0.0",
            "[::]:9477",
            "[::ffff:10.0.0.1]:1",
            "localhost@evil.example",
            "evil.example@localhost",
            "2130706433",
            "0x7f.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
