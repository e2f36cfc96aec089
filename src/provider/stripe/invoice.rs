//! Reading a subscription's last invoices, and why one was not paid.
//!
//! <https://docs.stripe.com/api/invoices/list>. With `2025-03-31.basil` an invoice's payment intent moved below its payments:
//! <https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices>

use serde::Deserialize;

use crate::model::{Invoice, InvoiceId, SubscriptionId, Timestamp};
use crate::provider::{ReadAnswer, ReadError};

use super::answer::{into_read, judge};
use super::client::Client;

/// As many as a year has months, and some more. An invoice with its first ten lines is up to 40 KiB.
const LAST: &str = "15";

#[derive(Deserialize)]
struct WireList {
    data: Vec<WireInvoice>,
}

#[derive(Deserialize)]
struct WireInvoice {
    id: InvoiceId,
    number: Option<String>,
    status: Option<String>,
    currency: String,
    amount_due: i64,
    amount_remaining: i64,
    attempt_count: u32,
    next_payment_attempt: Option<i64>,
    created: i64,
}

#[derive(Deserialize)]
struct WirePaid {
    // Before basil.
    payment_intent: Option<WireIntent>,
    // Since basil.
    payments: Option<WirePayments>,
}

#[derive(Deserialize)]
struct WirePayments {
    data: Vec<WireInvoicePayment>,
}

#[derive(Deserialize)]
struct WireInvoicePayment {
    payment: WirePayment,
}

#[derive(Deserialize)]
struct WirePayment {
    payment_intent: Option<WireIntent>,
}

#[derive(Deserialize)]
struct WireIntent {
    last_payment_error: Option<WirePaymentError>,
}

#[derive(Deserialize)]
struct WirePaymentError {
    code: Option<String>,
    decline_code: Option<String>,
}

/// `GET /v1/invoices?subscription=…`, newest first; and the newest that is not paid, with its payment.
pub(super) async fn read(client: &Client, of: &SubscriptionId) -> ReadAnswer<Vec<Invoice>> {
    let query = [("subscription", of.as_str()), ("limit", LAST)];
    let exchange = client.get_with("/v1/invoices", &query).await;
    let mut answer: ReadAnswer<Vec<Invoice>> =
        judge(client, exchange, |list: WireList| Ok(list.data.into_iter().map(|wire| view(of, wire)).collect()))
            .map(into_read);
    if let Ok(invoices) = &mut answer.value
        && let Some(failing) = invoices.iter_mut().find(|invoice| invoice.is_failing())
    {
        // A key that may not read payments still tells that one failed.
        failing.declined = why_declined(client, &failing.id).await.ok().flatten();
    }
    answer
}

fn view(of: &SubscriptionId, wire: WireInvoice) -> Invoice {
    Invoice {
        id: wire.id,
        subscription: of.clone(),
        number: wire.number,
        status: wire.status.unwrap_or_else(|| "draft".to_owned()),
        currency: wire.currency,
        due: wire.amount_due,
        remaining: wire.amount_remaining,
        attempts: wire.attempt_count,
        next_attempt: wire.next_payment_attempt.map(Timestamp::from_secs),
        declined: None,
        created: Timestamp::from_secs(wire.created),
    }
}

async fn why_declined(client: &Client, id: &InvoiceId) -> Result<Option<String>, ReadError> {
    let field = if client.is_before_basil() { "payment_intent" } else { "payments.data.payment.payment_intent" };
    let exchange = client.get_with(&format!("/v1/invoices/{id}"), &[("expand[]", field)]).await;
    into_read(judge(client, exchange, |paid: WirePaid| Ok(declined(paid))).value)
}

/// The issuer's word, else Stripe's own.
fn declined(paid: WirePaid) -> Option<String> {
    let since_basil = paid.payments.map(|payments| payments.data).unwrap_or_default();
    let intents = since_basil.into_iter().filter_map(|one| one.payment.payment_intent).chain(paid.payment_intent);
    let error = intents.filter_map(|intent| intent.last_payment_error).next_back()?;
    error.decline_code.or(error.code).map(|code| crate::provider::judge::clean_word(&code))
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Act, TestServer, json};
    use super::*;

    const LIST: &str = r#"{"object":"list","has_more":true,"data":[
        {"id":"in_2","number":"A-2","status":"open","currency":"eur","amount_due":500,"amount_remaining":500,
         "attempt_count":2,"next_payment_attempt":1793900000,"created":1793800000},
        {"id":"in_1","number":"A-1","status":"paid","currency":"eur","amount_due":400,"amount_remaining":0,
         "attempt_count":1,"next_payment_attempt":null,"created":1791200000}]}"#;

    async fn read(acts: Vec<Act>) -> (Result<Vec<Invoice>, String>, Vec<String>) {
        let server = TestServer::play(acts);
        let answer = server.provider().read_invoices(&SubscriptionId::new("sub_1").unwrap()).await;
        let asked = server.requests().iter().filter_map(|one| one.lines().next().map(str::to_owned)).collect();
        (answer.value.map_err(|error| error.to_string()), asked)
    }

    #[tokio::test]
    async fn the_last_invoices_are_read_and_why_the_newest_was_not_paid() {
        let paid = r#"{"id":"in_2","payment_intent":{"last_payment_error":{"code":"card_declined","decline_code":"insufficient_funds"}}}"#;
        let (found, asked) = read(vec![json(200, "", LIST), json(200, "", paid)]).await;
        let found = found.unwrap();
        assert_eq!(found.iter().map(Invoice::name).collect::<Vec<_>>(), ["A-2", "A-1"]);
        assert_eq!(found[0].declined.as_deref(), Some("insufficient_funds"));
        assert_eq!((found[0].attempts, found[0].remaining, found[1].is_failing()), (2, 500, false));
        assert_eq!(asked[0], "GET /v1/invoices?subscription=sub_1&limit=15 HTTP/1.1");
        assert_eq!(asked[1], "GET /v1/invoices/in_2?expand%5B%5D=payment_intent HTTP/1.1");
    }

    #[tokio::test]
    async fn a_key_that_may_not_read_payments_still_tells_that_one_failed() {
        let (found, _) = read(vec![json(200, "", LIST), json(403, "", r#"{"error":{"message":"no"}}"#)]).await;
        let found = found.unwrap();
        assert!(found[0].is_failing() && found[0].declined.is_none(), "{found:?}");
    }

    #[test]
    fn since_basil_the_reason_is_below_the_payments() {
        let paid = r#"{"payments":{"data":[{"payment":{"type":"payment_intent","payment_intent":
            {"last_payment_error":{"code":"expired_card","decline_code":null}}}}]}}"#;
        assert_eq!(declined(serde_json::from_str(paid).unwrap()).as_deref(), Some("expired_card"));
        let none = r#"{"payments":{"data":[{"payment":{"type":"charge"}}]}}"#;
        assert_eq!(declined(serde_json::from_str(none).unwrap()), None);
    }
}
