//! What the provider says about a subscription and what stands on it, in our own types.

use rust_decimal::Decimal;

use crate::model::{CustomerId, ItemId, PriceId, Span, SubscriptionId, Timestamp};

/// A subscription, in our own types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its id.
    pub id: SubscriptionId,
    /// Whose it is.
    pub customer: CustomerId,
    /// The provider's word: `active`, `trialing`, `past_due`, `canceled`, `paused`, …
    pub status: String,
    /// Whether it collects: `pause_collection` is set.
    pub collection_paused: bool,
    /// Whether billing thresholds are set (then `set` is refused by the provider, rule S10).
    pub has_billing_thresholds: bool,
    /// Live or test.
    pub livemode: bool,
    /// Its items.
    pub items: Vec<ItemView>,
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
    /// The price's meter, where it has one: then usage records are refused.
    pub meter: Option<String>,
    /// `aggregate_usage`: `sum`, `last_during_period`, `last_ever`, `max`.
    pub aggregate_usage: Option<String>,
    /// Lowercase ISO 4217.
    pub currency: String,
    /// Per billed unit, in the currency's smallest unit; `None` for tiers.
    pub unit_amount: Option<Decimal>,
    /// The item's own current period, else the subscription's.
    pub period: Span,
    /// `metadata[usaged_machine]`: the claim of the VM that pushes to it (rule S10).
    pub claim: Option<String>,
    /// Billing thresholds on the item.
    pub has_billing_thresholds: bool,
}

/// What stands on an item in its current period and the one before, as the provider's summaries say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The invoice it went to; `None` for the current period.
    pub invoice: Option<String>,
    /// The stretch it covers, where the provider says so.
    pub period: Option<Span>,
    /// Total units.
    pub total: u64,
}

impl Summary {
    /// Total units, as they are counted here.
    #[must_use]
    pub fn units(&self) -> i64 {
        i64::try_from(self.total).unwrap_or(i64::MAX)
    }

    /// Whether a record at this timestamp counts in it: start-exclusive, end-inclusive, as the provider counts. `None`
    /// where the provider does not say which stretch it covers.
    #[must_use]
    pub fn holds(&self, timestamp_s: i64) -> Option<bool> {
        let at = Timestamp::from_secs(timestamp_s);
        self.period.map(|period| period.from < at && at <= period.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_at_the_very_start_of_a_period_counts_in_the_one_before() {
        let (from, to) = (Timestamp::from_secs(100), Timestamp::from_secs(200));
        let summary = Summary { invoice: None, period: Some(Span::new(from, to)), total: 7 };
        let held = [100, 101, 200, 201].map(|timestamp_s| summary.holds(timestamp_s));
        assert_eq!(held, [Some(false), Some(true), Some(true), Some(false)]);
        assert_eq!(Summary { period: None, ..summary }.holds(150), None);
    }
}
