//! Setting usage, and reading what stands.
//!
//! <https://docs.lemonsqueezy.com/api/usage-records/create-usage-record>

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{ItemId, Span, Timestamp};
use crate::provider::judge::{Judged, into_outcome};
use crate::provider::{Answer, Outcome, ReadAnswer, Refusal, RefusalKind, SetUsage, Standing, Window};

use super::answer::judge;
use super::client::{Client, Reading};
use super::document::{Document, Number, Page, Resource, time};

/// A hundred records each, of which only those since the period's last one are read: beyond this something goes in circles.
const PAGES_MAX: u32 = 50;
const PAGE_SIZE: &str = "100";

#[derive(Deserialize)]
struct WireRecord {
    subscription_item_id: Number,
    quantity: i64,
    action: String,
    created_at: String,
}

#[derive(Deserialize)]
struct WireCurrentUsage {
    meta: WireMeta,
}

#[derive(Deserialize)]
struct WireMeta {
    period_start: String,
    period_end: String,
    quantity: i64,
}

/// What stands in an item's current period.
pub(super) struct Current {
    pub(super) period: Span,
    quantity: i64,
}

/// `POST /v1/usage-records` with `action` `set`.
pub(super) async fn set(client: &Client, set: &SetUsage) -> Answer<Outcome> {
    if set.quantity < 0 {
        let what = format!("{} cannot be set to {}, which is below zero", set.to.item, set.quantity);
        return Answer::unanswered(Outcome::Refused(Refusal::ours(RefusalKind::Other, what)));
    }
    let exchange = client.post("/v1/usage-records", &body(set)).await;
    judge(client, exchange, |document: Document<WireRecord>| check(set, &document.data)).map(into_outcome)
}

fn body(set: &SetUsage) -> Value {
    let item = json!({ "type": "subscription-items", "id": set.to.item.as_str() });
    json!({ "data": {
        "type": "usage-records",
        "attributes": { "quantity": set.quantity, "action": "set" },
        "relationships": { "subscription-item": { "data": item } },
    } })
}

/// "Accepted" is believed only of an answer that repeats what was asked.
fn check(asked: &SetUsage, stands: &Resource<WireRecord>) -> Result<(), String> {
    let record = &stands.attributes;
    let same = stands.kind == "usage-records"
        && record.subscription_item_id.is(asked.to.item.as_str())
        && record.quantity == asked.quantity
        && record.action == "set";
    if same {
        return Ok(());
    }
    Err(format!(
        "asked to set {} to {}, it names {} of {} that {} {}",
        asked.to.item,
        asked.quantity,
        stands.kind,
        record.subscription_item_id.text(),
        record.action,
        record.quantity
    ))
}

/// What stands in the current period, if that is still the one asked about.
pub(super) async fn read_current(client: &Client, item: &ItemId, window: Window) -> ReadAnswer<Standing> {
    let mut reading = Reading::by(client);
    let current = current(&mut reading, item).await;
    // By its beginning: its end may be moved while it lasts.
    let found = |current: Current| {
        let is_ours = current.period.from == window.period.from;
        if is_ours { Standing::Total(current.quantity) } else { Standing::OtherPeriod }
    };
    reading.done(current.map(found))
}

/// The current period, which is all that is listed.
pub(super) async fn read_periods(client: &Client, item: &ItemId) -> ReadAnswer<Vec<Span>> {
    let mut reading = Reading::by(client);
    let current = current(&mut reading, item).await;
    reading.done(current.map(|current| vec![current.period]))
}

/// `GET /v1/subscription-items/{id}/current-usage`.
pub(super) async fn current(reading: &mut Reading<'_>, item: &ItemId) -> Judged<Current> {
    let look = |WireCurrentUsage { meta }| {
        let period = Span::new(time(&meta.period_start)?, time(&meta.period_end)?);
        if period.from >= period.to {
            return Err(format!("the current period of {item} ends before it starts"));
        }
        if meta.quantity < 0 {
            return Err(format!("what stands on {item} is below zero"));
        }
        Ok(Current { period, quantity: meta.quantity })
    };
    reading.get(&format!("/v1/subscription-items/{item}/current-usage"), &[], look).await
}

