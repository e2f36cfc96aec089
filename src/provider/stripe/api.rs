//! Any request at Stripe, for the operator's commands, which know what they ask for; judged as the daemon's own are.

use std::time::Duration;

use serde_json::Value;

use crate::config::{ApiKey, ProviderKind};
use crate::provider::endpoint::Endpoint;
use crate::provider::http::Exchange;
use crate::provider::{ProviderError, ReadAnswer};

use super::answer::{into_read, judge};
use super::client::{Client, version_of};
use super::key::Key;

/// One account, spoken to in the version that a kind needs.
#[derive(Debug)]
pub struct Api {
    client: Client,
}

impl Api {
    /// Checks key and address, and loads the system's CA certificates; nothing is sent.
    pub fn new(key: &ApiKey, base_url: &str, kind: ProviderKind, timeout: Duration) -> Result<Self, ProviderError> {
        let key = Key::check(key)?;
        let client = Client::new(Endpoint::check(base_url)?, key, version_of(kind), timeout)?;
        Ok(Self { client })
    }

    /// Whether the key moves real money.
    #[must_use]
    pub fn livemode(&self) -> bool {
        self.client.livemode()
    }

    /// The key as people may see it, `rk_test_…1234`.
    #[must_use]
    pub fn key_kind(&self) -> &str {
        self.client.key_label()
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.client.host()
    }

    /// The version that every request names.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.client.version()
    }

    /// Whether that version is from before `2025-03-31.basil`.
    #[must_use]
    pub fn is_before_basil(&self) -> bool {
        self.client.is_before_basil()
    }

    /// Reads. `path` is made of words and ids that hold no character with a meaning in a URL.
    pub async fn read(&self, path: &str, query: &[(&str, &str)]) -> ReadAnswer<Value> {
        self.judged(self.client.get_with(path, query).await)
    }

    /// Reads by a POST that changes nothing.
    pub async fn ask(&self, path: &str, form: &[(&str, &str)]) -> ReadAnswer<Value> {
        self.judged(self.client.ask(path, form).await)
    }

    /// Changes something. A failure that is passing may be sent again under the same key, and only under that.
    pub async fn change(&self, path: &str, form: &[(&str, &str)], idempotency_key: &str) -> ReadAnswer<Value> {
        self.judged(self.client.post(path, form, idempotency_key).await)
    }

    /// Ends something.
    pub async fn end(&self, path: &str, query: &[(&str, &str)]) -> ReadAnswer<Value> {
        self.judged(self.client.delete(path, query).await)
    }

    fn judged(&self, exchange: Exchange) -> ReadAnswer<Value> {
        judge(&self.client, exchange, Ok).map(into_read)
    }
}
