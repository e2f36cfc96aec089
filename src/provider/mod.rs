//! The only room that speaks HTTP to a billing provider.
//!
//! Owns: the client, the provider's words, and their translation into our own types. One narrow interface: read the
//! subscription, read what stands, set (item, period) to N. Does not know: why N is N, or when to try again.
//! Invariant: a lost answer is [`Outcome::Unknown`], neither success nor failure.

pub mod stripe;

use std::time::Duration;

use rust_decimal::Decimal;

use crate::model::{CustomerId, ItemId, PriceId, Span, SubscriptionId, Timestamp};

/// "Set what stands on this item, at this timestamp, to this quantity."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUsage {
    /// Which item.
    pub item: ItemId,
    /// Whole billed units.
    pub quantity: u64,
    /// The record's timestamp, seconds (rule S3).
    pub timestamp_s: i64,
    /// Stored before this is sent (rule S2).
    pub idempotency_key: String,
}

/// What became of a request that changes something. One legal reading each; the outbox moves on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands.
    Accepted,
    /// Answered, certainly not done, and trying again later with the same key may work: 429, `lock_timeout`, 409 in
    /// flight, a connection that was never made.
    Unavailable {
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
        /// For status and log.
        why: Refusal,
    },
    /// May or may not have been done: lost answer, time-out, 5xx.
    Unknown {
        /// The provider stored this failure under the key and would only replay it: a new key is needed.
        needs_new_key: bool,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
        /// For status and log.
        why: Refusal,
    },
    /// Certainly not done, and asking again changes nothing.
    Refused(Refusal),
}

/// The provider's own words, sorted by what they ask of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it means for us.
    pub kind: RefusalKind,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The provider's `type`, `code` and `param`, where given.
    pub error_type: Option<String>,
    /// As `resource_missing`.
    pub code: Option<String>,
    /// As `timestamp`.
    pub param: Option<String>,
    /// One sentence; never holds a key.
    pub message: String,
}

/// What a refusal asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No answer arrived.
    Network,
    /// 429.
    RateLimited,
    /// 409, the same key is in flight.
    InFlight,
    /// 5xx.
    ProviderFault,
    /// 401: the key is wrong or expired.
    KeyRefused,
    /// 403: the key may not do this; the message names the permission.
    NotPermitted,
    /// The item, subscription or customer is not there: read the subscription again.
    Missing,
    /// The timestamp lies outside the current period: read the subscription again.
    TimestampRefused,
    /// Same key, other parameters: read back, then a new revision.
    IdempotencyMismatch,
    /// The item's price is on a meter: another provider kind is needed.
    WrongKind,
    /// Anything else; needs someone.
    Other,
    /// An answer that is not what the provider documents: HTML, truncated JSON, a gigantic body.
    Unreadable,
}

/// An answer, with what every answer brings.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The answer itself.
    pub value: T,
    /// The `Date` header, where there was one.
    pub date: Option<Timestamp>,
    /// The `Request-Id` header.
    pub request_id: Option<String>,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
}

/// Why a read brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .refusal.message)]
pub struct ReadError {
    /// What it means.
    pub refusal: Refusal,
    /// Whether the same read may work later.
    pub passing: bool,
    /// What `Retry-After` asked for.
    pub retry_after: Option<Duration>,
}

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

/// A provider that can be set to N. An enum and not a trait object: the set is closed, and tests speak real HTTP.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Measures only; nothing is billed.
    None,
    /// Stripe's legacy usage records.
    StripeUsageRecords(stripe::UsageRecords),
}
