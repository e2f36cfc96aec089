//! One HTTPS client, one idle connection, and what became of each request on the wire.

use std::error::Error;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, redirect};

use crate::provider::ProviderError;

use super::endpoint::Endpoint;
use super::head::Head;
use super::key::Key;

/// The last version with usage records; `2025-03-31.basil` removed them.
/// <https://docs.stripe.com/changelog/basil/2025-03-31/deprecate-legacy-usage-based-billing>
pub(super) const ACACIA: &str = "2025-02-24.acacia";

/// The newest version that this client was written against; with it meters know `last`.
/// <https://docs.stripe.com/changelog>
pub(super) const NEWEST: &str = "2026-10-28.endive";

/// A subscription with its items is some ten KiB; what is longer is not the provider's answer.
const BODY_BYTES_MAX: usize = 1024 * 1024;

const USER_AGENT: &str = concat!("usaged/", env!("CARGO_PKG_VERSION"));

/// Speaks to one account.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    key: Key,
    version: &'static str,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Exchange {
    /// No connection came about, so the request never left.
    NotSent(String),
    /// It may have left, and no answer arrived.
    Lost(String),
    /// An answer arrived, at least its head.
    Answered(Response),
}

/// An answer off the wire.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: Head,
    /// The body, or why there is none, as the end of a sentence.
    pub(super) body: Result<Vec<u8>, String>,
}

impl Client {
    pub(super) fn new(
        endpoint: Endpoint,
        key: Key,
        version: &'static str,
        timeout: Duration,
    ) -> Result<Self, ProviderError> {
        // Fails only if a provider is installed already, and any will do.
        let _already_installed = rustls::crypto::ring::default_provider().install_default().is_err();
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .timeout(timeout)
            // Earlier than the whole, so that a connection that never came about is told from a lost answer.
            .connect_timeout(timeout / 2)
            // A redirect would carry the key somewhere else.
            .redirect(redirect::Policy::none())
            // Whether to send again is the outbox's decision.
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30));
        if endpoint.is_plain() {
            // Loopback: no proxy may see the key in the clear, and no CA certificates need to be held in memory.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| ProviderError::Tls { why: innermost(&error) })?;
        Ok(Self { http, endpoint, key, version })
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether it speaks a version from before `2025-03-31.basil`, which changed previews, invoice lines and more.
    pub(super) fn is_before_basil(&self) -> bool {
        self.version == ACACIA
    }

    /// Host and port, for messages.
    pub(super) fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// Reads. `path` is made of ids, which hold no character with a meaning in a URL.
    pub(super) async fn get(&self, path: &str) -> Exchange {
        self.send(self.http.get(self.endpoint.url(path))).await
    }

    /// Reads, with a query.
    pub(super) async fn get_with(&self, path: &str, query: &[(&str, &str)]) -> Exchange {
        self.get(&format!("{path}?{}", encoded(query))).await
    }

    /// Reads by a POST that changes nothing. It takes no idempotency key: under one, an old answer would come again.
    pub(super) async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Exchange {
        self.send(with_form(self.http.post(self.endpoint.url(path)), form)).await
    }

    /// Changes something, under a key that is on disk already (rule S2).
    pub(super) async fn post(&self, path: &str, form: &[(&str, &str)], idempotency_key: &str) -> Exchange {
        let request = self.http.post(self.endpoint.url(path)).header("Idempotency-Key", idempotency_key);
        self.send(with_form(request, form)).await
    }

    async fn send(&self, request: RequestBuilder) -> Exchange {
        let request = request.bearer_auth(self.key.expose()).header("Stripe-Version", self.version);
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let head = Head::read(response.headers());
                let body = read_body(response).await.map(|body| self.key.redact(body));
                Exchange::Answered(Response { status, head, body })
            }
            Err(error) if error.is_connect() || error.is_builder() => Exchange::NotSent(innermost(&error)),
            Err(error) if error.is_timeout() => Exchange::Lost("it took too long".to_owned()),
            Err(error) => Exchange::Lost(innermost(&error)),
        }
    }
}

fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(form))
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX => {
                return Err("its body is longer than 1 MiB".to_owned());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) if error.is_timeout() => return Err("its body took too long".to_owned()),
            Err(error) => return Err(format!("its body was cut off: {}", innermost(&error))),
        }
    }
}

