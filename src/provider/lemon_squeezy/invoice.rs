//! Reading a subscription's last invoices.
//!
//! <https://docs.lemonsqueezy.com/api/subscription-invoices/the-subscription-invoice-object>. Whether a payment failed is not
//! said of an invoice, but of its subscription, which is `past_due` then.

use serde::Deserialize;

use crate::model::{Invoice, InvoiceId, SubscriptionId};
use crate::provider::ReadAnswer;
use crate::provider::judge::Judged;

use super::client::{Client, Reading};
use super::document::{Page, Resource, time};

#[derive(Deserialize)]
struct WireInvoice {
    status: String,
    currency: String,
    total: i64,
    created_at: String,
}

/// `GET /v1/subscription-invoices`, the first page of those of a subscription.
pub(super) async fn read(client: &Client, of: &SubscriptionId) -> ReadAnswer<Vec<Invoice>> {
    let mut reading = Reading::by(client);
    let query = [("filter[subscription_id]", of.as_str()), ("page[size]", "15")];
    let found: Judged<Vec<Invoice>> = reading
        .get("/v1/subscription-invoices", &query, |page: Page<WireInvoice>| {
            page.data.into_iter().map(|one| view(of, one)).collect()
        })
        .await;
    reading.done(found)
}

fn view(of: &SubscriptionId, one: Resource<WireInvoice>) -> Result<Invoice, String> {
    let wire = one.attributes;
    let status = match wire.status.as_str() {
        "pending" => "open",
        other => other,
    };
    Ok(Invoice {
        id: InvoiceId::new(one.id).map_err(|error| error.to_string())?,
        subscription: of.clone(),
        number: None,
        status: status.to_owned(),
        currency: wire.currency.to_ascii_lowercase(),
        due: wire.total,
        remaining: if status == "open" { wire.total } else { 0 },
        attempts: 0,
        next_attempt: None,
        declined: None,
        created: time(&wire.created_at)?,
    })
}
