//! What is looked at of a subscription, and how it is reported.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Timestamp;

/// A subscription as a command reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SubscriptionView {
    /// Whether it was made now; absent where nothing was to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
    /// `sub_…`.
    pub subscription: String,
    /// `cus_…`.
    pub customer: String,
    /// As Stripe says it.
    pub status: String,
    /// Whether it ends with its period.
    pub cancel_at_period_end: bool,
    /// What it consists of.
    pub items: Vec<ItemView>,
    /// The last invoice, `in_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_invoice: Option<String>,
    /// What a page needs to let the customer pay it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// An item of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemView {
    /// `si_…`.
    pub item: String,
    /// The price's lookup key, else its id.
    pub price: String,
    /// Whether usage decides its quantity.
    pub metered: bool,
    /// Where its open period begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_from: Option<Timestamp>,
    /// Where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_to: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SubscriptionAtStripe {
    pub(super) id: String,
    customer: String,
    status: String,
    #[serde(default)]
    cancel_at_period_end: bool,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    #[serde(default)]
    discounts: Vec<IgnoredAny>,
    /// Before the list.
    discount: Option<IgnoredAny>,
    items: Items,
}

#[derive(Debug, Deserialize)]
struct Items {
    data: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    id: String,
    price: Price,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Price {
    id: String,
    lookup_key: Option<String>,
    product: String,
    recurring: Option<Recurring>,
}

#[derive(Debug, Deserialize)]
struct Recurring {
    usage_type: String,
}

/// Statuses after which nothing changes any more.
const ENDED: [&str; 2] = ["canceled", "incomplete_expired"];

impl SubscriptionAtStripe {
    pub(super) fn is_running(&self) -> bool {
        !ENDED.contains(&self.status.as_str())
    }

    /// Whether it consists of these prices and no others.
    pub(super) fn has_exactly(&self, prices: &[String]) -> bool {
        let items = &self.items.data;
        items.len() == prices.len() && items.iter().all(|item| prices.contains(&item.price.id))
    }

    pub(super) fn has_discount(&self) -> bool {
        !self.discounts.is_empty() || self.discount.is_some()
    }

    pub(super) fn products(&self) -> impl Iterator<Item = &str> {
        self.items.data.iter().map(|item| item.price.product.as_str())
    }

    pub(super) fn price_names(&self) -> Vec<&str> {
        self.items.data.iter().map(|item| item.price.name()).collect()
    }
}

impl Price {
    fn name(&self) -> &str {
        self.lookup_key.as_deref().unwrap_or(&self.id)
    }
}

impl SubscriptionView {
    pub(super) fn of(found: SubscriptionAtStripe, latest_invoice: &Value) -> Self {
        // Before basil a period is the subscription's.
        let whole = (found.current_period_start, found.current_period_end);
        let time = |secs: Option<i64>| secs.map(Timestamp::from_secs);
        let items = found.items.data.into_iter().map(|item| ItemView {
            metered: item.price.recurring.as_ref().is_some_and(|recurring| recurring.usage_type == "metered"),
            price: item.price.name().to_owned(),
            item: item.id,
            period_from: time(item.current_period_start.or(whole.0)),
            period_to: time(item.current_period_end.or(whole.1)),
        });
        let secrets = ["/confirmation_secret/client_secret", "/payment_intent/client_secret"];
        let is_unpaid = found.status == "incomplete";
        let secret = secrets.iter().find_map(|at| latest_invoice.pointer(at)?.as_str()).filter(|_| is_unpaid);
        Self {
            created: None,
            subscription: found.id,
            customer: found.customer,
            status: found.status,
            cancel_at_period_end: found.cancel_at_period_end,
            items: items.collect(),
            latest_invoice: latest_invoice.get("id").and_then(Value::as_str).map(str::to_owned),
            client_secret: secret.map(str::to_owned),
        }
    }

    /// One that a dry run did not make.
    pub(super) fn planned(id: String, customer: &str, prices: &[String]) -> Self {
        let items = prices.iter().map(|price| ItemView {
            item: "<new>".to_owned(),
            price: price.clone(),
            metered: false,
            period_from: None,
            period_to: None,
        });
        let status = "not created".to_owned();
        Self { subscription: id, customer: customer.to_owned(), status, items: items.collect(), ..Self::default() }
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        ENDED.contains(&self.status.as_str())
    }
}
