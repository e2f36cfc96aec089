//! Invoices that were made, and the one that would be made next.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OperatorError;
use super::caller::{Caller, decode};
use super::form::Form;
use super::report::Names;
use crate::model::{CustomerId, SubscriptionId, Timestamp};

/// Whose invoices.
#[derive(Debug, Clone)]
pub enum Of {
    /// All of a customer's.
    Customer(CustomerId),
    /// Of one subscription.
    Subscription(SubscriptionId),
}

/// What would be invoiced if the period ended as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewReport {
    /// `None`: nothing is upcoming.
    pub invoice: Option<InvoiceView>,
}

impl Names for PreviewReport {
    fn named(&self) -> Option<&str> {
        None
    }
}

/// Invoices, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvoicesReport {
    /// Without their lines.
    pub invoices: Vec<InvoiceView>,
}

impl Names for InvoicesReport {
    fn named(&self) -> Option<&str> {
        None
    }
}

/// An invoice. Amounts are in the currency's smallest unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvoiceView {
    /// `in_…`; a preview has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// As it is printed on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// As Stripe says it.
    pub status: String,
    /// When it was made, or would be.
    pub created: Timestamp,
    /// As `eur`.
    pub currency: String,
    /// The sum of its lines.
    pub subtotal: i64,
    /// After discounts and taxes.
    pub total: i64,
    /// What is left to pay.
    pub amount_remaining: i64,
    /// What it bills; empty in a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<InvoiceLine>,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// As it is printed.
    pub description: Option<String>,
    /// In units of the price.
    pub quantity: Option<i64>,
    /// Before discounts, in the currency's smallest unit.
    pub amount: i64,
}

#[derive(Debug, Deserialize)]
struct InvoiceAtStripe {
    id: Option<String>,
    number: Option<String>,
    status: Option<String>,
    created: i64,
    currency: String,
    subtotal: i64,
    total: i64,
    amount_remaining: i64,
    lines: Lines,
}

#[derive(Debug, Deserialize)]
struct Lines {
    data: Vec<InvoiceLine>,
}

/// The next invoice: `create_preview` from basil on, `upcoming` before.
pub async fn preview(caller: &Caller, of: &Of) -> Result<PreviewReport, OperatorError> {
    let what = "cannot preview the next invoice";
    let form = of.form();
    let answer = if caller.is_before_basil() {
        caller.read(what, "/v1/invoices/upcoming", &form).await
    } else {
        caller.ask(what, "/v1/invoices/create_preview", &form).await
    };
    let value: Value = match answer {
        Err(error) if error.stripe_code() == Some("invoice_upcoming_none") => {
            return Ok(PreviewReport { invoice: None });
        }
        answer => answer?,
    };
    let invoice: InvoiceAtStripe = decode(what, value)?;
    // A preview's id names nothing that could be asked for.
    let view = InvoiceView { invoice: None, ..InvoiceView::of(invoice) };
    Ok(PreviewReport { invoice: Some(view) })
}

/// Those that were made.
pub async fn list(caller: &Caller, of: &Of) -> Result<InvoicesReport, OperatorError> {
    let found: Vec<InvoiceAtStripe> = caller.list("cannot list the invoices", "/v1/invoices", &of.form()).await?;
    let without_lines = |invoice| InvoiceView { lines: Vec::new(), ..InvoiceView::of(invoice) };
    Ok(InvoicesReport { invoices: found.into_iter().map(without_lines).collect() })
}

impl Of {
    fn form(&self) -> Form {
        match self {
            Self::Customer(id) => Form::new().with("customer", id.as_str()),
            Self::Subscription(id) => Form::new().with("subscription", id.as_str()),
        }
    }
}

impl InvoiceView {
    fn of(found: InvoiceAtStripe) -> Self {
        Self {
            invoice: found.id,
            number: found.number,
            status: found.status.unwrap_or_else(|| "draft".to_owned()),
            created: Timestamp::from_secs(found.created),
            currency: found.currency,
            subtotal: found.subtotal,
            total: found.total,
            amount_remaining: found.amount_remaining,
            lines: found.lines.data,
        }
    }
}
