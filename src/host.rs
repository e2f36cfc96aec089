//! What a `Host` header names.

use std::net::IpAddr;

use axum::http::uri::Authority;

/// Whether it is this machine, with or without a port. A page in a browser here can have its own name resolve to 127.0.0.1
/// and so read what answers there; but its requests still carry that name.
pub(crate) fn is_loopback(host: &str) -> bool {
    // Before an @ would stand a user's name, which neither scraper nor browser sends.
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
