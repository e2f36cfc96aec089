//! Billing meters, their events and summaries.

use std::time::Duration;

use serde_json::{Value, json};
use usaged::model::Timestamp;
use usaged::sandbox::{Behaviour, Effect, Fault, Newest, Sandbox, seed_meter_demo};

use super::{Answer, DAY, START, World, at, now, wait_until};

pub(super) const EVENTS: &str = "/v1/billing/meter_events";
pub(super) const BASIL: &str = "2025-03-31.basil";
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// A world whose demo is on meters with this formula and window; its first period is cut short, and ends on the first.
pub(super) fn on<F: Future<Output = ()>>(formula: &str, window: Option<&str>, test: impl FnOnce(World) -> F) {
    super::run_with(|sandbox| seed_meter_demo(sandbox, formula, window, None).unwrap(), test);
}

impl World {
    pub(super) fn meter(&self) -> &str {
        self.demo.meter_api.as_deref().unwrap()
    }

    /// An event of the demo customer for its API meter.
    pub(super) async fn event(&self, identifier: &str, value: &str, timestamp: i64) -> Answer {
        let timestamp = timestamp.to_string();
        let pairs = [("identifier", identifier), ("payload[value]", value), ("timestamp", &timestamp)];
        self.event_with(&pairs).await
    }

    async fn event_with(&self, pairs: &[(&str, &str)]) -> Answer {
        let whose = [("event_name", "api_credits"), ("payload[stripe_customer_id]", self.demo.customer.as_str())];
        self.post(EVENTS, &[whose.as_slice(), pairs].concat()).await
    }

    async fn summaries(&self, more: &str) -> Answer {
        let path = format!("/v1/billing/meters/{}/event_summaries?customer={}", self.meter(), self.demo.customer);
        self.get(&format!("{path}&{more}")).await
    }

