//! Subscriptions: what they are, and how they are shown. How they begin is in `subscribe.rs`, how they change in
//! `subscription_changes.rs`, what time does to them in `billing.rs`.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::collection::Pause;
use super::customers::Metadata;
use super::discounts::Discount;
use super::errors::ApiError;
use super::items::{self, Item};
use super::lines::{Line, Stretch};
use super::lists;
use super::periods::{Anchor, Interval};
use super::shapes::merged;
use super::test_clocks;
use super::trials::{self, TrialWithoutMethod};
use super::version::Version;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) customer: String,
    /// The customer's.
    pub(super) test_clock: Option<String>,
    pub(super) status: Status,
    pub(super) currency: String,
    pub(super) interval: Interval,
    pub(super) anchor: Anchor,
    /// Whether the anchor came from `billing_cycle_anchor_config`.
    pub(super) anchor_configured: bool,
    pub(super) period_start: i64,
    /// The next boundary; where the open period ends is in [`Self::period`].
    pub(super) period_end: i64,
    pub(super) metadata: Metadata,
    pub(super) description: Option<String>,
    /// Days until an invoice that is sent is due; `None` where it is charged by itself.
    pub(super) days_until_due: Option<i64>,
    pub(super) payment_method: Option<String>,
    pub(super) cancel_at_period_end: bool,
    /// The moment at which it ends, in this period or in a later one.
    pub(super) cancel_at: Option<i64>,
    pub(super) canceled_at: Option<i64>,
    pub(super) ended_at: Option<i64>,
    /// `billing_thresholds[amount_gte]`, here or on an item.
    pub(super) threshold: Option<i64>,
    pub(super) latest_invoice: Option<String>,
    pub(super) trial_end: Option<i64>,
    /// The end of a trial of which it was told that it is near.
    #[serde(default)]
    pub(super) told_trial_end: Option<i64>,
    /// Until when the first invoice of an incomplete one can be paid.
    pub(super) incomplete_until: Option<i64>,
    /// Prorations, and usage of prices that were left, that the next invoice will carry.
    pub(super) pending: Vec<Line>,
    pub(super) pause: Option<Pause>,
    pub(super) trial_without_method: TrialWithoutMethod,
    /// Whether its items have periods of their own.
    pub(super) flexible: bool,
    /// What makes its invoices cheaper.
    #[serde(default)]
    pub(super) discount: Option<Discount>,
    /// The id that the next invoice will have, where usage was closed with it already.
    pub(super) promised_invoice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Incomplete,
    IncompleteExpired,
    Trialing,
    Active,
    PastDue,
    Unpaid,
    Paused,
    Canceled,
}

impl Status {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
        }
    }

    /// Whether nothing changes it any more.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }
}

impl Subscription {
    /// The period that is open. It ends where the subscription does, if that is earlier.
    pub(super) fn period(&self) -> Stretch {
        Stretch { start: self.period_start, end: self.no_later(self.period_end) }
    }

    /// A moment, or that at which it ends if that is earlier.
    pub(super) fn no_later(&self, moment: i64) -> i64 {
        self.cancel_at.map_or(moment, |at| at.min(moment))
    }

    /// Whether nothing comes after the open period.
    pub(super) fn ends_with_period(&self) -> bool {
        self.cancel_at_period_end || self.cancel_at.is_some_and(|at| at <= self.period_end)
    }
}

impl Record for Subscription {
    const KIND: &'static str = "subscription";
    const NOUN: &'static str = "subscription";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.customer)
    }
    fn due(&self) -> Option<i64> {
        let stage = match self.status {
            Status::Incomplete => self.incomplete_until,
            Status::Trialing | Status::Active | Status::PastDue | Status::Unpaid => Some(self.period().end),
            Status::IncompleteExpired | Status::Paused | Status::Canceled => None,
        };
        let resumes = self.pause.and_then(|pause| pause.resumes_at).filter(|_| !self.status.is_over());
        stage.into_iter().chain(resumes).chain(trials::told_at(self)).min()
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    render(call.books, &books::get(call.books, call.id)?, call.version)
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["customer", "status", "price", "test_clock", "limit", "starting_after", "ending_before"])?;
    let (clock, of_any_clock) = (test_clocks::named(call)?, form.has("customer") && !form.has("test_clock"));
    let words = [
        "incomplete",
        "incomplete_expired",
        "trialing",
        "active",
        "past_due",
        "unpaid",
        "paused",
        "canceled",
        "ended",
        "all",
    ];
    let status = form.word("status", &words)?;
    let price = form.text("price")?;
    let mut rendered = Vec::new();
    for one in books::all::<Subscription>(call.books, form.text("customer")?)? {
        let wanted = match status {
            None => one.status != Status::Canceled,
            Some("all") => true,
            Some("ended") => one.status.is_over(),
            Some(word) => one.status.word() == word,
        };
        let has_price = match price {
            None => true,
            Some(price) => items::live(call.books, &one.id)?.iter().any(|item| item.price == price),
        };
        if wanted && has_price && (of_any_clock || one.test_clock == clock) {
            rendered.push(render(call.books, &one, call.version)?);
        }
    }
    lists::page(call, "/v1/subscriptions", rendered)
}

