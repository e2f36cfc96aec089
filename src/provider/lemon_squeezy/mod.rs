//! Lemon Squeezy: usage-based items of a subscription, whose current quantity is set (rule S9).
//!
//! It has no timestamps, no idempotency keys and no metadata on items: a record counts in the period in which it
//! arrives, a repeated one replaces the first, and nothing tells whose an item is.

mod answer;
mod client;
mod document;
mod invoice;
mod key;
mod portal;
mod subscription;
#[cfg(test)]
mod test_server;
mod usage;

use std::sync::Arc;

use crate::config::ProviderConfig;
use crate::model::{BillingMeterId, Channel, Invoice, ItemId, Span, SubscriptionId};

use super::endpoint::Endpoint;
use super::{
    Answer, BilledAt, Destination, MeterView, Outcome, ProviderError, ReadAnswer, ReadError, Refusal, RefusalKind,
    SetUsage, Standing, SubscriptionView, Window,
};

/// A client for one account. Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct LemonSqueezy {
    client: Arc<client::Client>,
}

impl LemonSqueezy {
    /// Checks key and address, and loads the system's CA certificates; nothing is sent.
    pub fn new(config: &ProviderConfig) -> Result<Self, ProviderError> {
        let key = key::check(config.key.as_ref().ok_or(ProviderError::LemonSqueezyKeyMissing)?)?;
        let endpoint = Endpoint::check(&config.base_url)?;
        Ok(Self { client: Arc::new(client::Client::new(endpoint, key, config.timeout)?) })
    }

    /// The key as people may see it, `…1234`. It does not tell test from live; what is read with it does.
    #[must_use]
    pub fn key_kind(&self) -> &str {
        self.client.key_label()
    }

    /// Reads a subscription with its items, their prices and their current periods.
    pub async fn read_subscription(&self, id: &SubscriptionId) -> ReadAnswer<SubscriptionView> {
        subscription::read(&self.client, id).await
    }

    /// There are none.
    #[must_use]
    pub fn read_meter(&self, _id: &BillingMeterId) -> ReadAnswer<MeterView> {
        Answer::unanswered(Err(ReadError::other_provider()))
    }

    /// Reads what stands in an item's current period.
    pub async fn read_current(&self, of: &Destination, window: Window) -> ReadAnswer<Standing> {
        match of.channel {
            Channel::CurrentUsage => usage::read_current(&self.client, &of.item, window).await,
            Channel::UsageRecords | Channel::Meter(_) => Answer::unanswered(Err(ReadError::other_provider())),
        }
    }

    /// Reads what stands in a period that is over, from the records that arrived in it.
    pub async fn read_ended(&self, of: &Destination, window: Window) -> ReadAnswer<Standing> {
        match of.channel {
            Channel::CurrentUsage => usage::read_ended(&self.client, &of.item, window).await,
            Channel::UsageRecords | Channel::Meter(_) => Answer::unanswered(Err(ReadError::other_provider())),
        }
    }

    /// Reads the current period of an item; it does not list others.
    pub async fn read_periods(&self, of: &Destination) -> ReadAnswer<Vec<Span>> {
        match of.channel {
            Channel::CurrentUsage => usage::read_periods(&self.client, &of.item).await,
            Channel::UsageRecords | Channel::Meter(_) => Answer::unanswered(Err(ReadError::other_provider())),
        }
    }

    /// Its invoices have no lines, so none says at which price units were billed (rule R5).
    #[must_use]
    pub fn read_billed(&self, billed: &BilledAt) -> ReadAnswer<i64> {
        let what = format!("Lemon Squeezy's invoices do not show what was billed on {}", billed.item);
        let refusal = Box::new(Refusal::ours(RefusalKind::Other, what));
        Answer::unanswered(Err(ReadError { refusal, passing: false, retry_after: None }))
    }

    /// Reads a subscription's last invoices.
    pub async fn read_invoices(&self, of: &SubscriptionId) -> ReadAnswer<Vec<Invoice>> {
        invoice::read(&self.client, of).await
    }

    /// Reads where the customer's portal is.
    pub async fn open_portal(&self, of: &SubscriptionId) -> ReadAnswer<String> {
        portal::open(&self.client, of).await
    }

