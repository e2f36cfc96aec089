//! What the room's unit tests share: a real `usage.db` with a link, and subscriptions as a provider would show them.

use std::path::PathBuf;

use crate::account::{self, Item, Link, NewLink};
use crate::model::{BillingMeter, Channel, Formula, Span, Timestamp};
use crate::outbox::{self, UsageRecord};
use crate::provider::{Interval, IntervalUnit, ItemView, SubscriptionView};
use crate::store::{Store, StoreError, Tx};

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse(&format!("{text}:00:00Z")).unwrap()
}

pub(super) fn span(from: &str, to: &str) -> Span {
    Span::new(at(from), at(to))
}

/// Runs a test's body on a fresh database.
pub(super) fn in_store(f: impl FnOnce(&Tx<'_>) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&PathBuf::from(dir.path()).join("usage.db")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let done: Result<(), StoreError> = runtime.block_on(store.write(move |tx| {
        f(tx);
        Ok(())
    }));
    done.unwrap();
}

pub(super) fn last() -> Channel {
    by(Formula::Last)
}

pub(super) fn by(formula: Formula) -> Channel {
    Channel::Meter(BillingMeter {
        id: "mtr_1".parse().unwrap(),
        event_name: "api_credits".to_owned(),
        customer_key: "stripe_customer_id".to_owned(),
        value_key: "value".to_owned(),
        formula,
    })
}

/// Links `si_1` for credits.
pub(super) fn link(tx: &Tx<'_>, channel: Channel, from: Timestamp) -> Link {
    let item = Item {
        meter: "api_credits".parse().unwrap(),
        item: "si_1".parse().unwrap(),
        price: "price_1".parse().unwrap(),
        lookup_key: None,
        unit_amount: None,
        currency: "eur".to_owned(),
        created_s: 0,
        channel,
        shared: false,
    };
    let new = NewLink {
        customer: "cus_1".parse().unwrap(),
        subscription: "sub_1".parse().unwrap(),
        plan: "pro".parse().unwrap(),
        from,
        made_by: "uid:0".to_owned(),
        single_writer: false,
        follows: false,
        items: vec![item],
    };
    account::begin(tx, &new, from).unwrap()
}

/// The linked subscription in this period.
pub(super) fn view(status: &str, period: Span) -> SubscriptionView {
    SubscriptionView {
        id: "sub_1".parse().unwrap(),
        customer: "cus_1".parse().unwrap(),
        status: status.to_owned(),
        collection_paused: false,
        has_billing_thresholds: false,
        livemode: false,
        anchor: Some(period.from),
        ends: None,
        items: vec![ItemView {
            id: "si_1".parse().unwrap(),
            created_s: 0,
            price: "price_1".parse().unwrap(),
            lookup_key: None,
            metered: true,
            meter: None,
            aggregate_usage: None,
            currency: "eur".to_owned(),
            unit_amount: None,
            has_free_tier: false,
            interval: Some(Interval { unit: IntervalUnit::Month, count: 1 }),
            period,
            claim: None,
            has_billing_thresholds: false,
        }],
    }
}

/// Every row that is not closed, oldest first.
pub(super) fn rows(tx: &Tx<'_>) -> Vec<UsageRecord> {
    outbox::unfinished(tx).unwrap()
}