    /// The values of the summaries between two moments, newest first; `None` of `grouping`: as one.
    async fn values(&self, from: i64, to: i64, grouping: Option<&str>) -> Vec<f64> {
        let grouping = grouping.map_or_else(String::new, |window| format!("&value_grouping_window={window}"));
        let answer = self.summaries(&format!("start_time={from}&end_time={to}{grouping}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["data"].as_array().unwrap().iter().map(|one| one["aggregated_value"].as_f64().unwrap()).collect()
    }

    fn standing_on_meter(&self) -> i64 {
        let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        self.sandbox.meter_total(self.meter(), &self.demo.customer, from, to).unwrap()
    }

    pub(super) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        let mut behaviour = self.sandbox.behaviour().unwrap();
        change(&mut behaviour);
        self.sandbox.behave(behaviour).unwrap();
    }
}

/// The minute in which a test begins.
fn minute() -> i64 {
    at(START).secs()
}

#[test]
fn a_meter_keeps_what_it_was_made_with_but_for_its_display_name() {
    super::run(|world| async move {
        let pairs = [
            ("display_name", "Calls"),
            ("event_name", "calls"),
            ("default_aggregation[formula]", "sum"),
            ("event_time_window", "day"),
            ("customer_mapping[type]", "by_id"),
            ("customer_mapping[event_payload_key]", "who"),
            ("value_settings[event_payload_key]", "how_many"),
        ];
        let made = world.post("/v1/billing/meters", &pairs).await;
        let id = made.id();
        assert!(id.starts_with("mtr_test_"));
        let expected = json!({
            "id": id, "object": "billing.meter", "created": now(), "updated": now(), "livemode": false,
            "display_name": "Calls", "event_name": "calls", "event_time_window": "day", "status": "active",
            "customer_mapping": { "event_payload_key": "who", "type": "by_id" },
            "default_aggregation": { "formula": "sum" },
            "status_transitions": { "deactivated_at": null },
            "value_settings": { "event_payload_key": "how_many" },
        });
        assert_eq!(made.json, expected);
        let path = format!("/v1/billing/meters/{id}");
        assert_eq!(world.get(&path).await.json, expected);
        assert_eq!(world.post(&path, &[("display_name", "API calls")]).await.json["display_name"], "API calls");
        let fixed = world.post(&path, &[("event_name", "other")]).await;
        assert_eq!((fixed.status, fixed.error("code")), (400, "parameter_unknown"));
        let event = [("event_name", "calls"), ("payload[who]", &world.demo.customer), ("payload[how_many]", "3")];
        assert_eq!(world.post(EVENTS, &event).await.status, 200);
        let (from, to) = (at("2026-11-10T00:00:00Z"), at("2026-11-11T00:00:00Z"));
        assert_eq!(world.sandbox.meter_total(&id, &world.demo.customer, from, to).unwrap(), 3);
    });
}

#[test]
fn what_is_no_meter_is_refused() {
    super::run(|world| async move {
        let whole = [("display_name", "x"), ("event_name", "x"), ("default_aggregation[formula]", "sum")];
        let long = "x".repeat(101);
        for (name, value, param) in [
            ("display_name", None, "display_name"),
            ("event_name", None, "event_name"),
            ("event_name", Some(long.as_str()), "event_name"),
            ("default_aggregation[formula]", None, "default_aggregation[formula]"),
            ("default_aggregation[formula]", Some("max"), "default_aggregation[formula]"),
            // Only from basil on.
            ("default_aggregation[formula]", Some("last"), "default_aggregation[formula]"),
            ("event_time_window", Some("week"), "event_time_window"),
            ("customer_mapping[type]", Some("by_name"), "customer_mapping[type]"),
            ("customer_mapping[type]", Some("by_id"), "customer_mapping[event_payload_key]"),
            ("customer_mapping[event_payload_key]", Some("who"), "customer_mapping[type]"),
        ] {
            let mut pairs: Vec<(&str, &str)> = whole.into_iter().filter(|(known, _)| *known != name).collect();
            pairs.extend(value.map(|value| (name, value)));
            let refused = world.post("/v1/billing/meters", &pairs).await;
            assert_eq!((refused.status, refused.error("param")), (400, param), "{}", refused.text);
        }
        let last = [("display_name", "x"), ("event_name", "x"), ("default_aggregation[formula]", "last")];
        let since_basil = world.form("/v1/billing/meters", &last).header("stripe-version", BASIL);
        assert_eq!(world.send(since_basil).await.json["default_aggregation"]["formula"], "last");
    });
}

#[test]
fn a_name_belongs_to_one_active_meter() {
    on("sum", None, |world| async move {
        let path = format!("/v1/billing/meters/{}", world.meter());
        let again = [("display_name", "x"), ("event_name", "api_credits"), ("default_aggregation[formula]", "count")];
        assert_eq!(world.post("/v1/billing/meters", &again).await.error("param"), "event_name");
        let off = world.post(&format!("{path}/deactivate"), &[]).await.json;
        assert_eq!(
            (off["status"].as_str(), off["status_transitions"]["deactivated_at"].as_i64()),
            (Some("inactive"), Some(now()))
        );
        assert_eq!(world.post(&format!("{path}/deactivate"), &[]).await.status, 400);
        let nobody = world.event("e1", "1", now()).await;
        assert_eq!(
            (nobody.status, nobody.error("message")),
            (400, "No active meter found for event name \"api_credits\"")
        );
        let listed = |answer: Answer| answer.json["data"].as_array().unwrap().len();
        assert_eq!(listed(world.get("/v1/billing/meters?status=inactive").await), 1);
        assert_eq!(listed(world.get("/v1/billing/meters?status=active").await), 2);
        assert_eq!(listed(world.get("/v1/billing/meters").await), 3);
        let heir = world.post("/v1/billing/meters", &again).await.id();
        assert_eq!(world.post(&format!("{path}/reactivate"), &[]).await.error("param"), "event_name");
        world.post(&format!("/v1/billing/meters/{heir}/deactivate"), &[]).await.id();
        assert_eq!(world.post(&format!("{path}/reactivate"), &[]).await.json["status"], "active");
        assert_eq!(world.post(&format!("{path}/reactivate"), &[]).await.status, 400);
        assert_eq!(world.event("e1", "1", now()).await.status, 200);
    });
}

#[test]
fn an_event_is_answered_as_it_was_taken() {
    on("sum", None, |world| async move {
        let taken = world.event("e1", "7", now() - 5).await;
        let payload = json!({ "stripe_customer_id": world.demo.customer, "value": "7" });
        let expected = json!({
            "object": "billing.meter_event", "created": now(), "event_name": "api_credits", "identifier": "e1",
            "livemode": false, "payload": payload, "timestamp": now() - 5,
        });
        assert_eq!((taken.status, taken.json), (200, expected));
        let drawn = world.event_with(&[("payload[value]", "1"), ("payload[region]", "eu")]).await;
        assert_eq!(drawn.json["timestamp"], now());
        assert!(drawn.json["identifier"].as_str().unwrap().len() > 10, "{}", drawn.text);
        assert_eq!(world.standing_on_meter(), 8);
    });
}

#[test]
fn an_identifier_is_good_for_one_event_within_a_day() {
    on("sum", None, |world| async move {
        assert_eq!(world.event("e1", "7", now()).await.status, 200);
        for other in ["7", "8"] {
            let again = world.event("e1", other, now()).await;
            assert_eq!((again.status, again.error("type"), again.error("code")), (400, "invalid_request_error", ""));
            assert_eq!(again.error("message"), "An event already exists with identifier e1.");
            assert_eq!(again.header("stripe-should-retry"), Some("false"));
        }
        let stamp = now().to_string();
        let pairs = [
            ("event_name", "api_credits"),
            ("payload[stripe_customer_id]", &world.demo.customer),
            ("payload[value]", "7"),
            ("identifier", "e1"),
            ("timestamp", &stamp),
        ];
        for replayed in [None, Some("true")] {
            let keyed = world.post_keyed("k1", EVENTS, &pairs).await;
            assert_eq!((keyed.status, keyed.header("idempotent-replayed")), (400, replayed));
            assert_eq!(keyed.header("stripe-should-retry"), Some("false"), "also when it is replayed");
        }
        assert_eq!(world.standing_on_meter(), 7);
        world.sandbox.advance((DAY - 1) * 1_000_000).unwrap();
        assert_eq!(world.event("e1", "7", now()).await.status, 400);
        world.sandbox.advance(1_000_000).unwrap();
        assert_eq!(world.event("e1", "7", now()).await.status, 200, "after a day it counts again");
        assert_eq!(world.standing_on_meter(), 14);
    });
}

#[test]
fn events_that_are_none_are_refused() {
    on("sum", None, |world| async move {
        let long = "x".repeat(101);
        let customer = world.demo.customer.clone();
        for (name, value, param) in [
            ("event_name", None, "event_name"),
            ("event_name", Some(long.as_str()), "event_name"),
            ("identifier", Some(long.as_str()), "identifier"),
            ("payload[value]", None, "payload"),
            ("payload[value]", Some(""), "payload"),
            ("payload[value]", Some("many"), "payload"),
            ("payload[value]", Some("1e3"), "payload"),
            ("payload[value]", Some("1."), "payload"),
            ("payload[value]", Some("+1"), "payload"),
            ("payload[value]", Some("1.5"), "payload"),
            ("payload[value]", Some("1234567890123456"), "payload"),
            ("payload[stripe_customer_id]", None, "payload"),
            ("timestamp", Some("noon"), "timestamp"),
            ("quantity", Some("1"), "quantity"),
        ] {
            let whole =
                [("event_name", "api_credits"), ("payload[stripe_customer_id]", &customer), ("payload[value]", "1")];
            let mut pairs: Vec<(&str, &str)> = whole.into_iter().filter(|(known, _)| *known != name).collect();
            pairs.extend(value.map(|value| (name, value)));
            let refused = world.post(EVENTS, &pairs).await;
            assert_eq!((refused.status, refused.error("param")), (400, param), "{name} {}", refused.text);
        }
        let start = now();
        for (stamp, accepted) in
            [(start - 35 * DAY - 1, false), (start - 35 * DAY, true), (start + 300, true), (start + 301, false)]
        {
            let answer = world.event(&format!("t{stamp}"), "1", stamp).await;
            assert_eq!(answer.status == 200, accepted, "{stamp} {}", answer.text);
        }
        let (fifteen, leading) = ("123456789012345", "000000000000000000001");
        assert_eq!(world.event("big", fifteen, now()).await.status, 200);
        assert_eq!(world.event("small", leading, now()).await.status, 200);
    });
}

#[test]
fn negative_and_decimal_values_are_taken_or_refused_as_chosen() {
    on("sum", None, |world| async move {
        world.event("a", "10", now()).await;
        assert_eq!(world.event("b", "-4", now()).await.status, 200);
        assert_eq!(world.standing_on_meter(), 6);
        world.behave(|behaviour| (behaviour.negative_values, behaviour.decimal_values) = (false, true));
        assert_eq!(world.event("c", "-1", now()).await.error("param"), "payload");
        assert_eq!(world.event("d", "0.25", now()).await.status, 200);
        assert_eq!(world.event("e", "1.5", now()).await.status, 200);
        assert_eq!(world.values(minute(), minute() + MINUTE, None).await, [7.75]);
        assert_eq!(world.standing_on_meter(), 7);
        assert_eq!(world.event("f", "1234567890.123456", now()).await.error("param"), "payload");
    });
}

#[test]
fn an_event_of_an_unknown_customer_is_accepted_and_counts_nowhere() {
    on("sum", None, |world| async move {
        let pairs = [
            ("event_name", "api_credits"),
            ("payload[stripe_customer_id]", "cus_nobody"),
            ("payload[value]", "5"),
            ("identifier", "e1"),
        ];
        assert_eq!(world.post_keyed("key-1", EVENTS, &pairs).await.status, 200);
        let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        assert_eq!(world.sandbox.meter_total(world.meter(), "cus_nobody", from, to).unwrap(), 0);
        let books = world.get("/_sandbox/books").await.json;
        let [error] = books["meter_errors"].as_array().unwrap().as_slice() else { panic!("{books}") };
        assert_eq!(error["idempotency_key"], "key-1");
        assert_eq!(
            (error["code"].as_str(), error["identifier"].as_str()),
            (Some("meter_event_customer_not_found"), Some("e1"))
        );
    });
}

#[test]
fn an_event_can_be_cancelled_within_a_day() {
    on("sum", None, |world| async move {
        world.event("a", "10", now()).await;
        world.event("b", "5", now()).await;
        let cancel = |identifier: &'static str| {
            let pairs = [("event_name", "api_credits"), ("type", "cancel"), ("cancel[identifier]", identifier)];
            let form = world.form("/v1/billing/meter_event_adjustments", &pairs);
            world.send(form)
        };
        let cancelled = cancel("a").await;
        let expected = json!({
            "object": "billing.meter_event_adjustment", "cancel": { "identifier": "a" },
            "event_name": "api_credits", "livemode": false, "status": "pending", "type": "cancel",
        });
        assert_eq!((cancelled.status, cancelled.json), (200, expected));
        assert_eq!(world.standing_on_meter(), 5);
        assert_eq!(world.values(minute(), minute() + MINUTE, None).await, [5.0]);
        for gone in ["a", "unknown"] {
            assert_eq!(cancel(gone).await.error("param"), "cancel[identifier]");
        }
        assert_eq!(world.event("a", "10", now()).await.status, 400, "a cancelled identifier is still taken");
        world.sandbox.advance(DAY * 1_000_000).unwrap();
        assert_eq!(cancel("b").await.error("param"), "cancel[identifier]");
        assert_eq!(world.standing_on_meter(), 5);
    });
}