/// The cause at the bottom of the chain. The layers above repeat each other, and the topmost names the whole URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be made".to_owned(),
        None => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;
    use std::sync::Arc;
    use std::thread::JoinHandle;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::super::test_server::{Act, TestServer, config, json, usage_records};
    use super::*;
    use crate::provider::{Outcome, Provider, RefusalKind, SetUsage};

    fn set() -> SetUsage {
        SetUsage {
            to: usage_records("si_1"),
            quantity: 1,
            timestamp_s: 1,
            idempotency_key: "k".to_owned(),
            identifier: "k".to_owned(),
        }
    }

    /// An address where nobody listens: it was ours a moment ago.
    fn closed_port() -> String {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_connection_that_was_never_made_means_not_done() {
        let address = closed_port();
        let provider = Provider::new(&config(&format!("http://{address}"), Duration::from_mins(1))).unwrap();
        let answer = provider.set_usage(&set()).await;
        let Outcome::Unavailable { why, .. } = answer.value else { panic!("{answer:?}") };
        assert_eq!((why.kind, why.status), (RefusalKind::Network, None));
        assert!(
            why.message.starts_with(&format!("{address} cannot be reached: Connection refused")),
            "{}",
            why.message
        );
    }

    #[tokio::test]
    async fn a_slow_answer_means_perhaps_done() {
        let server = TestServer::play(vec![Act::Stall]);
        let answer = server.impatient_provider(Duration::from_millis(200)).set_usage(&set()).await;
        let Outcome::Unknown { needs_new_key: false, why, .. } = answer.value else { panic!("{answer:?}") };
        assert_eq!(why.kind, RefusalKind::Network);
        assert!(why.message.ends_with("it took too long"), "{}", why.message);
    }

    /// A second connection would find nobody there, and be told from the first by that.
    #[tokio::test]
    async fn a_lost_answer_is_not_asked_for_again_behind_the_outbox() {
        let server = TestServer::play(vec![Act::Cut]);
        assert!(matches!(server.provider().set_usage(&set()).await.value, Outcome::Unknown { .. }));
    }

    #[test]
    fn neither_client_nor_provider_shows_the_key() {
        let shown = format!("{:?}", Provider::new(&config("http://127.0.0.1:1", Duration::from_secs(1))).unwrap());
        assert!(!shown.contains("notARealKey"), "{shown}");
    }

    /// Certificates and proxies come from the environment, which a test cannot change for itself. So it starts this test
    /// in a process of its own, where it reads over HTTPS and says what came of it.
    #[test]
    fn reads_over_https_in_a_process_of_its_own() {
        let Ok(base_url) = std::env::var(CHILD_READS_FROM) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let provider = Provider::new(&config(&base_url, Duration::from_mins(1))).unwrap();
        let answer = runtime.block_on(provider.read_periods(&set().to));
        println!(
            "came of it: {:?}",
            answer.value.map_err(|error| (error.passing, error.refusal.kind, error.to_string()))
        );
    }

    const CHILD_READS_FROM: &str = "USAGED_TEST_CHILD_READS_FROM";
    const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/provider/stripe/testdata");

    fn read_in_child(base_url: &str, trusted: &str, proxies: &[(&str, &str)]) -> String {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--nocapture"]);
        child.arg(concat!(module_path!(), "::reads_over_https_in_a_process_of_its_own").replace("usaged::", ""));
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
            "SSL_CERT_DIR",
        ] {
            child.env_remove(name);
        }
        child.env(CHILD_READS_FROM, base_url).env("SSL_CERT_FILE", format!("{TESTDATA}/{trusted}"));
        child.envs(proxies.iter().copied());
        String::from_utf8(child.output().unwrap().stdout).unwrap()
    }

    /// Serves one request over TLS, with the certificate in `testdata` and the test key of RFC 9500.
    fn serve_tls() -> (String, JoinHandle<()>) {
        let pem = |name: &str| std::fs::read(format!("{TESTDATA}/{name}")).unwrap();
        let certificate = CertificateDer::from_pem_slice(&pem("loopback.cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&pem("rfc9500-ec-p256.key.pem")).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("https://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), tcp);
            let mut request = [0; 4096];
            // A client that does not trust the certificate never gets this far.
            if tls.read(&mut request).is_ok_and(|n| n > 0) {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n";
                tls.write_all(format!("{head}{{\"data\":[]}}").as_bytes()).unwrap();
            }
        });
        (base_url, served)
    }

    #[test]
    fn https_trusts_what_the_system_trusts_and_no_proxy_is_honoured() {
        let (base_url, served) = serve_tls();
        let proxies = [("HTTPS_PROXY", format!("http://{}", closed_port())), ("NO_PROXY", "127.0.0.1".to_owned())];
        let proxies = proxies.each_ref().map(|(name, value)| (*name, value.as_str()));
        let said = read_in_child(&base_url, "loopback.cert.pem", &proxies);
        assert!(said.contains("came of it: Ok([])"), "{said}");
        served.join().unwrap();
    }

    #[test]
    fn a_certificate_the_system_does_not_trust_gets_no_request() {
        let (base_url, served) = serve_tls();
        let said = read_in_child(&base_url, "unrelated.cert.pem", &[]);
        assert!(said.contains("came of it: Err((true, Untrusted,"), "{said}");
        assert!(said.contains("cannot be reached: invalid peer certificate: UnknownIssuer"), "{said}");
        served.join().unwrap();
    }

    #[test]
    fn https_goes_through_the_proxy_of_the_environment() {
        let refusal = b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec();
        let proxy = TestServer::play(vec![Act::Answer(refusal)]);
        let said = read_in_child("https://api.stripe.com", "loopback.cert.pem", &[("HTTPS_PROXY", &proxy.base_url)]);
        assert!(said.contains("came of it: Err((true, Network, \"api.stripe.com cannot be reached: "), "{said}");
        let asked = proxy.requests().remove(0);
        assert!(
            asked.starts_with("CONNECT api.stripe.com:443 HTTP/1.1\r\n") && !asked.contains("notARealKey"),
            "{asked}"
        );
    }

    #[test]
    fn plain_http_to_this_machine_goes_through_no_proxy() {
        let server = TestServer::play(vec![json(200, "", r#"{"data":[]}"#)]);
        let proxy = format!("http://{}", closed_port());
        let said =
            read_in_child(&server.base_url, "loopback.cert.pem", &[("HTTP_PROXY", &proxy), ("ALL_PROXY", &proxy)]);
        assert!(said.contains("came of it: Ok([])"), "{said}");
    }
}