pub(super) fn render(books: &Connection, one: &Subscription, version: &Version) -> Result<Value, ApiError> {
    render_with(books, one, &items::live(books, &one.id)?, version)
}

/// As it is with these items.
pub(super) fn render_with(
    books: &Connection,
    one: &Subscription,
    items: &[Item],
    version: &Version,
) -> Result<Value, ApiError> {
    let rendered = items.iter().map(|item| items::render(books, item, one, version)).collect::<Result<Vec<_>, _>>()?;
    let url = format!("/v1/subscription_items?subscription={}", one.id);
    let threshold = |amount| json!({ "amount_gte": amount, "reset_billing_cycle_anchor": false });
    let state = json!({
        "id": one.id,
        "object": "subscription",
        "billing_cycle_anchor": one.anchor.at,
        "billing_cycle_anchor_config": render_anchor(one),
        "billing_thresholds": one.threshold.map(threshold),
        "cancel_at": one.cancel_at.or(one.cancel_at_period_end.then_some(one.period_end)),
        "cancel_at_period_end": one.cancel_at_period_end,
        "canceled_at": one.canceled_at,
        "collection_method": if one.days_until_due.is_some() { "send_invoice" } else { "charge_automatically" },
        "created": one.created,
        "currency": one.currency,
        "customer": one.customer,
        "days_until_due": one.days_until_due,
        "default_payment_method": one.payment_method,
        "description": one.description,
        "discounts": one.discount.iter().map(Discount::id).collect::<Vec<_>>(),
        "ended_at": one.ended_at,
        "items": lists::whole(&url, &rendered),
        "latest_invoice": one.latest_invoice,
        "livemode": false,
        "metadata": one.metadata,
        "start_date": one.created,
        "status": one.status.word(),
        "trial_end": one.trial_end,
        "trial_start": one.trial_end.map(|_| one.created),
    });
    let mut value = merged(state, render_constants(one));
    if version.has_billing_mode()
        && let Some(fields) = value.as_object_mut()
    {
        let mode = if one.flexible { "flexible" } else { "classic" };
        fields.insert("billing_mode".to_owned(), json!({ "type": mode }));
    }
    if version.is_basil() {
        return Ok(value);
    }
    let only = if let [only] = items { only.quantity } else { None };
    let discount = one.discount.as_ref().map(|discount| discount.render(&one.id, &one.customer));
    let period = json!({ "current_period_start": one.period_start, "current_period_end": one.period().end });
    Ok(merged(value, merged(period, json!({ "discount": discount, "quantity": only }))))
}

/// What callers expect to find, and the sandbox has one answer to.
fn render_constants(one: &Subscription) -> Value {
    let reason = one.canceled_at.map(|_| "cancellation_requested");
    json!({
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
        "cancellation_details": { "comment": null, "feedback": null, "reason": reason },
        "default_source": null,
        "default_tax_rates": [],
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": one.pause.map(Pause::render),
        "payment_settings": {
            "payment_method_options": null,
            "payment_method_types": null,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "test_clock": one.test_clock,
        "transfer_data": null,
        "trial_settings": { "end_behavior": { "missing_payment_method": one.trial_without_method } },
    })
}

fn render_anchor(one: &Subscription) -> Value {
    let time = chrono::DateTime::from_timestamp(one.anchor.at, 0).filter(|_| one.anchor_configured);
    time.map_or(Value::Null, |time| {
        use chrono::Timelike;
        json!({
            "day_of_month": one.anchor.day,
            "hour": time.hour(),
            "minute": time.minute(),
            "month": null,
            "second": time.second(),
        })
    })
}