#[test]
fn summaries_are_aligned_and_hold_their_start_but_not_their_end() {
    on("sum", None, |world| async move {
        let start = minute();
        for (identifier, stamp) in [("a", start - 1), ("b", start), ("c", start + MINUTE - 1), ("d", start + MINUTE)] {
            assert_eq!(world.event(identifier, "1", stamp).await.status, 200);
        }
        assert_eq!(world.values(start, start + MINUTE, None).await, [2.0]);
        let answer = world.summaries(&format!("start_time={start}&end_time={}", start + MINUTE)).await;
        let one = &answer.json["data"][0];
        assert!(one["id"].as_str().unwrap().starts_with("mtrusg_test_"));
        assert_eq!(
            (one["object"].as_str(), one["meter"].as_str()),
            (Some("billing.meter_event_summary"), Some(world.meter()))
        );
        assert_eq!((one["start_time"].as_i64(), one["end_time"].as_i64()), (Some(start), Some(start + MINUTE)));
        assert!(answer.text.contains("\"aggregated_value\": 2.0"), "a float: {}", answer.text);
        let day = at("2026-11-10T00:00:00Z").secs();
        for (query, param) in [
            (format!("start_time={}&end_time={}", start + 1, start + MINUTE), "start_time"),
            (format!("start_time={start}&end_time={}", start + 61), "end_time"),
            (format!("start_time={start}&end_time={start}"), "end_time"),
            (format!("start_time={start}"), "end_time"),
            (format!("start_time={}&end_time={}&value_grouping_window=hour", day + MINUTE, day + HOUR), "start_time"),
            (format!("start_time={}&end_time={}&value_grouping_window=day", day + HOUR, day + DAY), "start_time"),
            (format!("start_time={day}&end_time={}&value_grouping_window=day", day + HOUR), "end_time"),
            (format!("start_time={day}&end_time={}&value_grouping_window=week", day + DAY), "value_grouping_window"),
        ] {
            let refused = world.summaries(&query).await;
            assert_eq!((refused.status, refused.error("param")), (400, param), "{query} {}", refused.text);
        }
        let nobody =
            format!("/v1/billing/meters/{}/event_summaries?customer=cus_x&start_time=0&end_time=60", world.meter());
        assert_eq!(world.get(&nobody).await.error("param"), "customer");
    });
}

