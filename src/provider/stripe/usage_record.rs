//! Setting usage, and reading back what stands.
//!
//! <https://docs.stripe.com/api/usage_records?api-version=2025-02-24.acacia>

use serde::Deserialize;

use crate::model::{ItemId, Span, Timestamp};
use crate::provider::{Answer, Outcome, ReadAnswer, SetUsage, Standing, Window};

use super::answer::{into_outcome, into_read, judge};
use super::client::Client;

#[derive(Deserialize)]
struct WireUsageRecord {
    object: String,
    quantity: i64,
    subscription_item: ItemId,
    timestamp: i64,
}

#[derive(Deserialize)]
struct WireSummaries {
    data: Vec<WireSummary>,
}

#[derive(Deserialize)]
struct WireSummary {
    subscription_item: Option<ItemId>,
    invoice: Option<String>,
    period: Option<WirePeriod>,
    total_usage: u64,
}

#[derive(Deserialize, Clone, Copy)]
struct WirePeriod {
    start: Option<i64>,
    end: Option<i64>,
}

/// What stands on an item in its current period and the one before, as the provider's summaries say it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Summary {
    /// The invoice it went to; `None` for the current period.
    invoice: Option<String>,
    /// The stretch it covers, where the provider says so.
    period: Option<Span>,
    /// Total units.
    total: u64,
}

impl Summary {
    /// Total units, as they are counted here.
    fn units(&self) -> i64 {
        i64::try_from(self.total).unwrap_or(i64::MAX)
    }

    /// Whether a record at this timestamp counts in it: start-exclusive, end-inclusive, as the provider counts. `None`
    /// where the provider does not say which stretch it covers.
    fn holds(&self, timestamp_s: i64) -> Option<bool> {
        let at = Timestamp::from_secs(timestamp_s);
        self.period.map(|period| period.from < at && at <= period.to)
    }
}

/// `POST /v1/subscription_items/{si}/usage_records` with `action=set`.
pub(super) async fn set(client: &Client, set: &SetUsage) -> Answer<Outcome> {
    let path = format!("/v1/subscription_items/{}/usage_records", set.to.item);
    let (quantity, timestamp) = (set.quantity.to_string(), set.timestamp_s.to_string());
    let form = [("quantity", quantity.as_str()), ("timestamp", timestamp.as_str()), ("action", "set")];
    let exchange = client.post(&path, &form, &set.idempotency_key).await;
    judge(client, exchange, |record| check(set, &record)).map(into_outcome)
}

/// "Accepted" is believed only of an answer that repeats what was asked.
fn check(asked: &SetUsage, stands: &WireUsageRecord) -> Result<(), String> {
    let same = stands.object == "usage_record"
        && stands.subscription_item == asked.to.item
        && stands.quantity == asked.quantity
        && stands.timestamp == asked.timestamp_s;
    if same {
        return Ok(());
    }
    Err(format!(
        "asked to set {} to {} at {}, it names a {} of {} with {} at {}",
        asked.to.item,
        asked.quantity,
        asked.timestamp_s,
        stands.object,
        stands.subscription_item,
        stands.quantity,
        stands.timestamp
    ))
}

/// What stands in the current period. A provider that lists none has no usage in it.
pub(super) async fn read_current(client: &Client, item: &ItemId, window: Window) -> ReadAnswer<Standing> {
    let found = |summaries: Vec<Summary>| {
        let Some(current) = summaries.iter().find(|summary| summary.invoice.is_none()) else {
            return Standing::Total(0);
        };
        let is_ours = current.holds(window.timestamp_s).unwrap_or(true);
        if is_ours { Standing::Total(current.units()) } else { Standing::OtherPeriod }
    };
    read_summaries(client, item, "").await.map(|read| read.map(found))
}

/// What stands in the period our timestamp lies in.
pub(super) async fn read_ended(client: &Client, item: &ItemId, window: Window) -> ReadAnswer<Standing> {
    let found = |summaries: Vec<Summary>| {
        let ours = |summary: &&Summary| summary.holds(window.timestamp_s) == Some(true);
        summaries.iter().find(ours).map_or(Standing::NotListed, |summary| match summary.invoice {
            Some(_) => Standing::Total(summary.units()),
            None => Standing::NotInvoiced(summary.units()),
        })
    };
    read_summaries(client, item, ALL_KEPT).await.map(|read| read.map(found))
}

/// The periods that summaries tell of.
pub(super) async fn read_periods(client: &Client, item: &ItemId) -> ReadAnswer<Vec<Span>> {
    let told = |summaries: Vec<Summary>| summaries.into_iter().filter_map(|summary| summary.period).collect();
    read_summaries(client, item, ALL_KEPT).await.map(|read| read.map(told))
}

/// The newest hundred periods in place of ten: a VM that was off for long asks about old ones.
const ALL_KEPT: &str = "?limit=100";

/// `GET /v1/subscription_items/{si}/usage_record_summaries`, one page, newest first.
async fn read_summaries(client: &Client, item: &ItemId, limit: &str) -> ReadAnswer<Vec<Summary>> {
    let path = format!("/v1/subscription_items/{item}/usage_record_summaries{limit}");
    let look = |list: WireSummaries| list.data.into_iter().map(|summary| view(item, summary)).collect();
    judge(client, client.get(&path).await, look).map(into_read)
}

fn view(asked: &ItemId, wire: WireSummary) -> Result<Summary, String> {
    match wire.subscription_item {
        Some(other) if other != *asked => Err(format!("asked about {asked}, it is about {other}")),
        _ => Ok(Summary { invoice: wire.invoice, period: wire.period.and_then(span), total: wire.total_usage }),
    }
}

