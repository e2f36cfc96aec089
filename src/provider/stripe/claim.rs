//! A machine's claim on an item, kept in the item's metadata at Stripe (rule S10).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::ItemId;
use crate::provider::{Answer, Outcome};

use super::answer::{into_outcome, judge};
use super::client::Client;

/// The metadata field that holds the claim.
pub(super) const CLAIM_FIELD: &str = "usaged_machine";

#[derive(Deserialize)]
struct WireItem {
    id: ItemId,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// `POST /v1/subscription_items/{si}`. Changes one metadata field and nothing that is billed; an empty one is removed.
/// <https://docs.stripe.com/api/metadata>
pub(super) async fn claim_item(
    client: &Client,
    item: &ItemId,
    machine: &str,
    idempotency_key: &str,
) -> Answer<Outcome> {
    let field = format!("metadata[{CLAIM_FIELD}]");
    let path = format!("/v1/subscription_items/{item}");
    let exchange = client.post(&path, &[(field.as_str(), machine)], idempotency_key).await;
    let look = |wire: WireItem| match wire.metadata.get(CLAIM_FIELD).map_or("", String::as_str) {
        claim if wire.id == *item && claim == machine => Ok(()),
        _ => Err(format!("the claim on {item} does not show on {}", wire.id)),
    };
    judge(client, exchange, look).map(into_outcome)
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{TestServer, json};
    use super::*;
    use crate::provider::RefusalKind;

    async fn claim(status: u16, body: &str) -> (Outcome, String) {
        let server = TestServer::play(vec![json(status, "", body)]);
        let item = ItemId::new("si_1").unwrap();
        let answer = server.provider().claim_item(&item, "vm 1/ä", "claim-1").await;
        (answer.value, server.requests().remove(0))
    }

    #[tokio::test]
    async fn s10_a_claim_is_one_metadata_field() {
        let (outcome, request) =
            claim(200, r#"{"id":"si_1","metadata":{"usaged_machine":"vm 1/ä","other":"x"}}"#).await;
        assert_eq!(outcome, Outcome::Accepted);
        assert!(request.starts_with("POST /v1/subscription_items/si_1 HTTP/1.1\r\nidempotency-key: claim-1\r\n"));
        assert!(request.ends_with("\r\n\r\nmetadata%5Busaged_machine%5D=vm+1%2F%C3%A4"), "{request}");
    }

    #[tokio::test]
    async fn s10_a_claim_that_does_not_show_is_not_taken_for_made() {
        for body in [
            r#"{"id":"si_1","metadata":{}}"#,
            r#"{"id":"si_1"}"#,
            r#"{"id":"si_1","metadata":{"usaged_machine":"other"}}"#,
            r#"{"id":"si_2","metadata":{"usaged_machine":"vm 1/ä"}}"#,
        ] {
            assert!(matches!(claim(200, body).await.0, Outcome::Unknown { .. }), "{body}");
        }
    }

    #[tokio::test]
    async fn s10_a_key_that_may_not_claim_is_told_so() {
        let body = r#"{"error":{"type":"invalid_request_error","message":"The key needs subscription_write."}}"#;
        let Outcome::Refused(why) = claim(403, body).await.0 else { panic!("not refused") };
        assert_eq!(why.kind, RefusalKind::NotPermitted);
    }
}
