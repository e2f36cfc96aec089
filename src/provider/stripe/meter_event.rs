//! Sending meter events, and reading what they come to.
//!
//! <https://docs.stripe.com/api/billing/meter-event/create> and
//! <https://docs.stripe.com/api/billing/meter-event-summary/list>

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{BillingMeter, BillingMeterId, CustomerId, Formula, MICROS_PER_DAY, Span, Timestamp};
use crate::provider::{Answer, Outcome, ReadAnswer, ReadError, Refusal, RefusalKind, SetUsage, Standing, Window};

use super::answer::{into_outcome, judge};
use super::client::Client;
use super::list::{self, Listed};
use super::whole::whole;

#[derive(Deserialize)]
struct WireEvent {
    object: String,
    event_name: String,
    identifier: String,
    timestamp: i64,
    payload: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WireSummary {
    id: String,
    meter: BillingMeterId,
    start_time: i64,
    end_time: i64,
    /// A float at Stripe; kept as it is written, since a double would not hold every count.
    aggregated_value: Box<RawValue>,
}

impl Listed for WireSummary {
    fn id(&self) -> &str {
        &self.id
    }
}

/// `POST /v1/billing/meter_events`. The event's identifier stays where a stored failure asks for another key (rule S2).
pub(super) async fn send(client: &Client, meter: &BillingMeter, set: &SetUsage) -> Answer<Outcome> {
    let (customer, value) = (format!("payload[{}]", meter.customer_key), format!("payload[{}]", meter.value_key));
    let (quantity, timestamp) = (set.quantity.to_string(), set.timestamp_s.to_string());
    let form = [
        ("event_name", meter.event_name.as_str()),
        (customer.as_str(), set.to.customer.as_str()),
        (value.as_str(), quantity.as_str()),
        ("identifier", set.identifier.as_str()),
        ("timestamp", timestamp.as_str()),
    ];
    let exchange = client.post("/v1/billing/meter_events", &form, &set.idempotency_key).await;
    judge(client, exchange, |event| check(meter, set, &event)).map(into_outcome)
}

/// "Accepted" is believed only of an answer that repeats what was asked.
fn check(meter: &BillingMeter, asked: &SetUsage, event: &WireEvent) -> Result<(), String> {
    let field = |key: &str| event.payload.get(key).map_or("nothing", String::as_str);
    let (customer, value) = (field(&meter.customer_key), field(&meter.value_key));
    let same = event.object == "billing.meter_event"
        && event.event_name == meter.event_name
        && event.identifier == asked.identifier
        && event.timestamp == asked.timestamp_s
        && customer == asked.to.customer.as_str()
        && value == asked.quantity.to_string();
    if same {
        return Ok(());
    }
    Err(format!(
        "asked for {} of {} for {} at {} as {}, it names {value} of {} for {customer} at {} as {}",
        asked.quantity,
        meter.event_name,
        asked.to.customer,
        asked.timestamp_s,
        asked.idempotency_key,
        event.event_name,
        event.timestamp,
        event.identifier
    ))
}

/// `GET /v1/billing/meters/{id}/event_summaries` over the window of rule S7: one total, or one for each UTC day where
/// the meter puts events together by days.
///
/// By days Stripe takes whole UTC days only. So such a period has to begin with one (rule S10), and the day that it ends
/// in is read to its end; that is the same as to the period's end unless another period begins on that day.
pub(super) async fn read_standing(
    client: &Client,
    meter: &BillingMeter,
    customer: &CustomerId,
    window: Window,
) -> ReadAnswer<Standing> {
    let minutes = window.period.whole_minutes();
    if minutes.micros() == 0 {
        // No event can lie inside, and there is no way to ask about it.
        return Answer::unanswered(Ok(Standing::Total(0)));
    }
    if meter.formula != Formula::SumOfDays {
        let summaries = read_summaries(client, meter, customer, minutes).await;
        return summaries.map(|read| read.map(|found| Standing::Total(found.into_values().sum())));
    }
    if minutes.from.rounded_down(MICROS_PER_DAY) != window.period.from {
        return Answer::unanswered(Err(not_by_days(window.period.from)));
    }
    let days = Span::new(minutes.from, minutes.to.rounded_up(MICROS_PER_DAY));
    read_summaries(client, meter, customer, days).await.map(|read| read.map(Standing::Days))
}

/// What was counted, by the second it was counted from: of the whole window, or of each day in it.
async fn read_summaries(
    client: &Client,
    meter: &BillingMeter,
    customer: &CustomerId,
    window: Span,
) -> ReadAnswer<BTreeMap<i64, i64>> {
    let path = format!("/v1/billing/meters/{}/event_summaries", meter.id);
    let (from, to) = (window.from.secs().to_string(), window.to.secs().to_string());
    let mut query = vec![
        ("customer", customer.as_str()),
        ("start_time", from.as_str()),
        ("end_time", to.as_str()),
        ("limit", "100"),
    ];
    if meter.formula == Formula::SumOfDays {
        query.push(("value_grouping_window", "day"));
    }
    let mut found = BTreeMap::new();
    let answer = list::read(client, &path, &query, None, |summary: WireSummary| {
        let units = check_summary(meter, window, &summary)?;
        let is_first = match meter.formula {
            Formula::SumOfDays => found.insert(summary.start_time, units).is_none(),
            Formula::Last | Formula::Sum => found.is_empty() && found.insert(summary.start_time, units).is_none(),
        };
        if is_first {
            return Ok(ControlFlow::Continue(()));
        }
        Err(format!("the totals of {} overlap at {}", meter.id, Timestamp::from_secs(summary.start_time)))
    });
    answer.await.map(|read| read.map(|()| found))
}

fn check_summary(meter: &BillingMeter, window: Span, summary: &WireSummary) -> Result<i64, String> {
    let counted = Span::new(Timestamp::from_secs(summary.start_time), Timestamp::from_secs(summary.end_time));
    if summary.meter != meter.id {
        return Err(format!("asked about {}, it is about {}", meter.id, summary.meter));
    }
    let is_day = counted.from == counted.from.rounded_down(MICROS_PER_DAY) && counted.micros() == MICROS_PER_DAY;
    let is_inside = window.from <= counted.from && counted.from < counted.to && counted.to <= window.to;
    if !is_inside || (meter.formula == Formula::SumOfDays && !is_day) {
        return Err(format!(
            "asked about {} to {}, a total is of {} to {}",
            window.from, window.to, counted.from, counted.to
        ));
    }
    let text = summary.aggregated_value.get();
    match whole(text) {
        Some(units) if units >= 0 || meter.formula != Formula::Last => Ok(units),
        _ => Err(format!("the total {text} of {} is no number of whole units", meter.id)),
    }
}

fn not_by_days(from: Timestamp) -> ReadError {
    let message = format!("the period begins at {from}, and totals by days are read for whole UTC days only");
    ReadError { refusal: Box::new(Refusal::ours(RefusalKind::Other, message)), passing: false, retry_after: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_server::{Act, KEY, TestServer, json as answer, metered};
    use super::*;

    /// 5 November 2026, 12:00 UTC.
    const NOON: i64 = 1_793_880_000;
    const DAY: i64 = 86_400;
    const HALF_A_DAY: i64 = 43_200;
    /// 1 November and 1 December 2026, 00:00 UTC.
    const NOVEMBER: (i64, i64) = (1_793_491_200, 1_796_083_200);

    fn set(formula: Formula, quantity: i64) -> SetUsage {
        SetUsage {
            to: metered(formula),
            quantity,
            timestamp_s: NOON,
            idempotency_key: "g1-r2".to_owned(),
            identifier: "g1-r2".to_owned(),
        }
    }

    fn event() -> Value {
        json!({
            "object": "billing.meter_event", "created": NOON, "event_name": "compute hours", "identifier": "g1-r2",
            "livemode": false, "payload": {"stripe_customer_id": "cus_1", "hours": "12"}, "timestamp": NOON
        })
    }

    async fn send(act: Act) -> Outcome {
        TestServer::play(vec![act]).meters().set_usage(&set(Formula::Last, 12)).await.value
    }

    #[tokio::test]
    async fn s7_an_event_is_sent_byte_for_byte_as_documented() {
        let server = TestServer::play(vec![answer(200, "", &event().to_string())]);
        assert_eq!(server.meters().set_usage(&set(Formula::Last, 12)).await.value, Outcome::Accepted);
        let host = server.base_url.replace("http://", "");
        let version = env!("CARGO_PKG_VERSION");
        let request = server.requests().remove(0);
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
        lines.sort();
        let expected = [
            "POST /v1/billing/meter_events HTTP/1.1".to_owned(),
            "accept: */*".to_owned(),
            format!("authorization: Bearer {KEY}"),
            "content-length: 122".to_owned(),
            "content-type: application/x-www-form-urlencoded".to_owned(),
            format!("host: {host}"),
            "idempotency-key: g1-r2".to_owned(),
            "stripe-version: 2026-10-28.endive".to_owned(),
            format!("user-agent: usaged/{version}"),
        ];
        let form = "event_name=compute+hours&payload%5Bstripe_customer_id%5D=cus_1&payload%5Bhours%5D=12\
                    &identifier=g1-r2&timestamp=1793880000";
        assert_eq!((lines.as_slice(), body), (&expected[..], form));
    }

    #[tokio::test]
    async fn s8_a_fall_on_a_plain_sum_is_a_negative_value() {
        let mut wire = event();
        wire["payload"]["hours"] = "-3".into();
        let server = TestServer::play(vec![answer(200, "", &wire.to_string())]);
        assert_eq!(server.meters().set_usage(&set(Formula::Sum, -3)).await.value, Outcome::Accepted);
        assert!(server.requests()[0].contains("&payload%5Bhours%5D=-3&"));
    }

    #[tokio::test]
    async fn an_event_counts_as_accepted_only_where_the_answer_repeats_it() {
        for (pointer, value) in [
            ("/object", json!("billing.meter")),
            ("/event_name", json!("other")),
            ("/identifier", json!("g1-r3")),
            ("/identifier", Value::Null),
            ("/timestamp", json!(NOON + 1)),
            ("/payload/hours", json!("13")),
            ("/payload/hours", json!("12.0")),
            ("/payload/stripe_customer_id", json!("cus_2")),
            ("/payload", json!({})),
        ] {
            let mut wire = event();
            *wire.pointer_mut(pointer).unwrap() = value;
            let outcome = send(answer(200, "", &wire.to_string())).await;
            let Outcome::Unknown { needs_new_key: true, why, .. } = outcome else { panic!("{pointer}: {outcome:?}") };
            assert_eq!(why.kind, RefusalKind::Unreadable, "{pointer}");
        }
    }

    #[tokio::test]
    async fn an_event_without_a_whole_answer_is_perhaps_accepted() {
        let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Log in</html>";
        let whole = event().to_string();
        for act in [
            Act::Cut,
            Act::Answer(html.as_bytes().to_vec()),
            answer(200, "", &whole[..60]),
            answer(200, "", &format!("{whole}{}", " ".repeat(1024 * 1024))),
        ] {
            let outcome = send(act).await;
            assert!(matches!(outcome, Outcome::Unknown { needs_new_key: false, .. }), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn s2_an_identifier_that_is_there_already_is_refused_as_such() {
        let body = json!({"error": {
            "type": "invalid_request_error", "message": "An event already exists with identifier g1-r2."
        }});
        for header in ["", "Stripe-Should-Retry: false\r\n", "Stripe-Should-Retry: true\r\n"] {
            let outcome = send(answer(400, header, &body.to_string())).await;
            let Outcome::Refused(why) = outcome else { panic!("{outcome:?}") };
            assert_eq!(why.kind, RefusalKind::Duplicate, "{header}");
        }
    }

    fn summary(id: &str, from: i64, to: i64, value: &str) -> String {
        format!(
            r#"{{"id":"{id}","object":"billing.meter_event_summary","aggregated_value":{value},"end_time":{to},
                 "livemode":false,"meter":"mtr_1","start_time":{from}}}"#
        )
    }

    fn page(has_more: bool, summaries: &[String]) -> String {
        format!(r#"{{"object":"list","has_more":{has_more},"url":"/x","data":[{}]}}"#, summaries.join(","))
    }

    async fn read(
        formula: Formula,
        (from, to): (i64, i64),
        pages: &[String],
    ) -> (Result<Standing, ReadError>, Vec<String>) {
        let server = TestServer::play(pages.iter().map(|page| answer(200, "", page)).collect());
        let period = Span::new(Timestamp::from_secs(from), Timestamp::from_secs(to));
        let window = Window { period, timestamp_s: 0 };
        let read = server.meters().read_current(&metered(formula), window).await.value;
        let asked = server.requests().iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
        (read, asked)
    }

    #[tokio::test]
    async fn s7_a_total_is_read_over_the_whole_minutes_of_the_period() {
        let (from, to) = (NOVEMBER.0 + 1, NOVEMBER.1 + 59);
        let found = page(false, &[summary("mtrusg_1", NOVEMBER.0 + 60, NOVEMBER.1, "12.0")]);
        for formula in [Formula::Last, Formula::Sum] {
            let (read, asked) = read(formula, (from, to), std::slice::from_ref(&found)).await;
            assert_eq!(read, Ok(Standing::Total(12)));
            let query = "customer=cus_1&start_time=1793491260&end_time=1796083200&limit=100";
            assert_eq!(asked, [format!("GET /v1/billing/meters/mtr_1/event_summaries?{query} HTTP/1.1")]);
        }
    }

    #[tokio::test]
    async fn nothing_counted_is_a_total_of_zero() {
        assert_eq!(read(Formula::Last, NOVEMBER, &[page(false, &[])]).await.0, Ok(Standing::Total(0)));
        let (read, asked) = read(Formula::Last, (NOON + 1, NOON + 59), &[]).await;
        assert_eq!((read, asked.len()), (Ok(Standing::Total(0)), 0), "no whole minute, nothing to ask about");
    }

    #[tokio::test]
    async fn a_period_that_is_over_is_read_like_the_current_one() {
        let server = TestServer::play(vec![answer(200, "", &page(false, &[]))]);
        let period = Span::new(Timestamp::from_secs(NOVEMBER.0), Timestamp::from_secs(NOVEMBER.1));
        let window = Window { period, timestamp_s: 0 };
        assert_eq!(server.meters().read_ended(&metered(Formula::Sum), window).await.value, Ok(Standing::Total(0)));
    }

    #[tokio::test]
    async fn s8_a_sum_of_days_is_read_day_by_day_and_page_by_page() {
        let day = |n: i64, value: &str| {
            let from = NOVEMBER.0 + n * DAY;
            summary(&format!("mtrusg_{n}"), from, from + DAY, value)
        };
        // The last day is read to its end, although the period ends at noon.
        let period = (NOVEMBER.0, NOVEMBER.0 + 29 * DAY + HALF_A_DAY);
        let pages = [page(true, &[day(29, "3"), day(4, "1.5e1")]), page(false, &[day(0, "2.0"), day(1, "-1")])];
        let (read, asked) = read(Formula::SumOfDays, period, &pages).await;
        let days = [(0, 2), (1, -1), (4, 15), (29, 3)].map(|(n, units)| (NOVEMBER.0 + n * DAY, units));
        assert_eq!(read, Ok(Standing::Days(BTreeMap::from(days))));
        let query = "customer=cus_1&start_time=1793491200&end_time=1796083200&limit=100&value_grouping_window=day";
        let first = format!("GET /v1/billing/meters/mtr_1/event_summaries?{query}");
        assert_eq!(asked, [format!("{first} HTTP/1.1"), format!("{first}&starting_after=mtrusg_4 HTTP/1.1")]);
    }

    #[tokio::test]
    async fn s10_days_of_a_period_that_begins_within_one_are_not_told_apart() {
        for from in [NOVEMBER.0 + 60, NOVEMBER.0 + HALF_A_DAY, NOVEMBER.0 - 1] {
            let (read, asked) = read(Formula::SumOfDays, (from, NOVEMBER.1), &[]).await;
            let error = read.unwrap_err();
            assert!(error.to_string().contains("whole UTC days only") && !error.passing, "{error}");
            assert!(asked.is_empty());
        }
    }

    #[tokio::test]
    async fn a_total_that_is_another_or_no_whole_number_is_not_believed() {
        let (from, to) = NOVEMBER;
        let good = |value: &str| summary("s", from, to, value);
        let long = page(false, &[summary("s", from, from + 2 * DAY, "1")]);
        for (formula, page, named) in [
            (Formula::Last, page(false, &[good("1").replace("mtr_1", "mtr_2")]), "it is about mtr_2"),
            (Formula::Last, page(false, &[good("12.5")]), "12.5 of mtr_1"),
            (Formula::Last, page(false, &[good("\"12\"")]), "\"12\" of mtr_1"),
            (Formula::Last, page(false, &[good("null")]), "null of mtr_1"),
            (Formula::Last, page(false, &[good("9223372036854775808")]), "9223372036854775808"),
            (Formula::Last, page(false, &[good("-1")]), "-1 of mtr_1"),
            (Formula::Last, page(false, &[summary("s", from - 60, to, "1")]), "a total is of"),
            (Formula::Sum, page(false, &[summary("s", from, to + 60, "1")]), "a total is of"),
            (Formula::Sum, page(false, &[summary("s", from, from, "1")]), "a total is of"),
            (Formula::Sum, page(false, &[good("1"), good("1")]), "overlap"),
            (Formula::Sum, page(false, &[good("1").replace("start_time", "start")]), "start_time"),
            (Formula::SumOfDays, long, "a total is of"),
            (Formula::SumOfDays, page(false, &[summary("s", from + 60, from + 60 + DAY, "1")]), "a total is of"),
            (
                Formula::SumOfDays,
                page(false, &[summary("a", from, from + DAY, "1"), summary("b", from, from + DAY, "1")]),
                "overlap",
            ),
        ] {
            let error = read(formula, NOVEMBER, &[page]).await.0.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Unreadable, false), "{named}");
            assert!(error.to_string().contains(named), "{named}: {error}");
        }
        let negative = read(Formula::Sum, NOVEMBER, &[page(false, &[good("-1.0")])]).await.0;
        assert_eq!(negative, Ok(Standing::Total(-1)), "a sum of falls is one");
    }

    #[tokio::test]
    async fn pages_that_never_end_are_not_followed_for_ever() {
        let more = page(true, &[]);
        let (result, asked) = read(Formula::SumOfDays, NOVEMBER, &[more]).await;
        assert!(result.unwrap_err().to_string().contains("does not come to an end"));
        assert_eq!(asked.len(), 1);
        let period = (NOVEMBER.0, NOVEMBER.0 + 40 * DAY);
        let circle: Vec<_> = (0..i64::try_from(list::PAGES_MAX).unwrap())
            .map(|n| NOVEMBER.0 + n * DAY)
            .map(|from| page(true, &[summary("s", from, from + DAY, "1")]))
            .collect();
        let (result, asked) = read(Formula::SumOfDays, period, &circle).await;
        assert!(result.unwrap_err().to_string().contains("does not come to an end"));
        assert_eq!(asked.len(), list::PAGES_MAX);
    }

    #[tokio::test]
    async fn a_total_without_a_whole_answer_may_be_read_later() {
        let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Log in</html>";
        let whole = page(false, &[summary("s", NOVEMBER.0, NOVEMBER.1, "12")]);
        let window = Window {
            period: Span::new(Timestamp::from_secs(NOVEMBER.0), Timestamp::from_secs(NOVEMBER.1)),
            timestamp_s: 0,
        };
        for act in [
            Act::Cut,
            Act::Answer(html.as_bytes().to_vec()),
            answer(200, "", &whole[..whole.len() - 1]),
            answer(200, "", &format!("{whole}{}", " ".repeat(1024 * 1024))),
        ] {
            let read = TestServer::play(vec![act]).meters().read_current(&metered(Formula::Last), window).await;
            assert!(read.value.unwrap_err().passing);
        }
    }
}
