//! What invoices bill on an item at a price (rule R5).
//!
//! <https://docs.stripe.com/api/invoices/list> and <https://docs.stripe.com/api/invoices/create_preview>; lines changed
//! their shape with `2025-03-31.basil`: <https://docs.stripe.com/api/invoice-line-item/object>.

use std::ops::ControlFlow;

use serde::Deserialize;

use crate::model::{InvoiceId, Timestamp};
use crate::provider::{BilledAt, ReadAnswer, ReadError};

use super::answer::{into_read, judge};
use super::client::Client;
use super::list::{self, Listed, Page};
use super::whole::whole;

/// So few that a page stays within what the client reads: an invoice with its first ten lines is up to 40 KiB.
const INVOICES_A_PAGE: &str = "20";

#[derive(Deserialize)]
struct WireInvoice {
    /// Previews may have none.
    id: Option<InvoiceId>,
    status: Option<String>,
    created: i64,
    lines: Page<WireLine>,
}

impl Listed for WireInvoice {
    fn id(&self) -> &str {
        self.id.as_ref().map_or("", InvoiceId::as_str)
    }
}

#[derive(Deserialize)]
struct WireLine {
    id: String,
    period: WirePeriod,
    quantity: Option<i64>,
    quantity_decimal: Option<String>,
    // Before basil.
    price: Option<Reference>,
    subscription_item: Option<String>,
    proration: Option<bool>,
    // Since basil.
    pricing: Option<WirePricing>,
    parent: Option<WireParent>,
}

impl Listed for WireLine {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
struct WirePeriod {
    end: i64,
}

#[derive(Deserialize)]
struct WirePricing {
    price_details: Option<WirePriceDetails>,
}

#[derive(Deserialize)]
struct WirePriceDetails {
    price: Reference,
}

#[derive(Deserialize)]
struct WireParent {
    subscription_item_details: Option<WireItemDetails>,
}

#[derive(Deserialize)]
struct WireItemDetails {
    subscription_item: String,
    proration: bool,
}

/// An id, or the whole object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Whole { id: String },
}

/// The lines of an invoice that did not come with it.
struct More {
    /// `None` for the preview before basil, which is asked for by its subscription.
    invoice: Option<InvoiceId>,
    after: String,
}

/// Units that were found so far, and where to go on.
#[derive(Default)]
struct Found {
    units: i64,
    more: Vec<More>,
}

/// The preview of the next invoice, then the invoices. In this order, since what goes from the one into the other
/// meanwhile is found twice rather than never: what counts as billed is not billed again.
pub(super) async fn read(client: &Client, billed: &BilledAt) -> ReadAnswer<i64> {
    let preview = read_preview(client, billed).await;
    let Ok(mut found) = preview.value else {
        return preview.map(|read| read.map(|found| found.units));
    };
    let mut answer = read_invoices(client, billed, &mut found).await;
    for more in std::mem::take(&mut found.more) {
        if answer.value.is_ok() {
            answer = read_more(client, billed, more, &mut found).await;
        }
    }
    answer.map(|read| read.map(|()| found.units))
}

/// `POST /v1/invoices/create_preview`, before basil `GET /v1/invoices/upcoming`. Nothing upcoming bills nothing.
async fn read_preview(client: &Client, billed: &BilledAt) -> ReadAnswer<Found> {
    let subscription = [("subscription", billed.subscription.as_str())];
    let exchange = if client.is_before_basil() {
        client.get_with("/v1/invoices/upcoming", &subscription).await
    } else {
        client.ask("/v1/invoices/create_preview", &subscription).await
    };
    let answer = judge(client, exchange, |mut invoice: WireInvoice| {
        if client.is_before_basil() {
            invoice.id = None;
        }
        let mut found = Found::default();
        found.add_lines(billed, invoice)?;
        Ok(found)
    });
    answer.map(|judged| match into_read(judged) {
        Err(ReadError { refusal, .. }) if refusal.code.as_deref() == Some("invoice_upcoming_none") => {
            Ok(Found::default())
        }
        read => read,
    })
}

