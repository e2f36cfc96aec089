//! Stripe's legacy usage records, by the pinned version `2025-02-24.acacia`.

mod answer;
mod claim;
mod client;
mod endpoint;
mod head;
mod key;
mod subscription;
#[cfg(test)]
mod test_server;
mod usage_record;

use std::sync::Arc;

use crate::config::ProviderConfig;
use crate::model::{ItemId, SubscriptionId};

use super::{Answer, Outcome, ProviderError, ReadAnswer, SetUsage, SubscriptionView, Summary};

/// A client for one account. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct UsageRecords {
    client: Arc<client::Client>,
}

impl UsageRecords {
    /// Checks key and address, and loads the system's CA certificates; nothing is sent.
    pub fn new(config: &ProviderConfig) -> Result<Self, ProviderError> {
        let key = key::Key::check(config.key.as_ref().ok_or(ProviderError::KeyMissing)?)?;
        let endpoint = endpoint::Endpoint::check(&config.base_url)?;
        Ok(Self { client: Arc::new(client::Client::new(endpoint, key, config.timeout)?) })
    }

    /// Whether the key moves real money.
    #[must_use]
    pub fn livemode(&self) -> bool {
        self.client.key().livemode()
    }

    /// The key as people may see it, `rk_test_…1234`.
    #[must_use]
    pub fn key_kind(&self) -> &str {
        self.client.key().label()
    }

    /// Reads a subscription with all its items, however many pages they take.
    pub async fn read_subscription(&self, id: &SubscriptionId) -> ReadAnswer<SubscriptionView> {
        subscription::read(&self.client, id).await
    }

    /// Reads what stands on an item, newest period first.
    pub async fn read_summaries(&self, item: &ItemId) -> ReadAnswer<Vec<Summary>> {
        usage_record::read_summaries(&self.client, item).await
    }

    /// Sets what stands on an item at a timestamp.
    pub async fn set_usage(&self, set: &SetUsage) -> Answer<Outcome> {
        usage_record::set(&self.client, set).await
    }

    /// Writes this machine's name into the item's metadata (rule S10).
    pub async fn claim_item(&self, item: &ItemId, machine: &str, idempotency_key: &str) -> Answer<Outcome> {
        claim::claim_item(&self.client, item, machine, idempotency_key).await
    }
}
