//! The only room that speaks HTTP to a billing provider.
//!
//! Owns: the client, the provider's words, and their translation into our own types. One narrow interface: read the
//! subscription, read what stands, set (item, period) to N. Does not know: why N is N, or when to try again. Keeps
//! nothing, so a crash loses nothing here: what was sent is in the outbox, what came of it is at the provider.
//! Invariant: a lost answer is [`Outcome::Unknown`], neither success nor failure.
//! Invariant: no error, log line or `Debug` output holds the key.

mod endpoint;
mod error;
mod head;
mod http;
mod judge;
pub mod lemon_squeezy;
mod outcome;
mod secret;
mod standing;
pub mod stripe;
#[cfg(test)]
mod test_server;
mod view;

pub use error::ProviderError;
pub use outcome::{Answer, Outcome, ReadAnswer, ReadError, Refusal, RefusalKind};
pub use standing::{BilledAt, Destination, SetUsage, Standing, Window};
pub use view::{Interval, IntervalUnit, ItemView, MeterView, SubscriptionView};

use crate::config::{ProviderConfig, ProviderKind};
use crate::model::{BillingMeterId, Customer, CustomerId, Invoice, ItemId, Span, SubscriptionId};

/// A provider that can be set to N. An enum and not a trait object: the set is closed, and tests speak real HTTP.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Measures only; nothing is billed.
    None,
    /// Stripe, by meters or by legacy usage records.
    Stripe(stripe::Stripe),
    /// Lemon Squeezy, by the current usage of its items.
    LemonSqueezy(lemon_squeezy::LemonSqueezy),
}

impl Provider {
    /// Sets up the configured provider; nothing is sent.
    ///
    /// A missing key is [`ProviderError::KeyMissing`]: whether to measure on as [`Provider::None`] is the caller's choice.
    pub fn new(config: &ProviderConfig) -> Result<Self, ProviderError> {
        match config.kind {
            ProviderKind::None => Ok(Self::None),
            ProviderKind::LemonSqueezy => lemon_squeezy::LemonSqueezy::new(config).map(Self::LemonSqueezy),
            ProviderKind::StripeMeters | ProviderKind::StripeUsageRecords => {
                stripe::Stripe::new(config).map(Self::Stripe)
            }
        }
    }

    /// Whether the key moves real money; `None` without a provider, and where a key does not tell.
    #[must_use]
    pub fn livemode(&self) -> Option<bool> {
        match self {
            Self::None | Self::LemonSqueezy(_) => None,
            Self::Stripe(stripe) => Some(stripe.livemode()),
        }
    }

