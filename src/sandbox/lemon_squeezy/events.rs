//! What happens is told to webhooks, in the transaction in which it happened. Of what nobody asked for nothing is kept.
//! <https://docs.lemonsqueezy.com/help/webhooks/event-types>

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::super::books::{self, Record};
use super::super::changes::{self, Change};
use super::super::deliveries;
use super::super::events::{Moment, forget, keep};
use super::errors::ApiError;
use super::invoices::{self, Invoice, Status as InvoiceStatus};
use super::new_id;
use super::subscriptions::{self, Status, Subscription};
use super::webhooks::Webhook;

/// An event that was asked for.
pub(super) struct Event {
    pub(super) name: String,
    /// The resource as it was then.
    pub(super) data: Value,
}

/// Makes the events of everything that changed since the last time, and plans their delivery.
pub(super) fn tell(books: &Connection, at: i64) -> Result<(), ApiError> {
    let changes = changes::drain(books)?;
    if changes.is_empty() {
        return Ok(());
    }
    let webhooks: Vec<Webhook> = books::all(books, None)?;
    for change in changes {
        for name in names(&change)? {
            let mut wanting = webhooks.iter().filter(|one| one.events.iter().any(|event| event == name)).peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let (id, data) = (new_id(books)?, resource(books, &change, at)?);
            keep(books, &id, name, Moment { at, sandbox_at: at }, &Value::Null, &data)?;
            for webhook in wanting {
                deliveries::plan(books, &id, &webhook.id, at)?;
            }
        }
    }
    Ok(forget(books, at)?)
}

/// The event of this id. Lemon Squeezy itself shows none.
pub(super) fn find(books: &Connection, id: &str) -> Result<Option<Event>, ApiError> {
    let sql = "SELECT type, data FROM events WHERE id = ?1";
    let found: Option<(String, String)> =
        books.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let read = |(name, data): (String, String)| -> Result<Event, ApiError> { Ok(Event { name, data: parse(&data)? }) };
    found.map(read).transpose()
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    Ok(serde_json::from_str(text).map_err(super::super::errors::ApiError::from)?)
}

fn names(change: &Change) -> Result<Vec<&'static str>, ApiError> {
    let before = change.before.as_deref();
    match change.kind.as_str() {
        Subscription::KIND => {
            let status = |text: &str| Ok::<_, ApiError>(parse::<Subscription>(text)?.status);
            let (before, after) = (before.map(status).transpose()?, status(&change.after)?);
            Ok(if change.before.as_ref() == Some(&change.after) { Vec::new() } else { of_subscription(before, after) })
        }
        Invoice::KIND if before.is_none() => Ok(match parse::<Invoice>(&change.after)?.status {
            InvoiceStatus::Paid => vec!["subscription_payment_success"],
            InvoiceStatus::Pending => vec!["subscription_payment_failed"],
            InvoiceStatus::Void => Vec::new(),
        }),
        _ => Ok(Vec::new()),
    }
}

/// Whatever changes it comes also as an update.
fn of_subscription(before: Option<Status>, after: Status) -> Vec<&'static str> {
    let name = match (before, after) {
        (None, _) => return vec!["subscription_created"],
        (Some(before), after) if before == after => None,
        (_, Status::Cancelled) => Some("subscription_cancelled"),
        (_, Status::Expired) => Some("subscription_expired"),
        (_, Status::Paused) => Some("subscription_paused"),
        (Some(Status::Paused), Status::Active) => Some("subscription_unpaused"),
        (Some(Status::Cancelled), _) => Some("subscription_resumed"),
        _ => None,
    };
    name.into_iter().chain(["subscription_updated"]).collect()
}

fn resource(books: &Connection, change: &Change, at: i64) -> Result<Value, ApiError> {
    match change.kind.as_str() {
        Subscription::KIND => subscriptions::render(books, &parse(&change.after)?, at),
        _ => Ok(invoices::render(&parse(&change.after)?)),
    }
}
