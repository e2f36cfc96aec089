//! Invoices: what they are, and how they are shown. When they are made is in `billing.rs`.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::billing;
use super::books::{self, Record};
use super::call::Call;
use super::discounts::Discount;
use super::errors::ApiError;
use super::lines::Line;
use super::lists;
use super::payments;
use super::shapes::merged;
use super::subscriptions::{Status as SubscriptionStatus, Subscription};
use super::version::Version;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Invoice {
    pub(super) id: String,
    pub(super) created: i64,
    /// Given when it is finalized.
    pub(super) number: Option<String>,
    pub(super) customer: String,
    pub(super) subscription: String,
    pub(super) status: Status,
    pub(super) billing_reason: String,
    pub(super) currency: String,
    pub(super) lines: Vec<Line>,
    pub(super) amount_paid: i64,
    pub(super) period_start: i64,
    pub(super) period_end: i64,
    /// When a draft becomes final.
    pub(super) finalize_at: Option<i64>,
    pub(super) finalized_at: Option<i64>,
    pub(super) paid_at: Option<i64>,
    /// Otherwise than by a payment here.
    #[serde(default)]
    pub(super) paid_out_of_band: bool,
    pub(super) voided_at: Option<i64>,
    pub(super) payment_intent: Option<String>,
    /// Days until it is due where it is sent; `None` where it is charged by itself.
    pub(super) days_until_due: Option<i64>,
    pub(super) uncollectible_at: Option<i64>,
    /// Payments that failed.
    pub(super) attempts: u32,
    /// When an open one is tried again.
    pub(super) next_attempt: Option<i64>,
    /// What makes it cheaper.
    #[serde(default)]
    pub(super) discount: Option<Discount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Draft,
    Open,
    Paid,
    Uncollectible,
    Void,
}

impl Status {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Uncollectible => "uncollectible",
            Self::Void => "void",
        }
    }
}

impl Record for Invoice {
    const KIND: &'static str = "invoice";
    const NOUN: &'static str = "invoice";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.subscription)
    }
    fn due(&self) -> Option<i64> {
        match self.status {
            Status::Draft => self.finalize_at,
            Status::Open => self.next_attempt,
            Status::Paid | Status::Uncollectible | Status::Void => None,
        }
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

impl Invoice {
    /// The sum of its lines; below zero where more is given back than asked for.
    fn subtotal(&self) -> i64 {
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(line.amount))
    }

    /// What a discount takes off it.
    fn off(&self) -> i64 {
        self.discount.as_ref().map_or(0, |discount| discount.takes_off(self.subtotal()))
    }

    /// The sum of its lines less a discount.
    fn total(&self) -> i64 {
        self.subtotal().saturating_sub(self.off())
    }

    /// What the customer has to pay.
    pub(super) fn amount_due(&self) -> i64 {
        self.total().max(0)
    }
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?, call.version))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["customer", "subscription", "status", "limit", "starting_after", "ending_before"])?;
    let status = form.word("status", &["draft", "open", "paid", "uncollectible", "void"])?;
    let customer = form.text("customer")?;
    let invoices: Vec<Invoice> = books::all(call.books, form.text("subscription")?)?;
    let fits = |one: &&Invoice| {
        status.is_none_or(|status| one.status.word() == status)
            && customer.is_none_or(|customer| one.customer == customer)
    };
    lists::page(call, "/v1/invoices", invoices.iter().filter(fits).map(|one| render(one, call.version)).collect())
}

pub(super) fn list_lines(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["limit", "starting_after", "ending_before"])?;
    let invoice: Invoice = books::get(call.books, call.id)?;
    let rendered = invoice.lines.iter().map(|line| line.render(&invoice.subscription, call.version)).collect();
    lists::newest_first(call, &format!("/v1/invoices/{}/lines", invoice.id), rendered)
}

/// What the next invoice would be, as things stand.
pub(super) fn upcoming(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["customer", "subscription"])?;
    let subscription = match (form.text("subscription")?, form.text("customer")?) {
        (None, None) => return Err(ApiError::missing("customer")),
        (Some(id), customer) => {
            let found: Subscription = books::get_at(call.books, "subscription", id)?;
            match customer {
                Some(customer) if customer != found.customer => {
                    return Err(ApiError::refused_at("subscription", "The subscription is of another customer."));
                }
                _ => found,
            }
        }
        (None, Some(customer)) => {
            books::get_at::<super::customers::Customer>(call.books, "customer", customer)?;
            let all: Vec<Subscription> = books::all(call.books, Some(customer))?;
            let running = all.into_iter().find(|one| one.due().is_some());
            running.ok_or_else(|| ApiError::nothing_upcoming(customer))?
        }
    };
    if subscription.status.is_over() || subscription.status == SubscriptionStatus::Incomplete {
        return Err(ApiError::nothing_upcoming(&subscription.customer));
    }
    let preview = billing::preview(call.books, &subscription, call.sandbox_now)?;
    let mut value = render(&preview, call.version);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("id");
        fields.insert("next_payment_attempt".to_owned(), json!(preview.finalize_at));
    }
    Ok(value)
}

