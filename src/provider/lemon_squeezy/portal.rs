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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json as object};

    use super::super::test_server::{TestServer, ask, json};
    use super::*;
    use crate::model::CustomerId;

    async fn open(id: &str, url: Value) -> Result<String, String> {
        let data = object!({ "type": "subscriptions", "id": id, "attributes": { "urls": { "customer_portal": url } } });
        let server = TestServer::play(vec![json(200, "", &object!({ "data": data }))]);
        let (customer, subscription) = (CustomerId::new("3").unwrap(), SubscriptionId::new("7").unwrap());
        let provider = ask(&server, Duration::from_mins(1));
        let opened = provider.open_portal(&customer, &subscription, "http://127.0.0.1:9479/back").await;
        assert!(server.requests()[0].starts_with("GET /v1/subscriptions/7 HTTP/1.1\r\n"));
        opened.value.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_portal_is_where_the_subscription_says() {
        let signed = "https://shop.lemonsqueezy.com/billing?expires=1&signature=2";
        assert_eq!(open("7", signed.into()).await.unwrap(), signed);
        for bad in [Value::Null, "http://shop.lemonsqueezy.com/billing".into(), "javascript:alert(1)".into()] {
            assert!(open("7", bad.clone()).await.unwrap_err().contains("no portal for 7"), "{bad}");
        }
        assert!(open("8", signed.into()).await.unwrap_err().contains("it is about subscriptions 8"));
    }
}
