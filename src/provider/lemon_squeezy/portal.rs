//! The way into Lemon Squeezy's customer portal: an address that it signs for a day, told with the subscription.
//!
//! <https://docs.lemonsqueezy.com/guides/developer-guide/customer-portal>

use serde::Deserialize;

use crate::model::SubscriptionId;
use crate::provider::ReadAnswer;

use super::client::{Client, Reading};
use super::document::{Document, Resource};

#[derive(Deserialize)]
struct WireSubscription {
    urls: WireUrls,
}

#[derive(Deserialize)]
struct WireUrls {
    customer_portal: Option<String>,
}

/// `GET /v1/subscriptions/{id}`.
pub(super) async fn open(client: &Client, id: &SubscriptionId) -> ReadAnswer<String> {
    let mut reading = Reading::by(client);
    let address = |document| address(id, document);
    let read = reading.get(&format!("/v1/subscriptions/{id}"), &[], address).await;
    reading.done(read)
}

fn address(asked: &SubscriptionId, document: Document<WireSubscription>) -> Result<String, String> {
    let Resource { kind, id, attributes } = document.data;
    if kind != "subscriptions" || id != asked.as_str() {
        return Err(format!("asked for {asked}, it is about {kind} {id}"));
    }
    match attributes.urls.customer_portal {
        Some(url) if url.starts_with("https://") => Ok(url),
        _ => Err(format!("it tells no portal for {asked}")),
    }
}
