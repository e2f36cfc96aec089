//! Which events tell of a change, and what they show. Only what Stripe tells of:
//! <https://docs.stripe.com/api/events/types>.

use rusqlite::Connection;
use serde_json::{Map, Value};

use super::books::Record;
use super::changes::Change;
use super::customers::{self, Customer};
use super::errors::ApiError;
use super::invoices::{self, Invoice, Status as InvoiceStatus};
use super::items::Item;
use super::payments::{self, PaymentIntent};
use super::prices::{self, Price};
use super::products::{self, Product};
use super::subscriptions::{self, Status, Subscription};
use super::version::Version;

/// What an event is about.
enum Subject {
    Customer(Customer),
    Invoice(Box<Invoice>),
    Intent(PaymentIntent),
    Price(Price),
    Product(Product),
    Subscription(Box<Subscription>, Vec<Item>),
}

/// A change that events tell of.
pub(super) struct Told {
    before: Option<Subject>,
    after: Subject,
    /// What to tell, where that was said.
    word: Option<String>,
}

impl Subject {
    fn read(kind: &str, text: &str) -> Result<Option<Self>, ApiError> {
        Ok(Some(match kind {
            Customer::KIND => Self::Customer(serde_json::from_str(text)?),
            Invoice::KIND => Self::Invoice(serde_json::from_str(text)?),
            PaymentIntent::KIND => Self::Intent(serde_json::from_str(text)?),
            Price::KIND => Self::Price(serde_json::from_str(text)?),
            Product::KIND => Self::Product(serde_json::from_str(text)?),
            Subscription::KIND => {
                let (subscription, items): (_, Vec<Item>) = serde_json::from_str(text)?;
                Self::Subscription(subscription, items.into_iter().filter(|item| !item.removed).collect())
            }
            _ => return Ok(None),
        }))
    }

    fn render(&self, books: &Connection, version: &Version) -> Result<Value, ApiError> {
        Ok(match self {
            Self::Customer(customer) => customers::render(customer),
            Self::Invoice(invoice) => invoices::render(invoice, version),
            Self::Intent(intent) => payments::render(intent),
            Self::Price(price) => prices::render(price),
            Self::Product(product) => products::render(product),
            Self::Subscription(one, items) => subscriptions::render_with(books, one, items, version)?,
        })
    }
}

impl Told {
    pub(super) fn read(change: Change) -> Result<Option<Self>, ApiError> {
        let read = |text: &String| Subject::read(&change.kind, text);
        let before = change.before.as_ref().map(read).transpose()?.flatten();
        Ok(read(&change.after)?.map(|after| Self { before, after, word: change.word }))
    }

    /// The types of the events, in the order in which they come.
    pub(super) fn types(&self, books: &Connection, version: &Version) -> Result<Vec<String>, ApiError> {
        if let Some(word) = &self.word {
            return Ok(vec![word.clone()]);
        }
        let is_changed = self.previous(books, version)?.is_none_or(|previous| !previous.is_empty());
        let types = match (&self.before, &self.after) {
            _ if !is_changed => Vec::new(),
            (before, Subject::Customer(_)) => plain(before.as_ref(), ["customer.created", "customer.updated"]),
            (before, Subject::Price(_)) => plain(before.as_ref(), ["price.created", "price.updated"]),
            (before, Subject::Product(_)) => plain(before.as_ref(), ["product.created", "product.updated"]),
            (Some(Subject::Subscription(before, _)), Subject::Subscription(after, _)) => {
                of_subscription(before.status, after.status)
            }
            (_, Subject::Subscription(..)) => vec!["customer.subscription.created"],
            (Some(Subject::Invoice(before)), Subject::Invoice(after)) => of_invoice(Some(before), after),
            (_, Subject::Invoice(after)) => of_invoice(None, after),
            (Some(Subject::Intent(before)), Subject::Intent(after)) => of_intent(before, after),
            (_, Subject::Intent(_)) => vec!["payment_intent.created"],
        };
        Ok(types.into_iter().map(str::to_owned).collect())
    }

