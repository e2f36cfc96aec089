//! The courier takes what is to be delivered to its endpoints: one after the other for each of them, and no endpoint
//! waits for another. The same for every provider.
//!
//! What is due follows the sandbox's clock; the courier looks whenever something was committed, and now and then, since a
//! clock may follow the machine's. Without an endpoint it sleeps.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;

use super::SandboxError;
use super::tampering::Tamperings;

/// An endpoint has to answer within this real time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Real time after which it looks by itself.
const POLL: Duration = Duration::from_millis(500);

/// How the courier is called.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Notify,
    /// Whether there is an endpoint at all.
    is_wanted: AtomicBool,
    /// One courier is under way at a time, also where the sandbox is served twice.
    turn: Mutex<()>,
    pub(super) tamperings: Tamperings,
}

impl Bell {
    /// Something may be to be delivered.
    pub(super) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Whether anything is to be delivered from now on.
    pub(super) fn want(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Ordering::Relaxed);
        self.ring();
    }

    async fn wanted(&self) {
        while !self.is_wanted.load(Ordering::Relaxed) {
            self.rung.notified().await;
        }
    }
}

/// A request as an endpoint gets it.
#[derive(Debug)]
pub(super) struct Parcel<D> {
    /// Which delivery it is.
    pub(super) delivery: D,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    /// How often it is sent.
    pub(super) copies: usize,
}

/// Whose deliveries they are.
pub(super) trait Sender: Send + Sync + 'static {
    /// How it knows a delivery again.
    type Delivery: Send + Sync;
    fn bell(&self) -> &Bell;
    /// The endpoints to which something is to be sent now.
    fn waiting(&self) -> Result<Vec<String>, SandboxError>;
    /// What is to be sent to an endpoint next.
    fn pack(&self, endpoint: &str) -> Result<Option<Parcel<Self::Delivery>>, SandboxError>;
    /// What was answered to it, if anything was.
    fn settle(&self, sent: &Self::Delivery, status: Option<u16>) -> Result<(), SandboxError>;
}

/// Whether deliveries can go to a URL.
pub(super) enum Reach {
    /// To this machine, or by TLS.
    Possible,
    /// Not without TLS.
    Plain,
    /// It is no URL of HTTP.
    Impossible,
}

/// Whether deliveries can go there.
pub(super) fn reach(text: &str) -> Reach {
    let Ok(url) = Url::parse(text) else { return Reach::Impossible };
    match url.scheme() {
        "https" => Reach::Possible,
        "http" if is_near(&url) => Reach::Possible,
        "http" => Reach::Plain,
        _ => Reach::Impossible,
    }
}

/// Whether it is on this machine.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Delivers for as long as `serving` goes on.
pub(super) async fn while_serving<S: Sender>(sender: Arc<S>, serving: impl Future<Output = ()>) {
    tokio::select! {
        () = serving => {}
        () = deliver(sender) => {}
    }
}

async fn deliver<S: Sender>(sender: Arc<S>) {
    let _turn = sender.bell().turn.lock().await;
    let mut busy = BTreeSet::new();
    let mut rounds = JoinSet::new();
    loop {
        sender.bell().wanted().await;
        // Books that fail are told of in the next answer.
        for endpoint in sender.waiting().unwrap_or_default() {
            if busy.insert(endpoint.clone()) {
                rounds.spawn(go_round(sender.clone(), endpoint));
            }
        }
        tokio::select! {
            Some(Ok(endpoint)) = rounds.join_next() => { busy.remove(&endpoint); }
            () = sender.bell().rung.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Sends everything that is due to an endpoint, and gives back its name.
async fn go_round<S: Sender>(sender: Arc<S>, endpoint: String) -> String {
    loop {
        let parcel = match sender.pack(&endpoint) {
            Ok(Some(parcel)) => parcel,
            Ok(None) => break,
            Err(_) => {
                tokio::time::sleep(POLL).await;
                break;
            }
        };
        let mut status = None;
        for _ in 0..parcel.copies {
            status = send(&parcel).await;
        }
        if sender.settle(&parcel.delivery, status).is_err() {
            tokio::time::sleep(POLL).await;
        }
    }
    endpoint
}

/// Sends it once. The status, where one came.
async fn send<D>(parcel: &Parcel<D>) -> Option<u16> {
    let url = Url::parse(&parcel.url).ok()?;
    let mut request = client(&url)?.post(url).body(parcel.body.clone());
    for (name, value) in &parcel.headers {
        request = request.header(*name, value);
    }
    Some(request.send().await.ok()?.status().as_u16())
}

fn client(url: &Url) -> Option<Client> {
    // Fails only if a provider is installed already, and any will do.
    let _already_installed = rustls::crypto::ring::default_provider().install_default().is_err();
    let client = Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none()).referer(false).no_proxy();
    // No certificates need to be read for this machine.
    let client = if is_near(url) && url.scheme() == "http" { client.tls_certs_only([]) } else { client };
    client.build().ok()
}
