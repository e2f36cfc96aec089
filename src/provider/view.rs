//! What the provider says about a subscription and what stands on it, in our own types.

use rust_decimal::Decimal;

use crate::model::{BillingMeterId, CustomerId, ItemId, PriceId, Span, SubscriptionId, Timestamp};

/// A subscription, in our own types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose it is.
    pub customer: CustomerId,
    /// In Stripe's words, whoever says it: `active`, `trialing`, `past_due`, `canceled`, `paused`, …
    pub status: String,
    /// Whether it collects: `pause_collection` is set.
    pub collection_paused: bool,
    /// Whether billing thresholds are set (then `set` is refused by the provider, rule S10).
    pub has_billing_thresholds: bool,
    /// Live or test.
    pub livemode: bool,
    /// What its periods are counted from, where the provider says so.
    pub anchor: Option<Timestamp>,
    /// When it ends or ended, where that is known.
    pub ends: Option<Timestamp>,
    /// Its items.
    pub items: Vec<ItemView>,
}

impl SubscriptionView {
    /// Another item whose price is on the same meter.
    #[must_use]
    pub fn twin_of(&self, item: &ItemView) -> Option<&ItemView> {
        self.items.iter().find(|other| other.id != item.id && other.meter.is_some() && other.meter == item.meter)
    }
}

/// A subscription item, in our own types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemView {
    /// Its id.
    pub id: ItemId,
    /// When it was made, seconds.
    pub created_s: i64,
    /// Its price.
    pub price: PriceId,
    /// The price's lookup key.
    pub lookup_key: Option<String>,
    /// Metered (true) or licensed.
    pub metered: bool,
    /// The price's Stripe meter, where it has one: then usage records are refused.
    pub meter: Option<BillingMeterId>,
    /// `aggregate_usage`: `sum`, `last_during_period`, `last_ever`, `max`.
    pub aggregate_usage: Option<String>,
    /// Lowercase ISO 4217.
    pub currency: String,
    /// Per billed unit, in the currency's smallest unit; `None` for tiers.
    pub unit_amount: Option<Decimal>,
    /// Tiers whose first one is free: then the unreduced total is to be reported.
    pub has_free_tier: bool,
    /// How often its price renews.
    pub interval: Option<Interval>,
    /// The item's own current period, else the subscription's.
    pub period: Span,
    /// `metadata[usaged_machine]`: the claim of the VM that pushes to it (rule S10).
    pub claim: Option<String>,
    /// Billing thresholds on the item.
    pub has_billing_thresholds: bool,
}

/// A Stripe meter, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterView {
    /// `mtr_…`.
    pub id: BillingMeterId,
    /// The name its events carry.
    pub event_name: String,
    /// `sum`, `count`, `last`.
    pub formula: String,
    /// `hour`, `day`; `None` where events are not put together by windows.
    pub window: Option<String>,
    /// Payload field that names the customer.
    pub customer_key: String,
    /// Payload field that holds the value.
    pub value_key: String,
    /// Archived meters take no events.
    pub is_active: bool,
}

/// How often a price renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Counted in what.
    pub unit: IntervalUnit,
    /// How many of it.
    pub count: u32,
}

/// What an interval is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalUnit {
    /// 24 hours.
    Day,
    /// Seven days.
    Week,
    /// From a day of the month to the same day of another, or that month's last.
    Month,
    /// Twelve months.
    Year,
}