    /// `data` of an event of this type, as an API version shapes it.
    pub(super) fn data(&self, books: &Connection, kind: &str, version: &Version) -> Result<Value, ApiError> {
        let mut data = Map::new();
        data.insert("object".to_owned(), self.after.render(books, version)?);
        if let Some(previous) = self.previous(books, version)?.filter(|_| kind.ends_with(".updated")) {
            data.insert("previous_attributes".to_owned(), Value::Object(previous));
        }
        Ok(Value::Object(data))
    }

    /// What is no longer as it was; `None` of what is new.
    fn previous(&self, books: &Connection, version: &Version) -> Result<Option<Map<String, Value>>, ApiError> {
        let Some(before) = &self.before else { return Ok(None) };
        let (before, after) = (before.render(books, version)?, self.after.render(books, version)?);
        let mut changed = match difference(&before, &after) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        // That it was written is no change.
        if changed.keys().all(|name| name == "updated") {
            changed.clear();
        }
        Ok(Some(changed))
    }
}

/// What of `before` is otherwise in `after`: fields of objects by themselves, everything else as a whole. A field that
/// was not there before is null.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| before.clone());
    };
    let gone_or_changed = old.iter().filter_map(|(name, old)| {
        let changed = new.get(name).map_or_else(|| Some(old.clone()), |new| difference(old, new));
        changed.map(|changed| (name.clone(), changed))
    });
    let added = new.keys().filter(|name| !old.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let fields: Map<String, Value> = gone_or_changed.chain(added).collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn plain(before: Option<&Subject>, [created, updated]: [&'static str; 2]) -> Vec<&'static str> {
    vec![if before.is_some() { updated } else { created }]
}

fn of_subscription(before: Status, after: Status) -> Vec<&'static str> {
    if after == Status::Canceled && before != Status::Canceled {
        return vec!["customer.subscription.deleted"];
    }
    let mut types = vec!["customer.subscription.updated"];
    match (before == Status::Paused, after == Status::Paused) {
        (false, true) => types.push("customer.subscription.paused"),
        (true, false) => types.push("customer.subscription.resumed"),
        _ => {}
    }
    types
}

fn of_invoice(before: Option<&Invoice>, after: &Invoice) -> Vec<&'static str> {
    let was = before.map(|before| before.status);
    let becomes = |status| after.status == status && was != Some(status);
    let is_finalized = after.finalized_at.is_some() && before.is_none_or(|before| before.finalized_at.is_none());
    let mut types = Vec::new();
    match (before, is_finalized) {
        (None, _) => types.push("invoice.created"),
        (Some(_), true) => {}
        (Some(_), false) => types.push("invoice.updated"),
    }
    if is_finalized {
        types.push("invoice.finalized");
    }
    if before.is_some_and(|before| after.attempts > before.attempts) {
        types.push("invoice.payment_failed");
    }
    if becomes(InvoiceStatus::Paid) {
        types.push("invoice.paid");
        if !after.paid_out_of_band {
            types.push("invoice.payment_succeeded");
        }
    }
    if becomes(InvoiceStatus::Void) {
        types.push("invoice.voided");
    }
    if becomes(InvoiceStatus::Uncollectible) {
        types.push("invoice.marked_uncollectible");
    }
    types
}

fn of_intent(before: &PaymentIntent, after: &PaymentIntent) -> Vec<&'static str> {
    let kind = match (before, after) {
        (before, after) if after.succeeded && !before.succeeded => "payment_intent.succeeded",
        (before, after) if after.authenticating && !before.authenticating => "payment_intent.requires_action",
        (before, after) if before.authenticating && !after.authenticating => "payment_intent.payment_failed",
        _ => return Vec::new(),
    };
    vec![kind]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_what_changed_and_nothing_else() {
        let before = json!({ "a": 1, "b": [1, 2], "c": { "x": 1, "y": 2 }, "gone": 5, "same": null });
        let after = json!({ "a": 1, "b": [1], "c": { "x": 1, "y": 3, "z": 4 }, "new": 6, "same": null });
        let wanted = json!({ "b": [1, 2], "c": { "y": 2, "z": null }, "gone": 5, "new": null });
        assert_eq!(difference(&before, &after), Some(wanted));
        assert_eq!(difference(&after, &after), None);
    }
}