#[test]
fn summaries_come_newest_first_in_pages_of_ten_and_only_where_there_are_events() {
    on("sum", None, |world| async move {
        let day = at("2026-11-09T00:00:00Z").secs();
        for hour in (0..24).filter(|hour| hour % 2 == 0) {
            world.event(&format!("h{hour}"), &hour.to_string(), day + hour * HOUR + 5).await;
        }
        let query = format!("start_time={day}&end_time={}&value_grouping_window=hour", day + DAY);
        let first = world.summaries(&query).await.json;
        let values = |page: &Value| -> Vec<f64> {
            page["data"].as_array().unwrap().iter().map(|one| one["aggregated_value"].as_f64().unwrap()).collect()
        };
        assert_eq!(values(&first), [22.0, 20.0, 18.0, 16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0]);
        assert_eq!(first["has_more"], true);
        let last = first["data"][9]["id"].as_str().unwrap();
        let second = world.summaries(&format!("{query}&starting_after={last}")).await.json;
        assert_eq!((values(&second), second["has_more"].as_bool()), (vec![2.0, 0.0], Some(false)));
        assert_eq!(world.values(day, day + DAY, Some("day")).await, [132.0]);
        assert!(world.values(day - DAY, day, None).await.is_empty(), "no event, no summary");
    });
}