/// What the records that arrived in a period come to: `GET /v1/usage-records`, newest first, back to the last one that
/// set the quantity.
pub(super) async fn read_ended(client: &Client, item: &ItemId, window: Window) -> ReadAnswer<Standing> {
    let mut reading = Reading::by(client);
    let total = replay(&mut reading, item, window.period).await;
    reading.done(total.map(Standing::Total))
}

async fn replay(reading: &mut Reading<'_>, item: &ItemId, period: Span) -> Judged<i64> {
    let mut replay = Replay { item, period, total: 0, seen: BTreeSet::new(), last: None };
    for number in 1..=PAGES_MAX {
        let text = number.to_string();
        let query = [
            ("filter[subscription_item_id]", item.as_str()),
            ("page[number]", text.as_str()),
            ("page[size]", PAGE_SIZE),
        ];
        let look = |page: Page<WireRecord>| {
            let goes_on = page.goes_on(number)?;
            let is_done = replay.take(&page.data)?;
            if goes_on && !is_done && number == PAGES_MAX {
                return Err("its list of usage records does not come to an end".to_owned());
            }
            Ok(goes_on && !is_done)
        };
        if !reading.get("/v1/usage-records", &query, look).await? {
            break;
        }
    }
    Ok(replay.total)
}

/// A period's records, read backwards.
struct Replay<'a> {
    item: &'a ItemId,
    period: Span,
    total: i64,
    /// A record that arrives meanwhile pushes others onto the next page, where they come again.
    seen: BTreeSet<String>,
    last: Option<Timestamp>,
}

