//! Reading a customer.
//!
//! <https://docs.stripe.com/api/customers/object>

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{Customer, CustomerId};
use crate::provider::ReadAnswer;
use crate::provider::judge::clean;

use super::answer::{into_read, judge};
use super::client::Client;

#[derive(Deserialize)]
struct WireCustomer {
    object: String,
    id: CustomerId,
    name: Option<String>,
    email: Option<String>,
    delinquent: Option<bool>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// `GET /v1/customers/{id}`. A deleted one is answered for as well.
pub(super) async fn read(client: &Client, id: &CustomerId) -> ReadAnswer<Customer> {
    let exchange = client.get(&format!("/v1/customers/{id}")).await;
    judge(client, exchange, |wire| view(id, wire)).map(into_read)
}

fn view(asked: &CustomerId, wire: WireCustomer) -> Result<Customer, String> {
    let WireCustomer { object, id, name, email, delinquent, deleted, metadata } = wire;
    if object != "customer" || id != *asked {
        return Err(format!("asked for the customer {asked}, it is about the {object} {id}"));
    }
    // They are shown on terminals.
    let shown = |text: Option<String>| text.map(|text| clean(&text));
    let (name, email) = (shown(name), shown(email));
    Ok(Customer { id, name, email, delinquent: delinquent.unwrap_or(false), deleted, metadata })
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{TestServer, json};
    use super::*;

    async fn read(body: &str) -> Result<Customer, String> {
        let server = TestServer::play(vec![json(200, "", body)]);
        let answer = server.provider().read_customer(&CustomerId::new("cus_1").unwrap()).await;
        assert!(server.requests()[0].starts_with("GET /v1/customers/cus_1 HTTP/1.1\r\n"));
        answer.value.map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_customer_is_read_and_so_is_one_that_was_deleted() {
        let found = read(
            r#"{"object":"customer","id":"cus_1","name":"N\u001b[2J","email":null,"delinquent":true,"metadata":{"k":"v"}}"#,
        )
        .await
        .unwrap();
        let id = CustomerId::new("cus_1").unwrap();
        let name = Some("N[2J".to_owned());
        assert_eq!(
            found,
            Customer {
                id,
                name,
                email: None,
                delinquent: true,
                deleted: false,
                metadata: BTreeMap::from([("k".into(), "v".into())])
            }
        );
        assert!(read(r#"{"object":"customer","id":"cus_1","deleted":true}"#).await.unwrap().deleted);
        let error = read(r#"{"object":"customer","id":"cus_2"}"#).await.unwrap_err();
        assert!(error.contains("asked for the customer cus_1, it is about the customer cus_2"), "{error}");
    }
}