#[test]
fn a_count_counts_and_a_customer_has_its_own_total() {
    on("count", None, |world| async move {
        let other = world.post("/v1/customers", &[]).await.id();
        world.event("a", "10", now()).await;
        world.event("b", "20", now()).await;
        let theirs = [("event_name", "api_credits"), ("payload[stripe_customer_id]", other.as_str())];
        assert_eq!(world.post(EVENTS, &theirs).await.status, 200, "to count needs no value");
        assert_eq!(world.standing_on_meter(), 2);
        let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        assert_eq!(world.sandbox.meter_total(world.meter(), &other, from, to).unwrap(), 1);
    });
}

#[test]
fn the_last_event_is_that_of_the_newest_timestamp_or_the_newest_arrival_as_chosen() {
    on("last", None, |world| async move {
        world.event("a", "10", now() - 10).await;
        world.event("b", "30", now()).await;
        world.event("c", "20", now() - 5).await;
        assert_eq!(world.standing_on_meter(), 30);
        assert_eq!(world.values(minute() - MINUTE, minute(), None).await, [20.0], "of the span that is asked for");
        world.behave(|behaviour| behaviour.last = Newest::Arrival);
        assert_eq!(world.standing_on_meter(), 20);
        world.event("d", "5", now()).await;
        world.behave(|behaviour| behaviour.last = Newest::Timestamp);
        assert_eq!(world.standing_on_meter(), 5, "of equal timestamps the one that arrived last");
    });
}