/// `POST /v1/invoices/{id}/pay`.
pub(super) fn pay(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["payment_method", "paid_out_of_band"])?;
    let mut invoice: Invoice = books::get(call.books, call.id)?;
    payments::pay(call, &mut invoice)?;
    Ok(render(&invoice, call.version))
}

/// `POST /v1/invoices/{id}/finalize`.
pub(super) fn finalize(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["auto_advance"])?;
    let mut invoice: Invoice = books::get(call.books, call.id)?;
    if invoice.status != Status::Draft {
        let message = "This invoice is already finalized, you can't re-finalize a non-draft invoice.";
        return Err(ApiError::refused_as("invoice_not_editable", message));
    }
    billing::finalize(call.books, &mut invoice, call.now)?;
    Ok(render(&invoice, call.version))
}

pub(super) fn render(invoice: &Invoice, version: &Version) -> Value {
    let of_version = if version.is_basil() { since_basil(invoice) } else { before_basil(invoice) };
    merged(merged(render_amounts(invoice, version), render_state(invoice)), of_version)
}

fn render_amounts(invoice: &Invoice, version: &Version) -> Value {
    let lines: Vec<Value> = invoice.lines.iter().map(|line| line.render(&invoice.subscription, version)).collect();
    let (subtotal, total, due) = (invoice.subtotal(), invoice.total(), invoice.amount_due());
    let discounts = invoice.discount.as_slice();
    let off = |discount: &Discount| json!({ "amount": invoice.off(), "discount": discount.id() });
    json!({
        "id": invoice.id,
        "object": "invoice",
        "account_country": "DE",
        "account_name": "usaged sandbox",
        "amount_due": due,
        "amount_overpaid": 0,
        "amount_paid": invoice.amount_paid,
        "amount_remaining": due.saturating_sub(invoice.amount_paid),
        "currency": invoice.currency,
        "customer": invoice.customer,
        "discounts": discounts.iter().map(Discount::id).collect::<Vec<_>>(),
        "lines": lists::whole(&format!("/v1/invoices/{}/lines", invoice.id), &lines),
        "livemode": false,
        "metadata": {},
        "starting_balance": 0,
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal,
        "total": total,
        "total_discount_amounts": discounts.iter().map(off).collect::<Vec<_>>(),
        "total_excluding_tax": total,
    })
}

fn render_state(invoice: &Invoice) -> Value {
    let finalized = invoice.finalized_at;
    let paid = invoice.status == Status::Paid && invoice.amount_due() > 0 && invoice.days_until_due.is_none();
    let due_date = invoice.days_until_due.and_then(|days| Some(finalized?.saturating_add(days.saturating_mul(86_400))));
    json!({
        "attempt_count": i64::from(invoice.attempts).saturating_add(i64::from(paid)),
        "attempted": finalized.is_some(),
        "auto_advance": invoice.due().is_some(),
        "automatic_tax": { "enabled": false, "liability": null, "status": null },
        "billing_reason": invoice.billing_reason,
        "collection_method": if invoice.days_until_due.is_some() { "send_invoice" } else { "charge_automatically" },
        "created": invoice.created,
        "custom_fields": null,
        "default_payment_method": null,
        "description": null,
        "due_date": due_date,
        "effective_at": finalized,
        "ending_balance": finalized.map(|_| 0),
        "footer": null,
        "hosted_invoice_url": null,
        "invoice_pdf": null,
        "next_payment_attempt": invoice.due(),
        "number": invoice.number,
        "period_end": invoice.period_end,
        "period_start": invoice.period_start,
        "receipt_number": null,
        "status": invoice.status.word(),
        "status_transitions": {
            "finalized_at": finalized,
            "marked_uncollectible_at": invoice.uncollectible_at,
            "paid_at": invoice.paid_at,
            "voided_at": invoice.voided_at,
        },
    })
}

fn since_basil(invoice: &Invoice) -> Value {
    let details = json!({ "metadata": {}, "subscription": invoice.subscription });
    json!({
        "parent": { "quote_details": null, "subscription_details": details, "type": "subscription_details" },
        "total_taxes": [],
    })
}

fn before_basil(invoice: &Invoice) -> Value {
    json!({
        "charge": null,
        "discount": invoice.discount.as_ref().map(|one| one.render(&invoice.subscription, &invoice.customer)),
        "paid": invoice.status == Status::Paid,
        "paid_out_of_band": invoice.paid_out_of_band,
        "payment_intent": invoice.payment_intent,
        "subscription": invoice.subscription,
        "subscription_details": { "metadata": {} },
        "tax": null,
        "total_tax_amounts": [],
    })
}

/// All of a subscription, oldest first.
pub(super) fn of_subscription(books: &Connection, subscription: &str) -> Result<Vec<Invoice>, ApiError> {
    books::all(books, Some(subscription))
}
