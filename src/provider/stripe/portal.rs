//! The way into Stripe's customer portal.
//!
//! <https://docs.stripe.com/api/customer_portal/sessions/create>

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::CustomerId;
use crate::provider::{Answer, ReadAnswer, ReadError, RefusalKind};

use super::answer::{into_read, judge};
use super::client::Client;

const SESSIONS: &str = "/v1/billing_portal/sessions";
/// A parameter that nothing at Stripe has: it is refused after Stripe has looked at the key.
const UNKNOWN: &str = "usaged_check";

#[derive(Deserialize)]
struct WireConfigurations {
    data: Vec<WireConfiguration>,
}

#[derive(Deserialize)]
struct WireConfiguration {
    id: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WireSession {
    object: String,
    customer: CustomerId,
    url: String,
}

/// By the configuration that `usagectl stripe portal configure` made, where there is one, else by the account's own.
pub(super) async fn open(client: &Client, customer: &CustomerId, return_url: &str) -> ReadAnswer<String> {
    let exchange = client.get("/v1/billing_portal/configurations?active=true&limit=100").await;
    let found = judge(client, exchange, |wire: WireConfigurations| Ok(wire.data)).map(into_read);
    let Answer { value: Ok(found), .. } = found else { return found.map(|found| found.map(|_| String::new())) };
    let ours = found.into_iter().find(|one| one.metadata.get("usagectl").is_some_and(|mark| mark == "portal"));
    let mut form = vec![("customer", customer.as_str()), ("return_url", return_url)];
    form.extend(ours.as_ref().map(|one| ("configuration", one.id.as_str())));
    // Two sessions are no more than one, so that it takes no idempotency key.
    let exchange = client.ask(SESSIONS, &form).await;
    judge(client, exchange, |session| address(customer, session)).map(into_read)
}

fn address(customer: &CustomerId, session: WireSession) -> Result<String, String> {
    let WireSession { object, customer: of, url } = session;
    if object != "billing_portal.session" || of != *customer {
        return Err(format!("asked for a session of {customer}, it is about the {object} of {of}"));
    }
    if url.starts_with("https://") {
        Ok(url)
    } else {
        Err("the portal's address does not begin with https://".to_owned())
    }
}

/// Whether the key may open it. Nothing is made by asking.
pub(super) async fn may_open(client: &Client) -> ReadAnswer<()> {
    let exchange = client.ask(SESSIONS, &[(UNKNOWN, "1")]).await;
    let answer = judge(client, exchange, |_: WireSession| Ok(())).map(into_read);
    answer.map(|read| match read {
        Err(ReadError { refusal, .. }) if refusal.kind == RefusalKind::Other && refusal.status == Some(400) => Ok(()),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{TestServer, json};
    use super::*;
    use crate::model::SubscriptionId;

    const NONE: &str = r#"{"object":"list","data":[{"id":"bpc_1","metadata":{}}]}"#;
    const OURS: &str = r#"{"object":"list","data":[{"id":"bpc_1"},{"id":"bpc_2","metadata":{"usagectl":"portal"}}]}"#;

    async fn open(configurations: &str, session: &str) -> (Result<String, String>, String) {
        let server = TestServer::play(vec![json(200, "", configurations), json(200, "", session)]);
        let (customer, subscription) = (CustomerId::new("cus_1").unwrap(), SubscriptionId::new("sub_1").unwrap());
        let provider = server.provider();
        let opened = provider.open_portal(&customer, &subscription, "http://127.0.0.1:9479/back").await;
        (opened.value.map_err(|error| error.to_string()), server.requests().remove(1))
    }

    fn session(customer: &str, url: &str) -> String {
        format!(r#"{{"object":"billing_portal.session","customer":"{customer}","url":"{url}"}}"#)
    }

    #[tokio::test]
    async fn a_session_is_of_the_customer_and_of_our_own_configuration_where_there_is_one() {
        let good = session("cus_1", "https://billing.stripe.com/p/session/test_1");
        let (url, request) = open(NONE, &good).await;
        assert_eq!(url.unwrap(), "https://billing.stripe.com/p/session/test_1");
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!(body, "customer=cus_1&return_url=http%3A%2F%2F127.0.0.1%3A9479%2Fback");
        assert!(!request.contains("idempotency-key"), "{request}");
        assert!(open(OURS, &good).await.1.ends_with("&configuration=bpc_2"));
    }

    #[tokio::test]
    async fn an_address_that_is_not_encrypted_or_is_another_customers_is_not_gone_to() {
        let (other, _) = open(NONE, &session("cus_2", "https://billing.stripe.com/p")).await;
        assert!(other.unwrap_err().contains("it is about the billing_portal.session of cus_2"));
        for url in ["http://billing.stripe.com/p", "javascript:alert(1)"] {
            assert!(open(NONE, &session("cus_1", url)).await.0.is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn whether_the_key_may_is_asked_without_making_anything() {
        let unknown = r#"{"error":{"type":"invalid_request_error","code":"parameter_unknown","message":"Received unknown parameter: usaged_check"}}"#;
        let denied = r#"{"error":{"type":"invalid_request_error","message":"The key needs customer_portal_write."}}"#;
        for (status, body, expected) in [
            (400, unknown, None),
            (403, denied, Some(RefusalKind::NotPermitted)),
            (401, denied, Some(RefusalKind::KeyRefused)),
        ] {
            let server = TestServer::play(vec![json(status, "", body)]);
            let asked = server.provider().may_open_portal().await.value;
            assert_eq!(asked.err().map(|error| error.refusal.kind), expected, "{status}");
        }
    }
}
