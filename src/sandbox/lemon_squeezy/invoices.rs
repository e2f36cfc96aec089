//! Subscription invoices: what a period came to. Lemon Squeezy shows no lines.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::books::{self, Record};
use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;
use super::store;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Invoice {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) customer: String,
    pub(super) subscription: String,
    pub(super) reason: Reason,
    pub(super) status: Status,
    /// Cents.
    pub(super) total: i64,
}

/// Why it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Initial,
    Renewal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Pending,
    Paid,
    Void,
}

impl Status {
    const fn formatted(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Paid => "Paid",
            Self::Void => "Void",
        }
    }
}

impl Record for Invoice {
    const KIND: &'static str = "subscription-invoices";
    const NOUN: &'static str = "subscription invoice";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.subscription)
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

/// `GET /v1/subscription-invoices`.
pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let filters = ["filter[store_id]", "filter[status]", "filter[refunded]"];
    if let Some(name) = filters.into_iter().find(|name| call.query.text(name).is_some()) {
        return Err(ApiError::not_kept(name));
    }
    call.query.allow(&["filter[subscription_id]", "page[number]", "page[size]"])?;
    let invoices: Vec<Invoice> = books::all(call.books, call.query.text("filter[subscription_id]"))?;
    let shown = invoices.iter().map(|one| Shown { resource: render(one), with: Vec::new() }).collect();
    document::page(call, Invoice::KIND, shown)
}

pub(super) fn render(invoice: &Invoice) -> Value {
    let formatted = |cents: i64| format!("€{}.{:02}", cents.div_euclid(100), cents.rem_euclid(100));
    let is_paid = invoice.status == Status::Paid;
    let attributes = json!({
        "store_id": document::number(store::STORE),
        "subscription_id": document::number(&invoice.subscription),
        "customer_id": document::number(&invoice.customer),
        "user_name": "Demo customer",
        "user_email": "demo@example.com",
        "billing_reason": invoice.reason,
        "card_brand": "visa",
        "card_last_four": "4242",
        "currency": store::CURRENCY,
        "currency_rate": "1.00000000",
        "status": invoice.status,
        "status_formatted": invoice.status.formatted(),
        "refunded": false,
        "refunded_at": null,
        "subtotal": invoice.total,
        "discount_total": 0,
        "tax": 0,
        "tax_inclusive": false,
        "total": invoice.total,
        "refunded_amount": 0,
        "subtotal_usd": invoice.total,
        "discount_total_usd": 0,
        "tax_usd": 0,
        "total_usd": invoice.total,
        "refunded_amount_usd": 0,
        "subtotal_formatted": formatted(invoice.total),
        "discount_total_formatted": formatted(0),
        "tax_formatted": formatted(0),
        "total_formatted": formatted(invoice.total),
        "refunded_amount_formatted": formatted(0),
        "urls": { "invoice_url": is_paid.then_some("https://sandbox.example.com/invoice") },
        "created_at": document::time(invoice.created),
        "updated_at": document::time(invoice.created),
        "test_mode": true,
    });
    document::resource(Invoice::KIND, &invoice.id, &attributes, &["store", "subscription", "customer"])
}