#[test]
fn within_a_window_the_newest_event_stands_and_windows_add_up() {
    on("sum", Some("day"), |world| async move {
        let today = at("2026-11-10T00:00:00Z").secs();
        world.event("y", "100", today - 1).await;
        world.event("a", "10", today).await;
        world.event("b", "30", today + 2 * HOUR).await;
        world.event("c", "20", today + HOUR).await;
        assert_eq!(world.standing_on_meter(), 120, "that which arrived last");
        world.behave(|behaviour| behaviour.window = Newest::Timestamp);
        assert_eq!(world.standing_on_meter(), 130, "that with the highest timestamp");
        assert_eq!(world.values(today - DAY, today + DAY, Some("day")).await, [30.0, 100.0]);
        world.event("d", "7", today + 2 * HOUR).await;
        assert_eq!(world.standing_on_meter(), 107, "of equal timestamps the one that arrived last");
    });
    on("sum", Some("hour"), |world| async move {
        let today = at("2026-11-10T00:00:00Z").secs();
        world.event("a", "10", today).await;
        world.event("b", "20", today + HOUR - 1).await;
        world.event("c", "5", today + HOUR).await;
        assert_eq!(world.standing_on_meter(), 25);
    });
}

#[test]
fn summaries_lag_by_as_much_as_is_chosen() {
    on("sum", None, |world| async move {
        world.behave(|behaviour| behaviour.summary_lag_s = 30);
        let (from, to) = (minute(), minute() + MINUTE);
        world.event("a", "10", now()).await;
        assert!(world.values(from, to, None).await.is_empty());
        assert_eq!(world.standing_on_meter(), 10, "what stands is not what is seen");
        world.sandbox.advance(29_000_000).unwrap();
        assert!(world.values(from, to, None).await.is_empty());
        world.sandbox.advance(1_000_000).unwrap();
        assert_eq!(world.values(from, to, None).await, [10.0]);
        let pairs = [("event_name", "api_credits"), ("type", "cancel"), ("cancel[identifier]", "a")];
        assert_eq!(world.post("/v1/billing/meter_event_adjustments", &pairs).await.status, 200);
        assert_eq!(world.values(from, to, None).await, [10.0], "so is that it was cancelled");
        world.sandbox.advance(30_000_000).unwrap();
        assert!(world.values(from, to, None).await.is_empty());
    });
}

