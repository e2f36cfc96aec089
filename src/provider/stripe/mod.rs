//! Stripe: meters by the newest version we know, legacy usage records by the pinned `2025-02-24.acacia`.

mod answer;
mod api;
mod billed;
mod claim;
mod client;
mod customer;
mod invoice;
mod key;
mod list;
mod meter;
mod meter_event;
mod portal;
mod subscription;
#[cfg(test)]
mod test_server;
mod usage_record;
mod whole;

use std::sync::Arc;

pub use api::Api;

use crate::config::ProviderConfig;
use crate::model::{BillingMeterId, Channel, Customer, CustomerId, Invoice, ItemId, Span, SubscriptionId};

use super::endpoint::Endpoint;
use super::{
    Answer, BilledAt, Destination, MeterView, Outcome, ProviderError, ReadAnswer, ReadError, Refusal, SetUsage,
    Standing, SubscriptionView, Window,
};

/// A client for one account. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct Stripe {
    client: Arc<client::Client>,
}

impl Stripe {
    /// Checks key and address, and loads the system's CA certificates; nothing is sent.
    pub fn new(config: &ProviderConfig) -> Result<Self, ProviderError> {
        let key = key::Key::check(config.key.as_ref().ok_or(ProviderError::KeyMissing)?)?;
        let endpoint = Endpoint::check(&config.base_url)?;
        let version = client::version_of(config.kind);
        Ok(Self { client: Arc::new(client::Client::new(endpoint, key, version, config.timeout)?) })
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

    /// Reads a subscription with all its items, however many pages they take.
    pub async fn read_subscription(&self, id: &SubscriptionId) -> ReadAnswer<SubscriptionView> {
        subscription::read(&self.client, id).await
    }

    /// Reads the meter that a price is on.
    pub async fn read_meter(&self, id: &BillingMeterId) -> ReadAnswer<MeterView> {
        meter::read(&self.client, id).await
    }

    /// Reads what stands in an item's current period.
    pub async fn read_current(&self, of: &Destination, window: Window) -> ReadAnswer<Standing> {
        match &of.channel {
            Channel::UsageRecords => usage_record::read_current(&self.client, &of.item, window).await,
            Channel::Meter(meter) => meter_event::read_standing(&self.client, meter, &of.customer, window).await,
            Channel::CurrentUsage => Answer::unanswered(Err(ReadError::other_provider())),
        }
    }

    /// Reads what stands in a period that is over.
    pub async fn read_ended(&self, of: &Destination, window: Window) -> ReadAnswer<Standing> {
        match &of.channel {
            Channel::UsageRecords => usage_record::read_ended(&self.client, &of.item, window).await,
            Channel::Meter(meter) => meter_event::read_standing(&self.client, meter, &of.customer, window).await,
            Channel::CurrentUsage => Answer::unanswered(Err(ReadError::other_provider())),
        }
    }

    /// Reads which periods an item had lately. Meters do not list any.
    pub async fn read_periods(&self, of: &Destination) -> ReadAnswer<Vec<Span>> {
        match &of.channel {
            Channel::UsageRecords => usage_record::read_periods(&self.client, &of.item).await,
            Channel::Meter(_) | Channel::CurrentUsage => Answer::unanswered(Ok(Vec::new())),
        }
    }

    /// Reads how many units are billed on an item at a price.
    pub async fn read_billed(&self, billed: &BilledAt) -> ReadAnswer<i64> {
        billed::read(&self.client, billed).await
    }

    /// Reads who is billed.
    pub async fn read_customer(&self, id: &CustomerId) -> ReadAnswer<Customer> {
        customer::read(&self.client, id).await
    }

    /// Reads a subscription's last invoices.
    pub async fn read_invoices(&self, of: &SubscriptionId) -> ReadAnswer<Vec<Invoice>> {
        invoice::read(&self.client, of).await
    }

    /// Opens the customer's portal.
    pub async fn open_portal(&self, customer: &CustomerId, return_url: &str) -> ReadAnswer<String> {
        portal::open(&self.client, customer, return_url).await
    }

    /// Whether the key may open it.
    pub async fn may_open_portal(&self) -> ReadAnswer<()> {
        portal::may_open(&self.client).await
    }

    /// Sets a total at a timestamp, or sends a meter event.
    pub async fn set_usage(&self, set: &SetUsage) -> Answer<Outcome> {
        match &set.to.channel {
            Channel::UsageRecords => usage_record::set(&self.client, set).await,
            Channel::Meter(meter) => meter_event::send(&self.client, meter, set).await,
            Channel::CurrentUsage => Answer::unanswered(Outcome::Refused(Refusal::other_provider())),
        }
    }

    /// Writes this machine's name into the item's metadata (rule S10).
    pub async fn claim_item(&self, item: &ItemId, machine: &str, idempotency_key: &str) -> Answer<Outcome> {
        claim::claim_item(&self.client, item, machine, idempotency_key).await
    }
}
