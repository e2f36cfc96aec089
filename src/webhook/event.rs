//! Reading an event, as far as it tells which object to read again.

use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::model::{Event, Subject, hex};

/// The events that an endpoint at Stripe should be made for; others are taken and come to nothing.
/// <https://docs.stripe.com/api/events/types>
pub const STRIPE_EVENTS: [(&str, Subject); 12] = [
    ("customer.subscription.created", Subject::Subscription),
    ("customer.subscription.updated", Subject::Subscription),
    ("customer.subscription.deleted", Subject::Subscription),
    ("customer.subscription.paused", Subject::Subscription),
    ("customer.subscription.resumed", Subject::Subscription),
    ("invoice.paid", Subject::Invoices),
    ("invoice.payment_failed", Subject::Invoices),
    ("invoice.voided", Subject::Invoices),
    ("invoice.marked_uncollectible", Subject::Invoices),
    ("customer.updated", Subject::Customer),
    ("customer.deleted", Subject::Customer),
    ("v1.billing.meter.error_report_triggered", Subject::Meter),
];

/// Likewise at Lemon Squeezy. <https://docs.lemonsqueezy.com/help/webhooks/event-types>
pub const LEMON_SQUEEZY_EVENTS: [(&str, Subject); 10] = [
    ("subscription_created", Subject::Subscription),
    ("subscription_updated", Subject::Subscription),
    ("subscription_cancelled", Subject::Subscription),
    ("subscription_resumed", Subject::Subscription),
    ("subscription_expired", Subject::Subscription),
    ("subscription_paused", Subject::Subscription),
    ("subscription_unpaused", Subject::Subscription),
    ("subscription_payment_success", Subject::Invoices),
    ("subscription_payment_failed", Subject::Invoices),
    ("subscription_payment_recovered", Subject::Invoices),
];

/// Longer than any id of a provider.
const ID_MAX: usize = 255;

#[derive(Deserialize)]
struct StripeEvent {
    id: String,
    object: String,
    #[serde(rename = "type")]
    kind: String,
    data: Option<StripeData>,
    related_object: Option<RelatedObject>,
}

#[derive(Deserialize)]
struct StripeData {
    object: StripeObject,
}

#[derive(Deserialize)]
struct StripeObject {
    // An upcoming invoice has none.
    id: Option<String>,
    customer: Option<Reference>,
    subscription: Option<Reference>,
    parent: Option<Parent>,
}

#[derive(Deserialize)]
struct Parent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Deserialize)]
struct SubscriptionDetails {
    subscription: Reference,
}

#[derive(Deserialize)]
struct RelatedObject {
    id: String,
}

/// An id, or the whole object where it was expanded.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Whole { id: String },
}

impl Reference {
    fn id(self) -> String {
        match self {
            Self::Id(id) | Self::Whole { id } => id,
        }
    }
}

#[derive(Deserialize)]
struct LemonSqueezyEvent {
    meta: LemonSqueezyMeta,
    data: LemonSqueezyData,
}

#[derive(Deserialize)]
struct LemonSqueezyMeta {
    event_name: String,
}

#[derive(Deserialize)]
struct LemonSqueezyData {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    attributes: LemonSqueezyAttributes,
}

#[derive(Deserialize)]
struct LemonSqueezyAttributes {
    customer_id: Option<u64>,
    subscription_id: Option<u64>,
}

/// Of a body that Stripe signed: an event, or a thin one.
///
/// # Errors
/// What is not expected about it.
pub fn of_stripe(body: &[u8]) -> Result<Event, String> {
    let event: StripeEvent = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let about = match (event.object.as_str(), event.data, event.related_object) {
        ("event", Some(data), _) => About::of(data.object),
        ("v2.core.event", _, related) => {
            About { object: related.map(|related| related.id).unwrap_or_default(), ..About::default() }
        }
        (object, ..) => return Err(format!("it is no event but {object:.40?}")),
    };
    let subject = subject_of(&STRIPE_EVENTS, &event.kind);
    about.told_by(event.id, event.kind, subject)
}

/// Of a body that Lemon Squeezy signed. It gives events no id, so that one is made of the body.
///
/// # Errors
/// What is not expected about it.
pub fn of_lemon_squeezy(body: &[u8]) -> Result<Event, String> {
    let event: LemonSqueezyEvent = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let LemonSqueezyData { kind, id, attributes } = event.data;
    let itself = (kind == "subscriptions").then(|| id.clone());
    let about = About {
        customer: attributes.customer_id.map(|id| id.to_string()),
        subscription: itself.or_else(|| attributes.subscription_id.map(|id| id.to_string())),
        object: id,
    };
    let subject = subject_of(&LEMON_SQUEEZY_EVENTS, &event.meta.event_name);
    about.told_by(format!("ls_{}", hex(digest(&SHA256, body).as_ref())), event.meta.event_name, subject)
}

/// What an event is about.
#[derive(Default)]
struct About {
    object: String,
    customer: Option<String>,
    subscription: Option<String>,
}

impl About {
    fn of(object: StripeObject) -> Self {
        let id = object.id.unwrap_or_default();
        let itself = |prefix: &str| id.starts_with(prefix).then(|| id.clone());
        // Of an invoice: where it is before basil, and since.
        let details = object.parent.and_then(|parent| parent.subscription_details);
        let subscription = object.subscription.or_else(|| details.map(|details| details.subscription));
        Self {
            customer: object.customer.map(Reference::id).or_else(|| itself("cus_")),
            subscription: subscription.map(Reference::id).or_else(|| itself("sub_")),
            object: id,
        }
    }