#[test]
fn one_call_at_a_time_for_a_customer_on_a_meter() {
    on("sum", None, |world| async move {
        world.sandbox.fault(Fault::next(Effect::None).on("POST", EVENTS).delayed(400));
        let slow = world.event("a", "1", now());
        let others = async {
            wait_until("the first event is taken up", || world.sandbox.waiting_faults().is_empty()).await;
            let same = world.event("b", "1", now()).await;
            let other = [
                ("event_name", "compute_hours"),
                ("payload[stripe_customer_id]", &world.demo.customer),
                ("payload[value]", "1"),
            ];
            (same, world.post(EVENTS, &other).await)
        };
        let (slow, (same, other)) = tokio::join!(slow, others);
        assert_eq!((slow.status, other.status), (200, 200), "another meter is another object");
        assert_eq!((same.status, same.error("code")), (429, "lock_timeout"));
        assert_eq!(world.event("b", "1", now()).await.status, 200);
    });
}

#[test]
fn behaviour_is_chosen_over_http_and_remembered_over_a_restart() {
    super::run(|world| async move {
        let order = |body: &str| {
            let url = format!("http://{}/_sandbox/behaviour", world.address);
            world.send(world.client.post(url).body(body.to_owned()).timeout(Duration::from_secs(20)))
        };
        let chosen = order("{\"last\": \"arrival\", \"summary_lag_s\": 90}").await;
        assert_eq!((chosen.json["last"].as_str(), chosen.json["summary_lag_s"].as_i64()), (Some("arrival"), Some(90)));
        assert_eq!(chosen.json["draft_grace_s"], 3_600, "what is left out stays");
        for bad in
            ["{\"lag\": 1}", "{\"last\": \"oldest\"}", "{\"draft_grace_s\": 259201}", "{\"summary_lag_s\": -1}", "[]"]
        {
            assert_eq!(order(bad).await.status, 400, "{bad}");
        }
        let again = usaged::sandbox::Sandbox::open(
            world.dir.path(),
            usaged::sandbox::SandboxClock::frozen(Timestamp::from_secs(now())),
        );
        let expected = Behaviour { last: Newest::Arrival, summary_lag_s: 90, ..Behaviour::default() };
        assert_eq!(again.unwrap().behaviour().unwrap(), expected);
    });
}

#[test]
fn the_demo_on_meters_has_its_anchor_and_its_agent_may_do_what_an_agent_does() {
    let anchor = at("2026-11-20T07:30:00Z").secs();
    let seed = |sandbox: &Sandbox| seed_meter_demo(sandbox, "last", None, Some(anchor)).unwrap();
    super::run_with(seed, |world| async move {
        assert_eq!(seed(&world.sandbox), world.demo, "the same again");
        assert!(usaged::sandbox::seed_demo(&world.sandbox).is_err(), "one catalog, one demo");
        let agent = |request: reqwest::RequestBuilder| world.send(request.bearer_auth(&world.demo.agent_key));
        let url = |path: &str| format!("http://{}{path}", world.address);
        let path = url(&format!("/v1/subscriptions/{}", world.demo.subscription));
        let read = agent(world.client.get(path).header("stripe-version", BASIL)).await.json;
        let item = &read["items"]["data"][2];
        assert_eq!(
            (item["id"].as_str(), item["current_period_end"].as_i64()),
            (Some(world.demo.item_api.as_str()), Some(anchor))
        );
        assert_eq!(item["price"]["recurring"]["meter"].as_str(), Some(world.meter()));
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("event_name", "api_credits"), ("payload[stripe_customer_id]", &world.demo.customer)])
            .append_pair("payload[value]", "5")
            .finish();
        let event = world.client.post(url(EVENTS)).header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(agent(event.body(body)).await.status, 200);
        let span = format!("customer={}&start_time={}&end_time={}", world.demo.customer, minute(), minute() + MINUTE);
        let path = format!("/v1/billing/meters/{}/event_summaries?{span}", world.meter());
        assert_eq!(agent(world.client.get(url(&path))).await.json["data"][0]["aggregated_value"], 5.0);
        let off = agent(world.client.post(url(&format!("/v1/billing/meters/{}/deactivate", world.meter())))).await;
        assert_eq!(off.status, 403);
    });
}