    /// Sets what stands in whatever period is current when it arrives.
    pub async fn set_usage(&self, set: &SetUsage) -> Answer<Outcome> {
        match set.to.channel {
            Channel::CurrentUsage => usage::set(&self.client, set).await,
            Channel::UsageRecords | Channel::Meter(_) => {
                Answer::unanswered(Outcome::Refused(Refusal::other_provider()))
            }
        }
    }

    /// Items hold nothing of ours, so they cannot be claimed (rule S10).
    #[must_use]
    pub fn claim_item(&self, item: &ItemId) -> Answer<Outcome> {
        let what = format!("Lemon Squeezy keeps no mark on {item} that would say whose it is");
        Answer::unanswered(Outcome::Refused(Refusal::ours(RefusalKind::NotPermitted, what)))
    }
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests {
    use std::time::Duration;

    use super::super::test_server::TestServer;
    use super::*;
    use crate::config::{ApiKey, ProviderKind};
    use crate::model::{CustomerId, Timestamp};
    use crate::provider::{Interval, IntervalUnit, Provider};
    use crate::sandbox::lemon_squeezy::{Behaviour, LemonSqueezy as Sandbox, Status, Zero, seed_lemon_squeezy_demo};
    use crate::sandbox::{Effect, Fault, SandboxClock};

    fn config(base_url: &str, key: &str) -> ProviderConfig {
        ProviderConfig {
            kind: ProviderKind::None,
            base_url: base_url.to_owned(),
            timeout: Duration::from_secs(20),
            draft_grace: Duration::from_hours(1),
            periods: crate::config::Periods::Provider,
            quiet_before_end: Duration::from_mins(5),
            key: Some(ApiKey { secret: key.into(), from: "test".to_owned() }),
            on_payment_failed: crate::config::OnPaymentFailed::Alert,
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_missing_key_is_an_error_that_says_where_to_put_one() {
        let error = LemonSqueezy::new(&ProviderConfig { key: None, ..config("https://x.example", "") }).unwrap_err();
        assert!(error.to_string().contains("hint: pass it as the systemd credential lemonsqueezy_api_key"));
        let shown = format!("{:?}", LemonSqueezy::new(&config("https://x.example", "a.notARealKey.bcd")).unwrap());
        assert!(!shown.contains("notARealKey"), "{shown}");
    }

    #[tokio::test]
    async fn what_lemon_squeezy_has_not_is_not_asked_for() {
        let server = TestServer::play(Vec::new());
        let key = "a.notARealKey.bcd";
        let provider = Provider::LemonSqueezy(LemonSqueezy::new(&config(&server.base_url, key)).unwrap());
        let (item, customer) = (ItemId::new("7").unwrap(), CustomerId::new("3").unwrap());
        let Outcome::Refused(why) = provider.claim_item(&item, "vm", "k").await.value else { panic!("claimed") };
        assert_eq!(why.kind, RefusalKind::NotPermitted);
        let of = Destination { item, customer, channel: Channel::UsageRecords };
        assert_eq!(provider.read_periods(&of).await.value.unwrap_err().refusal.kind, RefusalKind::WrongKind);
        let set = SetUsage {
            to: of,
            quantity: 1,
            timestamp_s: 1,
            idempotency_key: "k".to_owned(),
            identifier: "k".to_owned(),
        };
        assert!(matches!(provider.set_usage(&set).await.value, Outcome::Refused(_)));
        assert_eq!((provider.livemode(), provider.key_kind()), (None, Some("….bcd")));
        assert!(server.requests().is_empty());
    }

    #[tokio::test]
    async fn s9_every_call_goes_through_a_lemon_squeezy_with_books_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(dir.path(), SandboxClock::frozen(at("2026-11-10T12:00:00Z"))).unwrap();
        let demo = seed_lemon_squeezy_demo(&sandbox).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let (serving, mut tasks) = (sandbox.clone(), tokio::task::JoinSet::new());
        tasks.spawn(async move { serving.serve(listener, std::future::pending()).await });
        let provider = Provider::LemonSqueezy(LemonSqueezy::new(&config(&base_url, &demo.key)).unwrap());

        let id = SubscriptionId::new(&*demo.subscription).unwrap();
        let read = provider.read_subscription(&id).await;
        assert_eq!(read.date, Some(at("2026-11-10T12:00:00Z")), "m5");
        let view = read.value.unwrap();
        assert_eq!((view.customer.as_str(), view.status.as_str(), view.livemode), (&*demo.customer, "active", false));
        assert_eq!(view.anchor, Some(at("2026-12-01T00:00:00Z")));
        let [compute, api] = view.items.as_slice() else { panic!("{:?}", view.items) };
        assert_eq!((compute.id.as_str(), api.id.as_str()), (&*demo.item_compute, &*demo.item_api));
        assert_eq!(compute.price.as_str(), demo.prices["compute_hours"]);
        assert_eq!((compute.metered, compute.currency.as_str()), (true, "eur"));
        assert_eq!(compute.unit_amount.map(|amount| amount.to_string()).as_deref(), Some("4"));
        assert_eq!(compute.interval, Some(Interval { unit: IntervalUnit::Month, count: 1 }));
        let november = Span::new(at("2026-11-10T12:00:00Z"), at("2026-12-01T00:00:00Z"));
        assert_eq!((compute.period, api.period), (november, november));

        let to = Destination { item: compute.id.clone(), customer: view.customer, channel: Channel::CurrentUsage };
        let window = Window { period: november, timestamp_s: november.from.secs() + 1 };
        let set = async |quantity: i64| {
            let (idempotency_key, identifier) = ("k".to_owned(), "k".to_owned());
            let set = SetUsage { to: to.clone(), quantity, timestamp_s: 1, idempotency_key, identifier };
            provider.set_usage(&set).await.value
        };
        assert_eq!(provider.read_current(&to, window).await.value, Ok(Standing::Total(0)));
        for quantity in [40, 25] {
            assert_eq!(set(quantity).await, Outcome::Accepted);
            assert_eq!(provider.read_current(&to, window).await.value, Ok(Standing::Total(quantity)));
        }
        let Outcome::Refused(why) = set(0).await else { panic!("zero is refused here") };
        assert_eq!((why.status, why.param.as_deref()), (Some(422), Some("quantity")));
        sandbox.behave(Behaviour { zero: Zero::Accepted, straggles_after_s: 900, ..Behaviour::default() }).unwrap();
        assert_eq!(set(0).await, Outcome::Accepted);
        assert_eq!(set(30).await, Outcome::Accepted);
        sandbox.set_clock(november.to.minus(600_000_000)).unwrap();
        sandbox.fault(Fault::next(Effect::CutBeforeCommit));
        assert!(matches!(set(31).await, Outcome::Unknown { needs_new_key: false, .. }));
        sandbox.fault(Fault::next(Effect::RateLimited { reason: String::new(), retry_after: Some(7) }));
        let Outcome::Unavailable { retry_after, .. } = set(31).await else { panic!("not limited") };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));

        // The straggler arrives five minutes into December.
        sandbox.set_clock(november.to.plus(600_000_000)).unwrap();
        assert_eq!(provider.read_current(&to, window).await.value, Ok(Standing::OtherPeriod));
        assert_eq!(provider.read_ended(&to, window).await.value, Ok(Standing::Total(30)));
        let december = Span::new(november.to, at("2027-01-01T00:00:00Z"));
        assert_eq!(provider.read_periods(&to).await.value, Ok(vec![december]));
        let window = Window { period: december, ..window };
        assert_eq!(provider.read_current(&to, window).await.value, Ok(Standing::Total(31)));
        assert_eq!(set(2).await, Outcome::Accepted);
        assert_eq!(provider.read_current(&to, window).await.value, Ok(Standing::Total(2)));

        sandbox.set_status(&demo.subscription, Status::Expired).unwrap();
        assert_eq!(provider.read_subscription(&id).await.value.unwrap().status, "canceled");
        assert!(matches!(set(3).await, Outcome::Refused(_)));
        let missing = SubscriptionId::new("9").unwrap();
        let error = provider.read_subscription(&missing).await.value.unwrap_err();
        assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Missing, false));
    }
}