    /// All of it fits into a row.
    fn told_by(self, id: String, kind: String, subject: Option<Subject>) -> Result<Event, String> {
        let Self { object, customer, subscription } = self;
        let event = Event { id, kind, subject, object, customer, subscription };
        let fits = |text: &str| text.len() <= ID_MAX && text.bytes().all(|b| b.is_ascii_graphic());
        let optional = [&event.customer, &event.subscription].into_iter().flatten();
        let is_fit = [&event.id, &event.kind, &event.object].into_iter().chain(optional).all(|text| fits(text));
        if is_fit && !event.id.is_empty() { Ok(event) } else { Err("its id or another word of it is none".to_owned()) }
    }
}

fn subject_of(known: &[(&str, Subject)], kind: &str) -> Option<Subject> {
    known.iter().find(|(word, _)| *word == kind).map(|(_, subject)| *subject)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stripe(value: &Value) -> Result<Event, String> {
        of_stripe(value.to_string().as_bytes())
    }

    fn event(kind: &str, object: &Value) -> Value {
        json!({ "id": "evt_1", "object": "event", "type": kind, "data": { "object": object } })
    }

    #[test]
    fn an_event_names_its_object_and_whose_it_is() {
        let of = |kind: &str, object: Value| {
            let found = stripe(&event(kind, &object)).unwrap();
            (found.subject, found.object, found.customer.unwrap_or_default(), found.subscription.unwrap_or_default())
        };
        let expect = |subject: Subject, object: &str, customer: &str, subscription: &str| {
            (Some(subject), object.to_owned(), customer.to_owned(), subscription.to_owned())
        };
        assert_eq!(
            of("customer.subscription.updated", json!({ "id": "sub_1", "customer": "cus_1" })),
            expect(Subject::Subscription, "sub_1", "cus_1", "sub_1")
        );
        assert_eq!(of("customer.updated", json!({ "id": "cus_1" })), expect(Subject::Customer, "cus_1", "cus_1", ""));
        // Before basil, and since.
        assert_eq!(
            of("invoice.paid", json!({ "id": "in_1", "customer": { "id": "cus_1" }, "subscription": "sub_1" })),
            expect(Subject::Invoices, "in_1", "cus_1", "sub_1")
        );
        let parent = json!({ "subscription_details": { "subscription": "sub_1" } });
        assert_eq!(
            of("invoice.payment_failed", json!({ "id": "in_1", "customer": "cus_1", "parent": parent })),
            expect(Subject::Invoices, "in_1", "cus_1", "sub_1")
        );
    }

    #[test]
    fn a_thin_event_names_the_meter() {
        let kind = "v1.billing.meter.error_report_triggered";
        let thin =
            json!({ "id": "evt_1", "object": "v2.core.event", "type": kind, "related_object": { "id": "mtr_1" } });
        let found = stripe(&thin).unwrap();
        assert_eq!((found.subject, found.object.as_str()), (Some(Subject::Meter), "mtr_1"));
    }

    #[test]
    fn another_kind_comes_to_nothing_and_is_no_error() {
        let found = stripe(&event("charge.succeeded", &json!({ "id": "ch_1", "customer": null }))).unwrap();
        assert_eq!(found.subject, None);
        assert_eq!(stripe(&event("invoice.upcoming", &json!({ "customer": "cus_1" }))).unwrap().object, "");
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"id":"evt_1"}"#,
            r#"{"id":"evt_1","object":"charge","type":"x"}"#,
            r#"{"id":"evt_1","object":"event","type":"invoice.paid"}"#,
            r#"{"id":"","object":"v2.core.event","type":"x"}"#,
            r#"{"id":"evt 1","object":"v2.core.event","type":"x"}"#,
            "\u{feff}{}",
        ] {
            assert!(of_stripe(body.as_bytes()).is_err(), "{body}");
            assert!(of_lemon_squeezy(body.as_bytes()).is_err(), "{body}");
        }
        let long = event("invoice.paid", &json!({ "id": "x".repeat(256) }));
        assert!(stripe(&long).is_err());
    }

    #[test]
    fn lemon_squeezys_events_are_told_apart_by_their_bodies() {
        let of = |body: &Value| of_lemon_squeezy(body.to_string().as_bytes()).unwrap();
        let made = |kind: &str, attributes: Value| json!({ "meta": { "event_name": kind }, "data": { "type": "subscriptions", "id": "7", "attributes": attributes } });
        let first = of(&made("subscription_updated", json!({ "customer_id": 3, "status": "active" })));
        assert_eq!((first.subject, first.customer.as_deref()), (Some(Subject::Subscription), Some("3")));
        assert_eq!(first.subscription.as_deref(), Some("7"));
        let second = of(&made("subscription_updated", json!({ "customer_id": 3, "status": "past_due" })));
        assert_ne!(first.id, second.id);
        assert_eq!(first, of(&made("subscription_updated", json!({ "customer_id": 3, "status": "active" }))));
        let paid = json!({ "meta": { "event_name": "subscription_payment_success" },
            "data": { "type": "subscription-invoices", "id": "9", "attributes": { "subscription_id": 7, "customer_id": 3 } } });
        assert_eq!((of(&paid).subject, of(&paid).subscription.as_deref()), (Some(Subject::Invoices), Some("7")));
    }
}
