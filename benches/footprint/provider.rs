//! A provider on loopback, over TLS: one subscription with two metered items, and what was set on them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/provider/stripe/testdata");
/// What a client holds in memory is as much as the system trusts.
const SYSTEM_CERTIFICATES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
const DAY_S: u64 = 86_400;

/// Runs until this process ends.
pub(crate) struct FakeProvider {
    base_url: String,
    directory: TempDir,
}

#[derive(Default)]
struct Books {
    totals: Mutex<BTreeMap<String, u64>>,
}

impl FakeProvider {
    pub(crate) fn start() -> Result<Self> {
        let own = fs::read(format!("{TESTDATA}/loopback.cert.pem"))?;
        let key = PrivateKeyDer::from_pem_file(format!("{TESTDATA}/rfc9500-ec-p256.key.pem"))?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
        let chain = vec![CertificateDer::from_pem_slice(&own)?];
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key)?);

        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let system = SYSTEM_CERTIFICATES.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
        fs::write(directory.path().join("trusted.pem"), [system, own].concat())?;

        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base_url = format!("https://{}", listener.local_addr()?);
        let books = Arc::new(Books::default());
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (config, books) = (Arc::clone(&config), Arc::clone(&books));
                // A client that hangs up ends its own conversation, and nothing else.
                thread::spawn(move || drop(converse(stream, config, &books)));
            }
        });
        Ok(Self { base_url, directory })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What the system trusts, and this provider.
    pub(crate) fn certificates(&self) -> PathBuf {
        Path::new(self.directory.path()).join("trusted.pem")
    }
}

fn converse(stream: TcpStream, config: Arc<ServerConfig>, books: &Books) -> Result<()> {
    let mut tls = StreamOwned::new(ServerConnection::new(config)?, stream);
    loop {
        let request = read(&mut tls)?;
        let (status, body) = answer(&request, books).map_or((404, json!({"error": {}})), |body| (200, body));
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nRequest-Id: req_1\r\nDate: {}\r\n\
             Content-Length: {}\r\n\r\n",
            httpdate::fmt_http_date(now()),
            body.len()
        );
        tls.write_all(format!("{head}{body}").as_bytes())?;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the edge: the provider's own clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// One request, head and body.
fn read(tls: &mut StreamOwned<ServerConnection, TcpStream>) -> Result<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = tls.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "hung up");
        request.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let text = std::str::from_utf8(&request)?;
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= length(head)
        {
            return Ok(text.to_owned());
        }
    }
}

fn length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).unwrap_or_default()
}

/// `None` is a 404.
fn answer(request: &str, books: &Books) -> Option<Value> {
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let (_, body) = request.split_once("\r\n\r\n")?;
    let form: BTreeMap<_, _> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut totals = books.totals.lock().unwrap_or_else(PoisonError::into_inner);
    match (method, path.strip_prefix("/v1/")?.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", ["subscriptions", id]) => subscription(id),
        ("GET", ["subscription_items", item, "usage_record_summaries"]) => {
            let total = totals.get(*item).copied().unwrap_or_default();
            Some(json!({"object": "list", "has_more": false, "data": [
                {"subscription_item": item, "invoice": null, "period": {"start": null, "end": null}, "total_usage": total}
            ]}))
        }
        ("POST", ["subscription_items", item, "usage_records"]) => {
            let number = |name: &str| form.get(name)?.parse::<u64>().ok();
            let (quantity, timestamp) = (number("quantity")?, number("timestamp")?);
            totals.insert((*item).to_owned(), quantity);
            Some(json!({"id": "mbur_1", "object": "usage_record", "livemode": false, "subscription_item": item,
                "quantity": quantity, "timestamp": timestamp}))
        }
        ("POST", ["subscription_items", item]) => {
            let claim = form.get("metadata[usaged_machine]")?;
            Some(json!({"id": item, "object": "subscription_item", "metadata": {"usaged_machine": claim}}))
        }
        _ => None,
    }
}

fn subscription(id: &str) -> Option<Value> {
    let now = now().duration_since(SystemTime::UNIX_EPOCH).context("before 1970").ok()?.as_secs();
    let start = now - now.rem_euclid(DAY_S) - 3 * DAY_S;
    let item = |id: &str, lookup_key: &str| {
        json!({"id": id, "object": "subscription_item", "created": start, "metadata": {}, "price": {
            "id": format!("price_{id}"), "object": "price", "currency": "eur", "lookup_key": lookup_key,
            "billing_scheme": "per_unit", "unit_amount": 4, "unit_amount_decimal": "4",
            "recurring": {"usage_type": "metered", "aggregate_usage": "sum", "interval": "month"}
        }})
    };
    let items = [item("si_compute", "price_compute_overage_pro"), item("si_credits", "price_api_overage")];
    Some(json!({"id": id, "object": "subscription", "customer": "cus_footprint", "status": "active", "livemode": false,
        "current_period_start": start, "current_period_end": start + 30 * DAY_S,
        "items": {"object": "list", "has_more": false, "data": items}}))
}
