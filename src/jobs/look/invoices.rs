//! What happened to invoices since they were read last.

use std::sync::Arc;

use serde_json::json;

use super::super::{Context, JobError};
use crate::account;
use crate::model::{Invoice, Timestamp};
use crate::store::{Tx, audit};

/// Keeps what changed, and writes into the audit what happened.
pub(super) async fn note(context: &Arc<Context>, read: Vec<Invoice>) -> Result<(), JobError> {
    let now = context.now();
    let known = context.store.read(move |c| unchanged(c, &read).map(|unchanged| (read, unchanged))).await?;
    let (read, is_unchanged) = known;
    if is_unchanged {
        return Ok(());
    }
    context.store.write(move |tx| read.into_iter().try_for_each(|invoice| note_one(tx, invoice, now))).await
}

fn unchanged(connection: &rusqlite::Connection, read: &[Invoice]) -> Result<bool, JobError> {
    for invoice in read {
        if account::invoice(connection, &invoice.id)?.as_ref() != Some(invoice) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn note_one(tx: &Tx<'_>, mut read: Invoice, now: Timestamp) -> Result<(), JobError> {
    let before = account::invoice(tx, &read.id)?;
    if let Some(before) = &before
        && read.declined.is_none()
        && read.attempts == before.attempts
    {
        // It could not be read this time.
        read.declined.clone_from(&before.declined);
    }
    if before.as_ref() == Some(&read) {
        return Ok(());
    }
    account::note_invoice(tx, &read, now)?;
    if let Some(happened) = happened(before.as_ref(), &read) {
        tracing::info!(invoice = %read.id, status = %read.status, attempts = read.attempts, "{happened}");
        let detail = json!({
            "number": read.number, "status": read.status, "currency": read.currency, "due": read.due,
            "remaining": read.remaining, "attempts": read.attempts, "declined": read.declined,
        });
        audit::append(tx, now, "usaged", happened, read.id.as_str(), &detail)?;
    }
    Ok(())
}

/// In the provider's words for its events. What was settled before it was seen first is no news.
fn happened(before: Option<&Invoice>, read: &Invoice) -> Option<&'static str> {
    let was = before.map(|before| before.status.as_str());
    let has_failed = read.is_failing() && before.is_none_or(|before| read.attempts > before.attempts);
    match read.status.as_str() {
        _ if has_failed => Some("invoice.payment_failed"),
        status if was.is_none_or(|was| was == status) => None,
        "paid" => Some("invoice.paid"),
        "uncollectible" => Some("invoice.marked_uncollectible"),
        "void" => Some("invoice.voided"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InvoiceId, SubscriptionId};

    fn invoice(status: &str, attempts: u32) -> Invoice {
        Invoice {
            id: InvoiceId::new("in_1").unwrap(),
            subscription: SubscriptionId::new("sub_1").unwrap(),
            number: None,
            status: status.to_owned(),
            currency: "eur".to_owned(),
            due: 100,
            remaining: if status == "paid" { 0 } else { 100 },
            attempts,
            next_attempt: None,
            declined: None,
            created: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn news_is_what_changed_and_each_payment_that_failed() {
        let told = |before: Option<(&str, u32)>, read: (&str, u32)| {
            happened(before.map(|(status, attempts)| invoice(status, attempts)).as_ref(), &invoice(read.0, read.1))
        };
        assert_eq!(told(Some(("open", 0)), ("paid", 1)), Some("invoice.paid"));
        assert_eq!(told(Some(("open", 2)), ("paid", 3)), Some("invoice.paid"));
        assert_eq!(told(Some(("open", 0)), ("open", 1)), Some("invoice.payment_failed"));
        assert_eq!(told(Some(("open", 1)), ("open", 2)), Some("invoice.payment_failed"));
        assert_eq!(told(None, ("open", 1)), Some("invoice.payment_failed"));
        assert_eq!(told(Some(("open", 4)), ("uncollectible", 4)), Some("invoice.marked_uncollectible"));
        assert_eq!(told(Some(("open", 1)), ("void", 1)), Some("invoice.voided"));
        for nothing in [(Some(("open", 1)), ("open", 1)), (None, ("paid", 1)), (Some(("draft", 0)), ("open", 0))] {
            assert_eq!(told(nothing.0, nothing.1), None, "{nothing:?}");
        }
    }
}