    /// The key as people may see it, `rk_test_…1234`; `None` without a provider.
    #[must_use]
    pub fn key_kind(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Stripe(stripe) => Some(stripe.key_kind()),
            Self::LemonSqueezy(lemon) => Some(lemon.key_kind()),
        }
    }

    /// Reads a subscription with all its items.
    pub async fn read_subscription(&self, id: &SubscriptionId) -> ReadAnswer<SubscriptionView> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_subscription(id).await,
            Self::LemonSqueezy(lemon) => lemon.read_subscription(id).await,
        }
    }

    /// Reads the meter that a price is on.
    pub async fn read_meter(&self, id: &BillingMeterId) -> ReadAnswer<MeterView> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_meter(id).await,
            Self::LemonSqueezy(lemon) => lemon.read_meter(id),
        }
    }

    /// Reads what stands in an item's current period.
    pub async fn read_current(&self, of: &Destination, window: Window) -> ReadAnswer<Standing> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_current(of, window).await,
            Self::LemonSqueezy(lemon) => lemon.read_current(of, window).await,
        }
    }

    /// Reads what stands in a period that is over.
    pub async fn read_ended(&self, of: &Destination, window: Window) -> ReadAnswer<Standing> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_ended(of, window).await,
            Self::LemonSqueezy(lemon) => lemon.read_ended(of, window).await,
        }
    }

    /// Reads which periods an item had lately, as far as the provider lists them.
    pub async fn read_periods(&self, of: &Destination) -> ReadAnswer<Vec<Span>> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_periods(of).await,
            Self::LemonSqueezy(lemon) => lemon.read_periods(of).await,
        }
    }

    /// Reads how many units invoices made since then, and the preview of the next one, bill on an item at a price.
    pub async fn read_billed(&self, billed: &BilledAt) -> ReadAnswer<i64> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_billed(billed).await,
            Self::LemonSqueezy(lemon) => lemon.read_billed(billed),
        }
    }

    /// Reads who is billed; `None` where the provider is not asked.
    pub async fn read_customer(&self, id: &CustomerId) -> ReadAnswer<Option<Customer>> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_customer(id).await.map(|read| read.map(Some)),
            // Its webhooks tell nothing of customers, and its portal is its own.
            Self::LemonSqueezy(_) => Answer::unanswered(Ok(None)),
        }
    }

    /// Reads a subscription's last invoices, newest first.
    pub async fn read_invoices(&self, of: &SubscriptionId) -> ReadAnswer<Vec<Invoice>> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.read_invoices(of).await,
            Self::LemonSqueezy(lemon) => lemon.read_invoices(of).await,
        }
    }

    /// Opens the portal in which customers manage their subscription; whoever has its address is the customer, for some
    /// minutes or hours. From there they are led to `return_url`, where the provider has them led anywhere.
    pub async fn open_portal(
        &self,
        customer: &CustomerId,
        of: &SubscriptionId,
        return_url: &str,
    ) -> ReadAnswer<String> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.open_portal(customer, return_url).await,
            Self::LemonSqueezy(lemon) => lemon.open_portal(of).await,
        }
    }

    /// Whether the key may open it. Nothing is made by asking.
    pub async fn may_open_portal(&self) -> ReadAnswer<()> {
        match self {
            Self::None => Answer::unanswered(Err(ReadError::not_configured())),
            Self::Stripe(stripe) => stripe.may_open_portal().await,
            // Its keys may do everything.
            Self::LemonSqueezy(_) => Answer::unanswered(Ok(())),
        }
    }

    /// Sets what stands. The key must be on disk before this is called (rule S2).
    pub async fn set_usage(&self, set: &SetUsage) -> Answer<Outcome> {
        match self {
            Self::None => Answer::unanswered(Outcome::Refused(Refusal::not_configured())),
            Self::Stripe(stripe) => stripe.set_usage(set).await,
            Self::LemonSqueezy(lemon) => lemon.set_usage(set).await,
        }
    }

    /// Marks an item as a machine's, or as nobody's (rule S10). A key that may not do so gets [`RefusalKind::NotPermitted`].
    pub async fn claim_item(&self, item: &ItemId, machine: &str, idempotency_key: &str) -> Answer<Outcome> {
        match self {
            Self::None => Answer::unanswered(Outcome::Refused(Refusal::not_configured())),
            Self::Stripe(stripe) => stripe.claim_item(item, machine, idempotency_key).await,
            Self::LemonSqueezy(lemon) => lemon.claim_item(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Channel, CustomerId};

    fn config(kind: ProviderKind) -> ProviderConfig {
        let base_url = "https://api.stripe.com".to_owned();
        ProviderConfig {
            kind,
            base_url,
            timeout: Duration::from_secs(9),
            draft_grace: Duration::from_hours(1),
            periods: crate::config::Periods::Provider,
            quiet_before_end: Duration::from_mins(5),
            key: None,
            on_payment_failed: crate::config::OnPaymentFailed::Alert,
        }
    }

    #[test]
    fn a_missing_key_is_an_error_that_says_where_to_put_one() {
        let error = Provider::new(&config(ProviderKind::StripeUsageRecords)).unwrap_err();
        assert!(matches!(error, ProviderError::KeyMissing));
        assert!(error.to_string().contains("hint: pass it as the systemd credential stripe_api_key"));
    }

    #[tokio::test]
    async fn without_a_provider_nothing_is_sent_and_everything_says_so() {
        let provider = Provider::new(&config(ProviderKind::None)).unwrap();
        assert_eq!((provider.livemode(), provider.key_kind()), (None, None));
        let item = ItemId::new("si_1").unwrap();
        let customer = CustomerId::new("cus_1").unwrap();
        let to = Destination { item: item.clone(), customer, channel: Channel::UsageRecords };
        let error = provider.read_periods(&to).await.value.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.passing), ("no billing provider is configured", false));
        let set =
            SetUsage { to, quantity: 1, timestamp_s: 1, idempotency_key: "k".to_owned(), identifier: "k".to_owned() };
        assert!(matches!(provider.set_usage(&set).await.value, Outcome::Refused(_)));
        assert!(matches!(provider.claim_item(&item, "vm", "k").await.value, Outcome::Refused(_)));
    }
}