fn span(period: WirePeriod) -> Option<Span> {
    Some(Span::new(Timestamp::from_secs(period.start?), Timestamp::from_secs(period.end?)))
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{KEY, TestServer, json, usage_records};
    use super::*;

    #[tokio::test]
    async fn s1_a_set_is_sent_byte_for_byte_as_documented() {
        let server = TestServer::play(vec![json(
            200,
            "",
            r#"{"object":"usage_record","quantity":12,"subscription_item":"si_1","timestamp":1793750401}"#,
        )]);
        let set = SetUsage {
            to: usage_records("si_1"),
            quantity: 12,
            timestamp_s: 1_793_750_401,
            idempotency_key: "g1-r2".to_owned(),
            identifier: String::new(),
        };
        assert_eq!(server.provider().set_usage(&set).await.value, Outcome::Accepted);
        let host = server.base_url.replace("http://", "");
        let version = env!("CARGO_PKG_VERSION");
        let request = server.requests().remove(0);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
        lines.sort();
        let expected = [
            "POST /v1/subscription_items/si_1/usage_records HTTP/1.1".to_owned(),
            "accept: */*".to_owned(),
            format!("authorization: Bearer {KEY}"),
            "content-length: 43".to_owned(),
            "content-type: application/x-www-form-urlencoded".to_owned(),
            format!("host: {host}"),
            "idempotency-key: g1-r2".to_owned(),
            "stripe-version: 2025-02-24.acacia".to_owned(),
            format!("user-agent: usaged/{version}"),
        ];
        assert_eq!((lines.as_slice(), body), (&expected[..], "quantity=12&timestamp=1793750401&action=set"));
    }

    #[tokio::test]
    async fn a_quantity_of_nothing_is_sent_as_zero() {
        let server = TestServer::play(vec![json(
            200,
            "",
            r#"{"object":"usage_record","quantity":0,"subscription_item":"si_1","timestamp":1}"#,
        )]);
        let set = SetUsage {
            to: usage_records("si_1"),
            quantity: 0,
            timestamp_s: 1,
            idempotency_key: "k".to_owned(),
            identifier: "k".to_owned(),
        };
        assert_eq!(server.provider().set_usage(&set).await.value, Outcome::Accepted);
        assert!(server.requests()[0].ends_with("\r\n\r\nquantity=0&timestamp=1&action=set"));
    }

    #[tokio::test]
    async fn s5_what_stands_is_read_newest_first() {
        let body = r#"{"object":"list","has_more":false,"url":"/x","data":[
            {"id":"sis_1","object":"usage_record_summary","invoice":null,"livemode":false,
             "period":{"start":null,"end":null},"subscription_item":"si_1","total_usage":12},
            {"id":"sis_2","object":"usage_record_summary","invoice":"in_1","livemode":false,
             "period":{"start":1791072000,"end":1793750400},"subscription_item":"si_1","total_usage":30}]}"#;
        let answers = vec![json(200, "", body), json(200, "", body), json(200, "", body), json(200, "", body)];
        let server = TestServer::play(answers);
        let october = Span::new(Timestamp::from_secs(1_791_072_000), Timestamp::from_secs(1_793_750_400));
        let november = Span::new(october.to, Timestamp::from_secs(1_796_342_400));
        let (provider, of) = (server.provider(), usage_records("si_1"));
        let window = |period: Span| Window { period, timestamp_s: period.from.secs() + 1 };
        assert_eq!(provider.read_current(&of, window(november)).await.value, Ok(Standing::Total(12)));
        assert_eq!(provider.read_ended(&of, window(october)).await.value, Ok(Standing::Total(30)));
        assert_eq!(provider.read_ended(&of, window(november)).await.value, Ok(Standing::NotListed));
        assert_eq!(provider.read_periods(&of).await.value, Ok(vec![october]));
        let requests = server.requests();
        let asked = |limit| format!("GET /v1/subscription_items/si_1/usage_record_summaries{limit} HTTP/1.1\r\n");
        assert!(requests[0].starts_with(&asked("")), "{}", requests[0]);
        assert!(requests[1..].iter().all(|request| request.starts_with(&asked("?limit=100"))));
    }

    #[test]
    fn a_record_at_the_very_start_of_a_period_counts_in_the_one_before() {
        let (from, to) = (Timestamp::from_secs(100), Timestamp::from_secs(200));
        let summary = Summary { invoice: None, period: Some(Span::new(from, to)), total: 7 };
        let held = [100, 101, 200, 201].map(|timestamp_s| summary.holds(timestamp_s));
        assert_eq!(held, [Some(false), Some(true), Some(true), Some(false)]);
        assert_eq!(Summary { period: None, ..summary }.holds(150), None);
    }

    #[tokio::test]
    async fn a_total_of_another_item_or_of_no_whole_number_is_not_believed() {
        for summary in [
            r#"{"subscription_item":"si_2","total_usage":12}"#,
            r#"{"subscription_item":"si_1","total_usage":12.5}"#,
            r#"{"subscription_item":"si_1","total_usage":-1}"#,
            r#"{"subscription_item":"si_1"}"#,
        ] {
            let server = TestServer::play(vec![json(200, "", &format!(r#"{{"data":[{summary}]}}"#))]);
            let error = server.provider().read_periods(&usage_records("si_1")).await.value.unwrap_err();
            assert_eq!(error.refusal.kind, crate::provider::RefusalKind::Unreadable, "{summary}");
        }
    }
}
