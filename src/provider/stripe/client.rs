//! Stripe's headers and bodies around the wire.

use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;

use crate::config::ProviderKind;
use crate::provider::ProviderError;
use crate::provider::endpoint::Endpoint;
use crate::provider::http::{Exchange, Http};

use super::key::Key;

/// The last version with usage records; `2025-03-31.basil` removed them.
/// <https://docs.stripe.com/changelog/basil/2025-03-31/deprecate-legacy-usage-based-billing>
pub(super) const ACACIA: &str = "2025-02-24.acacia";

/// The newest version that this client was written against; with it meters know `last`.
/// <https://docs.stripe.com/changelog>
pub(super) const NEWEST: &str = "2026-10-28.endive";

/// The version that has what this kind needs.
pub(super) const fn version_of(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::StripeUsageRecords => ACACIA,
        _ => NEWEST,
    }
}

/// Speaks to one account.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    livemode: bool,
    version: &'static str,
}

impl Client {
    pub(super) fn new(
        endpoint: Endpoint,
        key: Key,
        version: &'static str,
        timeout: Duration,
    ) -> Result<Self, ProviderError> {
        let livemode = key.livemode();
        Ok(Self { http: Http::new(endpoint, key.into_secret(), timeout)?, livemode, version })
    }

    /// Whether the key moves real money.
    pub(super) fn livemode(&self) -> bool {
        self.livemode
    }

    /// The key as people may see it.
    pub(super) fn key_label(&self) -> &str {
        self.http.key_label()
    }

    /// The version that every request names.
    pub(super) fn version(&self) -> &'static str {
        self.version
    }

    /// Whether it speaks a version from before `2025-03-31.basil`, which changed previews, invoice lines and more.
    pub(super) fn is_before_basil(&self) -> bool {
        self.version == ACACIA
    }

    /// Host and port, for messages.
    pub(super) fn host(&self) -> &str {
        self.http.host()
    }

    /// Reads. `path` is made of ids, which hold no character with a meaning in a URL.
    pub(super) async fn get(&self, path: &str) -> Exchange {
        self.send(self.http.get(path)).await
    }

    /// Reads, with a query.
    pub(super) async fn get_with(&self, path: &str, query: &[(&str, &str)]) -> Exchange {
        self.get(&format!("{path}?{}", encoded(query))).await
    }

    /// Reads by a POST that changes nothing. It takes no idempotency key: under one, an old answer would come again.
    pub(super) async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Exchange {
        self.send(with_form(self.http.post(path), form)).await
    }

    /// Changes something, under a key that is on disk already (rule S2).
    pub(super) async fn post(&self, path: &str, form: &[(&str, &str)], idempotency_key: &str) -> Exchange {
        let request = self.http.post(path).header("Idempotency-Key", idempotency_key);
        self.send(with_form(request, form)).await
    }

    /// Ends something, with a query. Doing so twice ends it once, so that it takes no key.
    pub(super) async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Exchange {
        self.send(self.http.delete(&format!("{path}?{}", encoded(query)))).await
    }

    async fn send(&self, request: RequestBuilder) -> Exchange {
        self.http.send(request.header("Stripe-Version", self.version)).await
    }
}

fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(form))
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
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
    use crate::config::{ApiKey, ProviderConfig};
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
    fn the_provider_says_of_its_key_whether_it_moves_real_money_and_what_may_be_shown_of_it() {
        for (key, live, shown) in
            [("rk_test_abcdefgh1234", false, "rk_test_…1234"), ("sk_live_abcdefgh9876", true, "sk_live_…9876")]
        {
            let key = Some(ApiKey { secret: key.into(), from: "test".to_owned() });
            let config = ProviderConfig { key, ..config("http://127.0.0.1:1", Duration::from_secs(1)) };
            let provider = Provider::new(&config).unwrap();
            assert_eq!((provider.livemode(), provider.key_kind()), (Some(live), Some(shown)));
        }
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