impl Replay<'_> {
    /// Takes a page, and says whether that was all that matters.
    fn take(&mut self, page: &[Resource<WireRecord>]) -> Result<bool, String> {
        for Resource { id, attributes: record, .. } in page {
            if !record.subscription_item_id.is(self.item.as_str()) {
                let other = record.subscription_item_id.text();
                return Err(format!("asked about records of {}, one is of {other}", self.item));
            }
            if !self.seen.insert(id.clone()) {
                continue;
            }
            let created = time(&record.created_at)?;
            if self.last.is_some_and(|last| created > last) {
                return Err("its usage records are not listed newest first".to_owned());
            }
            self.last = Some(created);
            if created >= self.period.to {
                continue;
            }
            if created < self.period.from {
                return Ok(true);
            }
            self.total = self.total.checked_add(record.quantity).ok_or("its usage records add up to too much")?;
            match record.action.as_str() {
                "set" => return Ok(true),
                "increment" => {}
                other => return Err(format!("usage record {id} has the action {other:?}")),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_server::{KEY, TestServer, ask, current_usage, json as answer, record};
    use super::*;
    use crate::provider::{Provider, ReadError};

    const PATIENCE: Duration = Duration::from_mins(1);

    fn set(quantity: i64) -> SetUsage {
        SetUsage {
            to: current_usage("7"),
            quantity,
            timestamp_s: 1_793_750_401,
            idempotency_key: "g1-r2".to_owned(),
            identifier: "g1-r2".to_owned(),
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn november() -> Window {
        Window { period: Span::new(at("2026-11-10T13:08:16Z"), at("2026-12-10T13:08:16Z")), timestamp_s: 1 }
    }

    #[tokio::test]
    async fn s9_a_set_is_sent_byte_for_byte_as_documented_without_a_time_or_a_key() {
        let server = TestServer::play(vec![answer(201, "", &record("7", 12, "set"))]);
        assert_eq!(ask(&server, PATIENCE).set_usage(&set(12)).await.value, Outcome::Accepted);
        let host = server.base_url.replace("http://", "");
        let version = env!("CARGO_PKG_VERSION");
        let request = server.requests().remove(0);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
        lines.sort();
        let expected = [
            "POST /v1/usage-records HTTP/1.1".to_owned(),
            "accept: application/vnd.api+json".to_owned(),
            format!("authorization: Bearer {KEY}"),
            format!("content-length: {}", body.len()),
            "content-type: application/vnd.api+json".to_owned(),
            format!("host: {host}"),
            format!("user-agent: usaged/{version}"),
        ];
        assert_eq!(lines, expected);
        let body: Value = serde_json::from_str(body).unwrap();
        let expected = json!({"data": {
            "type": "usage-records",
            "attributes": {"quantity": 12, "action": "set"},
            "relationships": {"subscription-item": {"data": {"type": "subscription-items", "id": "7"}}},
        }});
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn s9_zero_is_tried_and_less_is_not() {
        let server = TestServer::play(vec![answer(201, "", &record("7", 0, "set"))]);
        let provider = ask(&server, PATIENCE);
        assert_eq!(provider.set_usage(&set(0)).await.value, Outcome::Accepted);
        let Outcome::Refused(why) = provider.set_usage(&set(-1)).await.value else { panic!("sent") };
        assert_eq!((why.kind, why.status), (RefusalKind::Other, None));
        assert_eq!(server.requests().len(), 1);
    }

    fn current(start: &str, end: &str, quantity: &Value) -> Value {
        json!({"jsonapi": {"version": "1.0"}, "meta": {
            "period_start": start, "period_end": end, "quantity": quantity, "interval_unit": "month", "interval_quantity": 1,
        }})
    }

    async fn read_current(body: &Value) -> (Result<Standing, ReadError>, String) {
        let server = TestServer::play(vec![answer(200, "", body)]);
        let read = ask(&server, PATIENCE).read_current(&current_usage("7"), november()).await;
        (read.value, server.requests().remove(0))
    }

    #[tokio::test]
    async fn s5_what_stands_is_the_current_usage_of_the_period_asked_about() {
        let five = json!(5);
        // Lemon Squeezy's documents show both ways to write a time.
        for (start, end) in [
            ("2026-11-10T13:08:16+00:00", "2026-12-10T13:08:16+00:00"),
            ("2026-11-10T13:08:16.000000Z", "2026-12-10T13:08:16.000000Z"),
            // An end that was moved does not make another period.
            ("2026-11-10T14:08:16+01:00", "2026-12-01T00:00:00Z"),
        ] {
            let (standing, request) = read_current(&current(start, end, &five)).await;
            assert_eq!(standing, Ok(Standing::Total(5)), "{start}");
            assert!(request.starts_with("GET /v1/subscription-items/7/current-usage HTTP/1.1\r\n"), "{request}");
        }
        let later = current("2026-12-10T13:08:16Z", "2027-01-10T13:08:16Z", &five);
        assert_eq!(read_current(&later).await.0, Ok(Standing::OtherPeriod));
    }

    #[tokio::test]
    async fn a_current_usage_that_cannot_be_is_not_believed() {
        let (start, end) = ("2026-11-10T13:08:16Z", "2026-12-10T13:08:16Z");
        for body in [
            current(start, end, &json!(-1)),
            current(start, end, &json!(1.5)),
            current(start, end, &json!("5")),
            current(end, start, &json!(5)),
            current("today", end, &json!(5)),
            json!({"meta": {}}),
            json!({}),
        ] {
            let error = read_current(&body).await.0.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Unreadable, false), "{body}");
        }
    }

    #[tokio::test]
    async fn the_current_period_is_all_that_is_listed() {
        let body = current("2026-11-10T13:08:16Z", "2026-12-10T13:08:16Z", &json!(5));
        let server = TestServer::play(vec![answer(200, "", &body)]);
        let periods = ask(&server, PATIENCE).read_periods(&current_usage("7")).await.value;
        assert_eq!(periods, Ok(vec![november().period]));
    }

    /// Id, time and what it did, as `set 5`.
    fn listed(id: i64, created: &str, did: &str) -> Value {
        let (action, quantity) = did.split_once(' ').unwrap();
        let quantity: i64 = quantity.parse().unwrap();
        json!({"type": "usage-records", "id": id.to_string(), "attributes": {
            "subscription_item_id": 7, "quantity": quantity, "action": action,
            "created_at": format!("{created}.000000Z"), "updated_at": "never",
        }})
    }

    fn page(number: u32, last: u32, records: &[Value]) -> Value {
        json!({"meta": {"page": {"currentPage": number, "lastPage": last, "total": 1}}, "data": records})
    }

    async fn ended(provider: &Provider) -> Result<Standing, ReadError> {
        provider.read_ended(&current_usage("7"), november()).await.value
    }

    async fn read_ended(pages: &[Value]) -> (Result<Standing, ReadError>, Vec<String>) {
        let server = TestServer::play(pages.iter().map(|page| answer(200, "", page)).collect());
        let standing = ended(&ask(&server, PATIENCE)).await;
        (standing, server.requests())
    }

    #[tokio::test]
    async fn s9_an_ended_period_is_what_its_last_record_set() {
        let records = [
            listed(5, "2026-12-10T13:08:16", "set 900"),
            listed(4, "2026-12-10T13:08:15", "set 30"),
            listed(3, "2026-11-20T00:00:00", "set 50"),
        ];
        let (standing, requests) = read_ended(&[page(1, 9, &records)]).await;
        assert_eq!(
            standing,
            Ok(Standing::Total(30)),
            "a record counts where it arrived, and a second later in the next"
        );
        let asked =
            "GET /v1/usage-records?filter%5Bsubscription_item_id%5D=7&page%5Bnumber%5D=1&page%5Bsize%5D=100 HTTP/1.1";
        assert!(requests[0].starts_with(asked), "{}", requests[0]);
        // What came before the last one that set it does not matter, and is not asked for.
        assert_eq!(requests.len(), 1);
    }

    #[tokio::test]
    async fn s9_increments_of_others_are_added_and_earlier_periods_are_not() {
        let first = [listed(6, "2026-12-01T00:00:00", "increment 4"), listed(5, "2026-11-30T00:00:00", "increment 3")];
        // A record that arrived meanwhile pushed one onto the second page.
        let again = listed(5, "2026-11-30T00:00:00", "increment 3");
        let set =
            [again.clone(), listed(4, "2026-11-20T00:00:00", "set 20"), listed(3, "2026-11-19T00:00:00", "set 9")];
        let (standing, requests) = read_ended(&[page(1, 2, &first), page(2, 2, &set)]).await;
        assert_eq!((standing, requests.len()), (Ok(Standing::Total(27)), 2));
        let before = [again, listed(4, "2026-11-10T13:08:15", "set 20")];
        assert_eq!(read_ended(&[page(1, 2, &first), page(2, 3, &before)]).await.0, Ok(Standing::Total(7)));
    }

    #[tokio::test]
    async fn s9_a_period_without_records_has_nothing() {
        assert_eq!(read_ended(&[page(1, 1, &[])]).await.0, Ok(Standing::Total(0)));
        let other = listed(1, "2026-11-09T00:00:00", "set 9");
        assert_eq!(read_ended(&[page(1, 1, &[other])]).await.0, Ok(Standing::Total(0)));
    }

    #[tokio::test]
    async fn a_list_that_is_not_what_was_asked_for_is_not_believed() {
        let good = listed(4, "2026-11-20T00:00:00", "increment 1");
        let mut others = good.clone();
        others["attributes"]["subscription_item_id"] = json!(8);
        for (records, named) in [
            (vec![others], "records of 7, one is of 8"),
            (vec![good.clone(), listed(5, "2026-11-21T00:00:00", "set 9")], "not listed newest first"),
            (vec![listed(4, "2026-11-20T00:00:00", "clear 1")], "\"clear\""),
            (vec![good.clone(), listed(3, "2026-11-20T00:00:00", "increment 9223372036854775807")], "too much"),
        ] {
            let error = read_ended(&[page(1, 1, &records)]).await.0.unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(!error.passing);
        }
        let error = read_ended(&[page(1, 2, std::slice::from_ref(&good)), page(1, 2, &[good])]).await.0.unwrap_err();
        assert!(error.to_string().contains("asked for page 2, it is page 1"), "{error}");
    }

    #[tokio::test]
    async fn pages_that_never_end_are_not_followed_for_ever() {
        let later =
            |number: u32| page(number, 999, &[listed(i64::from(1_000 - number), "2026-12-20T00:00:00", "set 1")]);
        let pages: Vec<_> = (1..=PAGES_MAX).map(later).collect();
        let (standing, requests) = read_ended(&pages).await;
        assert!(standing.unwrap_err().to_string().contains("does not come to an end"));
        assert_eq!(requests.len(), pages.len());
    }
}