/// `GET /v1/invoices` of the subscription, newest first, back to those that cannot bill anything since.
async fn read_invoices(client: &Client, billed: &BilledAt, found: &mut Found) -> ReadAnswer<()> {
    let query = [("subscription", billed.subscription.as_str()), ("limit", INVOICES_A_PAGE)];
    list::read(client, "/v1/invoices", &query, None, |invoice: WireInvoice| {
        // Usage is billed after it happened.
        if Timestamp::from_secs(invoice.created) < billed.period.from {
            return Ok(ControlFlow::Break(()));
        }
        match invoice.status.as_deref() {
            Some("void") => {}
            Some("draft" | "open" | "paid" | "uncollectible") => found.add_lines(billed, invoice)?,
            other => return Err(format!("an invoice is {}", other.unwrap_or("without a status"))),
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

/// The lines that did not come with an invoice.
async fn read_more(client: &Client, billed: &BilledAt, more: More, found: &mut Found) -> ReadAnswer<()> {
    let of_subscription = ("subscription", billed.subscription.as_str());
    let (path, query) = more.invoice.as_ref().map_or_else(
        || ("/v1/invoices/upcoming/lines".to_owned(), vec![("limit", "100"), of_subscription]),
        |id| (format!("/v1/invoices/{id}/lines"), vec![("limit", "100")]),
    );
    let add = |line: WireLine| found.add(billed, &line).map(ControlFlow::Continue);
    list::read(client, &path, &query, Some(more.after), add).await
}

impl Found {
    fn add_lines(&mut self, billed: &BilledAt, invoice: WireInvoice) -> Result<(), String> {
        if let Some(after) = invoice.lines.goes_on_after()? {
            self.more.push(More { invoice: invoice.id, after });
        }
        invoice.lines.data.iter().try_for_each(|line| self.add(billed, line))
    }

    fn add(&mut self, billed: &BilledAt, line: &WireLine) -> Result<(), String> {
        if line.bills(billed) {
            let sum = line.units()?.checked_add(self.units);
            self.units = sum.ok_or("it bills more units than can be counted")?;
        }
        Ok(())
    }
}

impl WireLine {
    fn bills(&self, billed: &BilledAt) -> bool {
        let details = self.parent.as_ref().and_then(|parent| parent.subscription_item_details.as_ref());
        let details = details.map(|details| (details.subscription_item.as_str(), details.proration));
        let before_basil = || Some((self.subscription_item.as_deref()?, self.proration.unwrap_or(false)));
        let is_of_item = details.or_else(before_basil) == Some((billed.item.as_str(), false));
        let pricing = self.pricing.as_ref().and_then(|pricing| pricing.price_details.as_ref());
        let price = pricing.map(|details| &details.price).or(self.price.as_ref()).map(Reference::id);
        let is_at_price = billed.price.as_ref().is_none_or(|wanted| price == Some(wanted.as_str()));
        let end = Timestamp::from_secs(self.period.end);
        is_of_item && is_at_price && billed.period.from < end && end <= billed.period.to
    }

    /// `quantity` leaves fractions out, where the newer field tells them.
    fn units(&self) -> Result<i64, String> {
        let units = self.quantity_decimal.as_deref().map_or(self.quantity, whole);
        units.ok_or_else(|| format!("the line {} does not bill whole units", self.id))
    }
}

impl Reference {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Whole { id } => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_server::{Act, TestServer, json as answer};
    use super::*;
    use crate::model::{ItemId, PriceId, Span, SubscriptionId};
    use crate::provider::RefusalKind;

    /// 1 November and 5 November 2026, 00:00 UTC.
    const SINCE: i64 = 1_793_491_200;
    const SWAP: i64 = 1_793_836_800;
    /// 1 December 2026, 00:00 UTC.
    const END: i64 = 1_796_083_200;

    fn billed() -> BilledAt {
        BilledAt {
            subscription: SubscriptionId::new("sub_1").unwrap(),
            item: ItemId::new("si_1").unwrap(),
            price: Some(PriceId::new("price_old").unwrap()),
            period: Span::new(Timestamp::from_secs(SINCE), Timestamp::from_secs(END)),
        }
    }

    fn line_before_basil(item: &str, price: &str, quantity: i64) -> Value {
        json!({
            "id": format!("il_{item}_{quantity}"), "object": "line_item", "type": "subscription", "quantity": quantity,
            "period": {"start": SINCE, "end": SWAP}, "price": {"id": price, "object": "price"}, "proration": false,
            "subscription": "sub_1", "subscription_item": item
        })
    }

    fn line_since_basil(item: &str, price: &str, quantity: i64) -> Value {
        json!({
            "id": format!("il_{item}_{quantity}"), "object": "line_item", "quantity": quantity,
            "quantity_decimal": quantity.to_string(), "period": {"start": SINCE, "end": SWAP},
            "pricing": {"type": "price_details", "price_details": {"price": price, "product": "prod_1"}},
            "parent": {
                "type": "subscription_item_details", "invoice_item_details": null,
                "subscription_item_details": {
                    "invoice_item": null, "proration": false, "subscription": "sub_1", "subscription_item": item
                }
            }
        })
    }

    fn invoice(id: &str, status: &str, created: i64, lines: &[Value]) -> Value {
        json!({
            "id": id, "object": "invoice", "status": status, "created": created,
            "lines": {"object": "list", "has_more": false, "data": lines}
        })
    }

    fn preview(lines: &[Value]) -> Value {
        let mut preview = invoice("upcoming_in_1", "draft", SWAP, lines);
        preview.as_object_mut().unwrap().remove("id");
        preview
    }

    fn list(invoices: &[Value]) -> Value {
        json!({"object": "list", "has_more": false, "data": invoices})
    }

    async fn read_meters(answers: &[&Value]) -> (Result<i64, ReadError>, Vec<String>) {
        let server = TestServer::play(answers.iter().map(|body| answer(200, "", &body.to_string())).collect());
        let value = server.meters().read_billed(&billed()).await.value;
        (value, server.requests())
    }

    fn first_lines(requests: &[String]) -> Vec<&str> {
        requests.iter().map(|request| request.lines().next().unwrap()).collect()
    }

    #[tokio::test]
    async fn r5_units_are_those_of_preview_and_invoices_together() {
        let line = line_since_basil;
        let preview =
            preview(&[line("si_1", "price_old", 3), line("si_1", "price_new", 100), line("si_2", "price_old", 50)]);
        let invoices = list(&[
            invoice("in_2", "paid", SWAP, &[line("si_1", "price_old", 7), line("si_1", "price_new", 1)]),
            invoice("in_1", "draft", SINCE, &[line("si_1", "price_old", 20)]),
        ]);
        let (units, requests) = read_meters(&[&preview, &invoices]).await;
        assert_eq!(units, Ok(30));
        assert_eq!(
            first_lines(&requests),
            ["POST /v1/invoices/create_preview HTTP/1.1", "GET /v1/invoices?subscription=sub_1&limit=20 HTTP/1.1"]
        );
        assert!(requests[0].ends_with("\r\n\r\nsubscription=sub_1"), "{}", requests[0]);
        assert!(!requests[0].contains("dempotency-"), "an answer must not be replayed: {}", requests[0]);
    }

    #[tokio::test]
    async fn r5_before_basil_the_same_is_read_in_the_older_shape() {
        let line = line_before_basil;
        let preview = preview(&[line("si_1", "price_old", 3), line("si_1", "price_new", 100)]);
        let mut prorated = line("si_1", "price_old", 1_000);
        prorated["proration"] = true.into();
        let invoices = list(&[invoice("in_2", "open", SWAP, &[line("si_1", "price_old", 7), prorated])]);
        let server = TestServer::play([&preview, &invoices].map(|body| answer(200, "", &body.to_string())).into());
        assert_eq!(server.provider().read_billed(&billed()).await.value, Ok(10));
        let requests = server.requests();
        assert_eq!(
            first_lines(&requests),
            [
                "GET /v1/invoices/upcoming?subscription=sub_1 HTTP/1.1",
                "GET /v1/invoices?subscription=sub_1&limit=20 HTTP/1.1"
            ]
        );
        assert!(requests[0].contains("\r\nstripe-version: 2025-02-24.acacia\r\n"));
    }

    #[tokio::test]
    async fn r5_void_invoices_prorations_and_earlier_periods_bill_nothing() {
        let line = |quantity| line_since_basil("si_1", "price_old", quantity);
        let (mut prorated, mut earlier, mut by_hand) = (line(1), line(2), line(4));
        *prorated.pointer_mut("/parent/subscription_item_details/proration").unwrap() = true.into();
        earlier["period"] = json!({"start": SINCE - 86_400, "end": SINCE});
        by_hand["parent"] = Value::Null;
        let invoices = list(&[
            invoice("in_5", "void", SWAP, &[line(8)]),
            invoice("in_4", "uncollectible", SWAP, &[line(16)]),
            invoice("in_3", "paid", SINCE, &[prorated, earlier, by_hand]),
            // Made before the period began: not even looked at.
            invoice("in_2", "?", SINCE - 1, &[line(32)]),
        ]);
        assert_eq!(read_meters(&[&preview(&[]), &invoices]).await.0, Ok(16));
    }

    #[tokio::test]
    async fn r5_without_an_upcoming_invoice_there_is_no_preview() {
        let none =
            r#"{"error":{"type":"invalid_request_error","code":"invoice_upcoming_none","message":"No upcoming."}}"#;
        let invoices = list(&[invoice("in_1", "paid", SWAP, &[line_since_basil("si_1", "price_old", 7)])]);
        let server = TestServer::play(vec![answer(404, "", none), answer(200, "", &invoices.to_string())]);
        assert_eq!(server.meters().read_billed(&billed()).await.value, Ok(7));
    }

    #[tokio::test]
    async fn r5_pages_of_invoices_and_of_lines_are_read_to_their_end() {
        let line = |quantity| line_since_basil("si_1", "price_old", quantity);
        let more = |mut invoice: Value| {
            invoice["lines"]["has_more"] = true.into();
            invoice
        };
        let mut preview = more(preview(&[line(1)]));
        preview["id"] = "upcoming_in_1".into();
        let mut first = list(&[more(invoice("in_2", "paid", SWAP, &[line(2)]))]);
        first["has_more"] = true.into();
        let second = list(&[invoice("in_1", "paid", SINCE, &[line(4)])]);
        let (of_preview, of_invoice) = (list(&[line(8)]), list(&[line(16)]));
        let (units, requests) = read_meters(&[&preview, &first, &second, &of_preview, &of_invoice]).await;
        assert_eq!(units, Ok(31));
        assert_eq!(
            first_lines(&requests)[2..],
            [
                "GET /v1/invoices?subscription=sub_1&limit=20&starting_after=in_2 HTTP/1.1",
                "GET /v1/invoices/upcoming_in_1/lines?limit=100&starting_after=il_si_1_1 HTTP/1.1",
                "GET /v1/invoices/in_2/lines?limit=100&starting_after=il_si_1_2 HTTP/1.1",
            ]
        );
    }

    #[tokio::test]
    async fn r5_further_lines_of_a_preview_before_basil_are_asked_for_by_the_subscription() {
        let line = |quantity| line_before_basil("si_1", "price_old", quantity);
        let mut preview = preview(&[line(1)]);
        preview["lines"]["has_more"] = true.into();
        let answers = [preview, list(&[]), list(&[line(2)])];
        let server = TestServer::play(answers.iter().map(|body| answer(200, "", &body.to_string())).collect());
        assert_eq!(server.provider().read_billed(&billed()).await.value, Ok(3));
        let asked = "GET /v1/invoices/upcoming/lines?limit=100&subscription=sub_1&starting_after=il_si_1_1 HTTP/1.1";
        assert_eq!(first_lines(&server.requests())[2], asked);
    }

    #[tokio::test]
    async fn r5_what_is_no_whole_count_of_units_is_not_believed() {
        let nothing = preview(&[]);
        for (pointer, value, named) in [
            ("/quantity_decimal", json!("7.5"), "il_si_1_7"),
            ("/quantity_decimal", json!("many"), "il_si_1_7"),
            ("/period/end", Value::Null, "i64"),
        ] {
            let mut line = line_since_basil("si_1", "price_old", 7);
            *line.pointer_mut(pointer).unwrap() = value;
            let invoices = list(&[invoice("in_1", "paid", SWAP, &[line])]);
            let error = read_meters(&[&nothing, &invoices]).await.0.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Unreadable, false), "{pointer}");
            assert!(error.to_string().contains(named), "{pointer}: {error}");
        }
        let mut line = line_before_basil("si_1", "price_old", 7);
        line["quantity"] = Value::Null;
        let server = TestServer::play(vec![answer(200, "", &preview(&[line]).to_string())]);
        let error = server.provider().read_billed(&billed()).await.value.unwrap_err();
        assert!(error.to_string().contains("does not bill whole units"), "{error}");
        let odd = list(&[invoice("in_1", "shredded", SWAP, &[])]);
        assert!(read_meters(&[&nothing, &odd]).await.0.unwrap_err().to_string().contains("an invoice is shredded"));
        let most =
            |quantity| list(&[invoice("in_1", "paid", SWAP, &[line_since_basil("si_1", "price_old", quantity)])]);
        let one = preview(&[line_since_basil("si_1", "price_old", 1)]);
        assert!(read_meters(&[&one, &most(i64::MAX)]).await.0.is_err());
        assert_eq!(read_meters(&[&one, &most(i64::MAX - 1)]).await.0, Ok(i64::MAX));
    }

    #[tokio::test]
    async fn r5_a_key_that_may_not_read_invoices_is_told_so_at_each_step() {
        let refused = r#"{"error":{"type":"invalid_request_error","message":"Having the 'rak_invoice_read' permission would allow this request to continue."}}"#;
        let (preview, refused) = (preview(&[]).to_string(), || answer(403, "", refused));
        for acts in [vec![refused()], vec![answer(200, "", &preview), refused()]] {
            let error = TestServer::play(acts).meters().read_billed(&billed()).await.value.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::NotPermitted, false));
            assert!(error.to_string().contains("rak_invoice_read"));
        }
    }

    #[tokio::test]
    async fn r5_units_without_a_whole_answer_may_be_read_later() {
        let html = "HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Bad</html>";
        let preview = preview(&[]).to_string();
        let gigantic = format!("{}{}", list(&[]), " ".repeat(1024 * 1024));
        for last in [Act::Cut, Act::Answer(html.into()), answer(200, "", &preview[..9]), answer(200, "", &gigantic)] {
            let server = TestServer::play(vec![answer(200, "", &preview), last]);
            assert!(server.meters().read_billed(&billed()).await.value.unwrap_err().passing);
        }
    }
}
