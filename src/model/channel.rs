//! `Channel`: the way in which an item's total reaches its provider.

use serde::{Deserialize, Serialize};

use super::BillingMeterId;

/// By what means "this item, in this period, N" is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Stripe's legacy usage records: the record at one timestamp is set to the total (rule S3).
    UsageRecords,
    /// Events on a Stripe meter (rules S7, S8).
    Meter(BillingMeter),
    /// Lemon Squeezy: the total of whatever period is current is set (rule S9).
    CurrentUsage,
}

/// A Stripe meter, as far as events and reads need it. Nothing of it can change at Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingMeter {
    /// `mtr_…`.
    pub id: BillingMeterId,
    /// The name its events carry.
    pub event_name: String,
    /// Payload field that names the customer.
    pub customer_key: String,
    /// Payload field that holds the value.
    pub value_key: String,
    /// What becomes of several events.
    pub formula: Formula,
}

/// What a meter makes of the events of one customer in a period, as far as totals can be set on it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// `last`: the newest event is the total.
    Last,
    /// `sum` with day windows: the newest event of each UTC day is the day's share.
    SumOfDays,
    /// `sum`: all events are added up.
    Sum,
}

impl Channel {
    /// The meter, where it is one.
    #[must_use]
    pub const fn meter(&self) -> Option<&BillingMeter> {
        match self {
            Self::Meter(meter) => Some(meter),
            Self::UsageRecords | Self::CurrentUsage => None,
        }
    }

    /// The meter's formula, where there is one.
    #[must_use]
    pub const fn formula(&self) -> Option<Formula> {
        match self {
            Self::Meter(meter) => Some(meter.formula),
            Self::UsageRecords | Self::CurrentUsage => None,
        }
    }

    /// As people see it, the provider kind and the formula.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::UsageRecords => "usage records",
            Self::Meter(BillingMeter { formula: Formula::Last, .. }) => "meter, last",
            Self::Meter(BillingMeter { formula: Formula::SumOfDays, .. }) => "meter, sum of days",
            Self::Meter(BillingMeter { formula: Formula::Sum, .. }) => "meter, sum",
            Self::CurrentUsage => "current usage",
        }
    }
}
