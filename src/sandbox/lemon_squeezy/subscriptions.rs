//! Subscriptions: what they are, and how they are shown. What time does to them is in `billing.rs`.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::books::{self, Record};
use super::super::lines::Stretch;
use super::super::periods::{Anchor, Interval};
use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;
use super::{items, prices, store};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) customer: String,
    pub(super) variant: String,
    pub(super) status: Status,
    pub(super) interval: Interval,
    pub(super) anchor: Anchor,
    pub(super) period_start: i64,
    pub(super) period_end: i64,
    /// When it expires, or did; `None` while nobody has cancelled it.
    pub(super) ends: Option<i64>,
}

/// What a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In its trial: it has no items yet.
    OnTrial,
    /// Paid.
    Active,
    /// Nothing is collected: its invoices are void.
    Paused,
    /// The last payment failed, and is tried again.
    PastDue,
    /// All tries failed.
    Unpaid,
    /// It goes on to the end of its period, and is not renewed.
    Cancelled,
    /// It is over.
    Expired,
}

impl Status {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::OnTrial => ("on_trial", "On Trial"),
            Self::Active => ("active", "Active"),
            Self::Paused => ("paused", "Paused"),
            Self::PastDue => ("past_due", "Past due"),
            Self::Unpaid => ("unpaid", "Unpaid"),
            Self::Cancelled => ("cancelled", "Cancelled"),
            Self::Expired => ("expired", "Expired"),
        }
    }
}

impl Record for Subscription {
    const KIND: &'static str = "subscriptions";
    const NOUN: &'static str = "subscription";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.customer)
    }
    fn due(&self) -> Option<i64> {
        (self.status != Status::Expired).then_some(self.period_end)
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

impl Subscription {
    pub(super) const fn period(&self) -> Stretch {
        Stretch { start: self.period_start, end: self.period_end }
    }
}

const RELATED: [&str; 8] =
    ["store", "customer", "order", "order-item", "product", "variant", "subscription-items", "subscription-invoices"];

pub(super) fn get(books: &Connection, id: &str) -> Result<Subscription, ApiError> {
    books::find(books, id)?.ok_or_else(ApiError::not_found)
}

/// `GET /v1/subscriptions/{id}`.
pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&["include"])?;
    let asked = call.query.include(&["store", "subscription-items"], &RELATED)?;
    let subscription = get(call.books, call.id)?;
    let mut with = Vec::new();
    for path in asked {
        if path == "store" {
            with.push(store::render());
            continue;
        }
        for item in items::of_subscription(call.books, &subscription.id, call.now)? {
            with.push(items::render(&item, &prices::get(call.books, &item.price)?));
        }
    }
    Ok(document::one(call, Shown { resource: render(call.books, &subscription, call.now)?, with }))
}

/// Changes what it is, as its customer, its owner or its bank would.
pub(super) fn set_status(books: &Connection, id: &str, status: Status, now: i64) -> Result<(), ApiError> {
    let mut subscription = get(books, id)?;
    if subscription.status == Status::Expired || status == Status::OnTrial {
        return Err(ApiError::order(format!(
            "the subscription {id} is {} and cannot become {}",
            subscription.status.words().0,
            status.words().0
        )));
    }
    subscription.status = status;
    subscription.ends = match status {
        Status::Cancelled => Some(subscription.period_end),
        Status::Expired => Some(now),
        _ => None,
    };
    Ok(books::put(books, &subscription)?)
}

pub(super) fn render(books: &Connection, one: &Subscription, now: i64) -> Result<Value, ApiError> {
    let (status, formatted) = one.status.words();
    let first = match items::of_subscription(books, &one.id, now)?.first() {
        Some(first) => items::render_inside(first, &prices::get(books, &first.price)?),
        None => Value::Null,
    };
    let attributes = json!({
        "store_id": document::number(store::STORE),
        "customer_id": document::number(&one.customer),
        "order_id": document::number(&one.id),
        "order_item_id": document::number(&one.id),
        "product_id": document::number(&one.variant),
        "variant_id": document::number(&one.variant),
        "product_name": "Magic Box",
        "variant_name": "Pro",
        "user_name": "Demo customer",
        "user_email": "demo@example.com",
        "status": status,
        "status_formatted": formatted,
        "card_brand": "visa",
        "card_last_four": "4242",
        "pause": (one.status == Status::Paused).then(|| json!({ "mode": "void", "resumes_at": null })),
        "cancelled": one.status == Status::Cancelled,
        "trial_ends_at": (one.status == Status::OnTrial).then(|| document::time(one.period_end)),
        "billing_anchor": one.anchor.day,
        "first_subscription_item": first,
        "urls": {
            "update_payment_method": "https://sandbox.example.com/update",
            "customer_portal": "https://sandbox.example.com/billing",
            "customer_portal_update_subscription": "https://sandbox.example.com/billing/update",
        },
        "renews_at": document::time(one.period_end),
        "ends_at": one.ends.map(document::time),
        "created_at": document::time(one.created),
        "updated_at": document::time(one.created),
        "test_mode": true,
    });
    Ok(document::resource(Subscription::KIND, &one.id, &attributes, &RELATED))
}
