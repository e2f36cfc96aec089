//! Where the API is, and whether a key may be sent there.

use std::net::IpAddr;

use reqwest::Url;

use crate::provider::ProviderError;

/// A checked base address.
#[derive(Debug)]
pub(super) struct Endpoint {
    base: String,
    host: String,
    plain: bool,
}

impl Endpoint {
    /// Takes https to anywhere and plain http to this machine; nothing that carries a secret or a query of its own.
    pub(super) fn check(base_url: &str) -> Result<Self, ProviderError> {
        let unusable = |why| ProviderError::BaseUrl { why };
        let url = Url::parse(base_url).map_err(|_| unusable("it is not an absolute address"))?;
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(unusable("it is neither https nor http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unusable("it holds a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unusable("it holds a query or a fragment"));
        }
        let name = url.host_str().ok_or_else(|| unusable("it names no host"))?;
        if plain && !is_loopback(name) {
            return Err(ProviderError::PlainHttp { host: name.to_owned() });
        }
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), host, plain })
    }

    /// The address of a path, as `/v1/subscriptions/sub_1`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Host and port, for messages.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Plain http, and so a loopback address.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_base_with_one_slash() {
        for (base, url) in [
            ("https://api.stripe.com", "https://api.stripe.com/v1/x"),
            ("https://api.stripe.com/", "https://api.stripe.com/v1/x"),
            ("https://gateway.example/stripe/", "https://gateway.example/stripe/v1/x"),
            ("http://127.0.0.1:4242", "http://127.0.0.1:4242/v1/x"),
        ] {
            assert_eq!(Endpoint::check(base).unwrap().url("/v1/x"), url);
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for base in ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:8080", "http://localhost:1"] {
            assert!(Endpoint::check(base).is_ok_and(|endpoint| endpoint.is_plain()), "{base}");
        }
        for base in [
            "http://api.stripe.com",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://[::2]",
            "http://127.0.0.1.nip.io",
        ] {
            let error = Endpoint::check(base).unwrap_err();
            assert!(matches!(error, ProviderError::PlainHttp { .. }), "{base}: {error}");
            assert!(error.to_string().contains("hint: use https"), "{error}");
        }
    }

    #[test]
    fn an_address_with_secrets_is_refused_without_repeating_them() {
        for base in
            ["https://zebra:zebra@h", "https://h/?token=zebra", "https://h/#zebra", "zebra", "ftp://zebra/", "https://"]
        {
            let error = Endpoint::check(base).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("zebra"), "{error}");
        }
    }
}
