//! What stands on an item in a period, and where that is.

use std::collections::BTreeMap;

use crate::model::{Channel, CustomerId, ItemId, PriceId, Span, SubscriptionId};

/// Where an item's total goes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Which item.
    pub item: ItemId,
    /// Whose it is.
    pub customer: CustomerId,
    /// By what means.
    pub channel: Channel,
}

/// "Set this": a total, a day's share of one, or on a plain `sum` meter what to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUsage {
    /// Where.
    pub to: Destination,
    /// Whole billed units; below zero only on a plain `sum` meter.
    pub quantity: i64,
    /// The record's or event's timestamp, seconds; without meaning for current usage.
    pub timestamp_s: i64,
    /// Stored before this is sent (rule S2).
    pub idempotency_key: String,
    /// A meter event's own name, kept where a stored failure asks for another key.
    pub identifier: String,
}

/// A period of an item, as reads need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From the provider's start to its end.
    pub period: Span,
    /// T of rule S3, where a summary is told by it.
    pub timestamp_s: i64,
}

/// "How many units of this period are billed on this item at this price?" (rule R5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledAt {
    /// On which subscription.
    pub subscription: SubscriptionId,
    /// On which item.
    pub item: ItemId,
    /// At which price; `None` is at any.
    pub price: Option<PriceId>,
    /// Lines about stretches that end inside this period count.
    pub period: Span,
}

/// What a read found in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// So many units.
    Total(i64),
    /// So many units on each UTC day, by the second it begins at; days without any may be missing.
    Days(BTreeMap<i64, i64>),
    /// So many units, which no invoice has, or has yet.
    NotInvoiced(i64),
    /// The provider's current period is another one.
    OtherPeriod,
    /// The provider does not list this period.
    NotListed,
}

impl Standing {
    /// The units of the whole period; `None` where it was not found.
    #[must_use]
    pub fn total(&self) -> Option<i64> {
        match self {
            Self::Total(total) | Self::NotInvoiced(total) => Some(*total),
            Self::Days(days) => Some(days.values().fold(0, |sum, units| sum.saturating_add(*units))),
            Self::OtherPeriod | Self::NotListed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_add_up_and_what_is_of_another_period_is_no_total() {
        assert_eq!(Standing::Total(7).total(), Some(7));
        assert_eq!(Standing::NotInvoiced(7).total(), Some(7));
        assert_eq!(Standing::Days([(0, 4), (86_400, 3)].into()).total(), Some(7));
        assert_eq!(Standing::OtherPeriod.total(), None);
        assert_eq!(Standing::NotListed.total(), None);
    }
}
