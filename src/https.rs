//! How this program speaks HTTP to others: the system's CA certificates and proxy, no redirects, no repetitions.

use std::error::Error;
use std::time::Duration;

use reqwest::redirect;

const USER_AGENT: &str = concat!("usaged/", env!("CARGO_PKG_VERSION"));

/// Builds a client. `plain` is for loopback addresses only: no proxy sees what goes there, and no CA certificates are
/// held in memory.
pub(crate) fn client(timeout: Duration, plain: bool) -> Result<reqwest::Client, String> {
    // Fails only if a provider is installed already, and any will do.
    let _already_installed = rustls::crypto::ring::default_provider().install_default().is_err();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .timeout(timeout)
        // Earlier than the whole, so that a connection that never came about is told from a lost answer.
        .connect_timeout(timeout / 2)
        // A redirect would carry a secret somewhere else.
        .redirect(redirect::Policy::none())
        // Whether to send again is the caller's decision.
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(30));
    if plain {
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(|error| innermost(&error))
}

/// The cause at the bottom of the chain. The layers above repeat each other, and the topmost names the whole URL.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be made".to_owned(),
        None => cause.to_string(),
    }
}
