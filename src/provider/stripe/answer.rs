//! What an exchange means: the table of the provider's answers.
//!
//! | answer | for a change | read again |
//! |---|---|---|
//! | no connection | `Unavailable` | yes |
//! | no answer, cut or gigantic body, HTML, broken JSON | `Unknown` | yes |
//! | 2xx that is the object asked for, replayed or not | `Accepted` | |
//! | 2xx that is something else | `Unknown`, new key | no |
//! | 429, `lock_timeout`, 409 | `Unavailable` | yes |
//! | 5xx | `Unknown`; new key if replayed | yes |
//! | 4xx "an event already exists with identifier" | `Refused` | no |
//! | any other status with the provider's error | `Refused` | no |
//!
//! `Stripe-Should-Retry` wins over the status, but not over the event that is there already. It decides whether to ask
//! again, not whether something was done: a 5xx stays `Unknown` with either word, and `false` there means that this key
//! only brings the same answer.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::provider::http::{Exchange, Response};
use crate::provider::judge::{self, Failure, Judged, Verdict, clean, clean_word, unreadable};
use crate::provider::{Answer, Refusal, RefusalKind};

pub(super) use crate::provider::judge::{into_outcome, into_read};

use super::client::Client;

/// `{"error": {…}}`, <https://docs.stripe.com/api/errors>.
#[derive(Deserialize)]
struct Envelope {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    error_type: Option<String>,
    code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

/// Judges an exchange. A 2xx is decoded and then looked at: `look` says what it holds, or what is unexpected about it.
pub(super) fn judge<T, U>(
    client: &Client,
    exchange: Exchange,
    look: impl FnOnce(T) -> Result<U, String>,
) -> Answer<Judged<U>>
where
    T: DeserializeOwned,
{
    judge::judge(client.host(), exchange, look, refusal)
}

fn refusal(host: &str, response: &Response) -> Failure {
    let error = match &response.body {
        Ok(body) => serde_json::from_slice(body)
            .map_err(|_| "its body is not the provider's error")
            .map(|it: Envelope| it.error),
        Err(cause) => Err(cause.as_str()),
    };
    // These two statuses say enough without their body.
    let error = match error {
        Ok(error) => error,
        Err(cause) if response.status == 429 || response.status >= 500 => {
            let message = format!("HTTP {} from {host}; {cause}", response.status);
            ErrorBody { error_type: None, code: None, param: None, message: Some(message) }
        }
        Err(cause) => return unreadable(host, response, cause),
    };
    let kind = kind_of(response.status, &error);
    let word = |text: Option<String>| text.map(|text| clean_word(&text));
    let message = error.message.unwrap_or_else(|| format!("HTTP {} from {host} without a message", response.status));
    let why = Refusal {
        kind,
        status: Some(response.status),
        error_type: word(error.error_type),
        code: word(error.code),
        param: word(error.param),
        message: clean(&message),
    };
    Failure::new(verdict_of(response, kind), why, response.head.retry_after)
}

fn kind_of(status: u16, error: &ErrorBody) -> RefusalKind {
    let code = error.code.as_deref().unwrap_or_default();
    let message = error.message.as_deref().unwrap_or_default();
    match status {
        429 => RefusalKind::RateLimited,
        500.. => RefusalKind::ProviderFault,
        _ if code == "lock_timeout" => RefusalKind::RateLimited,
        // Before the type: a key in use may come as an `idempotency_error` as well.
        409 => RefusalKind::InFlight,
        _ if code == "idempotency_key_in_use" => RefusalKind::InFlight,
        _ if error.error_type.as_deref() == Some("idempotency_error") => RefusalKind::IdempotencyMismatch,
        401 => RefusalKind::KeyRefused,
        403 => RefusalKind::NotPermitted,
        _ if message.contains("not on the legacy metered billing system") => RefusalKind::WrongKind,
        // Events that are refused come without a code: only these words, of the live API, tell why.
        _ if message.contains("An event already exists with identifier") => RefusalKind::Duplicate,
        _ if message.contains("No active meter found") => RefusalKind::NoMeter,
        400 if message.starts_with("The event timestamp cannot be") => RefusalKind::TimestampRefused,
        404 => RefusalKind::Missing,
        _ if code == "resource_missing" => RefusalKind::Missing,
        400 if says_it_is_over(message) => RefusalKind::Missing,
        400 if error.param.as_deref() == Some("timestamp") => RefusalKind::TimestampRefused,
        _ => RefusalKind::Other,
    }
}

/// A subscription that was ended, or an item that was taken off it, as the provider says it without a code. No document
/// has the words, so few of them are asked for: the subscription, read again, says what it is.
fn says_it_is_over(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let ended = ["canceled", "cancelled", "no longer active", "not active"].iter().any(|word| message.contains(word));
    ended && message.contains("subscription")
}

fn verdict_of(response: &Response, kind: RefusalKind) -> Verdict {
    let (should_retry, replayed) = (response.head.should_retry, response.head.replayed);
    match kind {
        // Whatever is said about asking again: what is there already stays there.
        RefusalKind::Duplicate => Verdict::Never,
        RefusalKind::ProviderFault => Verdict::Perhaps { needs_new_key: replayed || should_retry == Some(false) },
        // The request that holds the key may still be carried out, so nothing was refused for good.
        RefusalKind::InFlight if should_retry == Some(false) => Verdict::Perhaps { needs_new_key: false },
        _ if should_retry == Some(true) => Verdict::Later,
        RefusalKind::RateLimited | RefusalKind::InFlight if should_retry.is_none() => Verdict::Later,
        _ => Verdict::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Act, KEY, TestServer, json, usage_records};
    use crate::model::{SubscriptionId, Timestamp};
    use crate::provider::{Answer, Outcome, RefusalKind, SetUsage};

    use Verdict::{Later, Never, Unknown, UnknownNewKey};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Verdict {
        Later,
        Unknown,
        UnknownNewKey,
        Never,
    }

    fn set() -> SetUsage {
        SetUsage {
            to: usage_records("si_1"),
            quantity: 7,
            timestamp_s: 1_793_750_401,
            idempotency_key: "key-1".to_owned(),
            identifier: "key-1".to_owned(),
        }
    }

    async fn outcome_of(act: Act) -> Answer<Outcome> {
        TestServer::play(vec![act]).provider().set_usage(&set()).await
    }

    fn verdict(outcome: Outcome) -> (Verdict, super::Refusal, Option<u64>) {
        match outcome {
            Outcome::Accepted => panic!("accepted"),
            Outcome::Unavailable { retry_after, why } => (Later, why, retry_after.map(|wait| wait.as_secs())),
            Outcome::Unknown { needs_new_key: true, retry_after, why } => {
                (UnknownNewKey, why, retry_after.map(|wait| wait.as_secs()))
            }
            Outcome::Unknown { retry_after, why, .. } => (Unknown, why, retry_after.map(|wait| wait.as_secs())),
            Outcome::Refused(why) => (Never, why, None),
        }
    }

    const RECORD: &str = r#"{"id":"mbur_1","object":"usage_record","livemode":false,"quantity":7,"subscription_item":"si_1","timestamp":1793750401}"#;
    const AGAIN: &str = "Stripe-Should-Retry: true\r\n";
    const NOT_AGAIN: &str = "Stripe-Should-Retry: false\r\n";
    const REPLAYED: &str = "Idempotent-Replayed: true\r\n";

    fn error(error_type: &str, code: &str, param: &str, message: &str) -> String {
        serde_json::json!({"error": {"type": error_type, "code": code, "param": param, "message": message}}).to_string()
    }

    fn errors() -> [(&'static str, String); 16] {
        [
            ("api", error("api_error", "", "", "Something went wrong.")),
            ("limit", error("invalid_request_error", "rate_limit", "", "Too many requests.")),
            ("lock", error("invalid_request_error", "lock_timeout", "", "This object cannot be accessed right now.")),
            ("in use", error("idempotency_error", "idempotency_key_in_use", "", "Another request uses this key.")),
            ("mismatch", error("idempotency_error", "", "", "Keys for idempotent requests need the same parameters.")),
            ("bad", error("invalid_request_error", "parameter_invalid_integer", "quantity", "Invalid integer.")),
            ("missing", error("invalid_request_error", "resource_missing", "subscription_item", "No such item.")),
            (
                "over",
                error("invalid_request_error", "", "", "The usage record was refused: the subscription is cancelled."),
            ),
            (
                "time",
                error("invalid_request_error", "", "timestamp", "Cannot create the usage record with this timestamp."),
            ),
            (
                "meter",
                error(
                    "invalid_request_error",
                    "",
                    "",
                    "Cannot create a usage record for `si_1` because it is not on the legacy metered billing system. \
                     Call /v1/billing/meter_events instead.",
                ),
            ),
            ("duplicate", error("invalid_request_error", "", "", "An event already exists with identifier key-1.")),
            (
                "no meter",
                error("invalid_request_error", "", "", "No active meter found for event name \"compute hours\""),
            ),
            (
                "old",
                error(
                    "invalid_request_error",
                    "",
                    "",
                    "The event timestamp cannot be more than 35 days in past. \
                     Expected a timestamp greater than or equal to 1758141836.",
                ),
            ),
            ("ahead", error("invalid_request_error", "", "timestamp", "The timestamp is too far in the future.")),
            ("value", error("invalid_request_error", "", "payload[hours]", "Invalid value.")),
            ("mode", error("invalid_request_error", "resource_missing", "id", OTHER_MODE)),
        ]
    }

    const OTHER_MODE: &str = "No such subscription: 'sub_1'; a similar object exists in live mode, but a test mode key \
                              was used to make this request.";

    #[tokio::test]
    async fn every_refusal_is_sorted_by_what_it_asks_of_us() {
        use RefusalKind::{
            Duplicate, IdempotencyMismatch, InFlight, KeyRefused, Missing, NoMeter, NotPermitted, Other, ProviderFault,
            RateLimited, TimestampRefused, WrongKind,
        };
        let rows = [
            (400, "", "bad", Never, Other),
            (400, AGAIN, "bad", Later, Other),
            (400, NOT_AGAIN, "bad", Never, Other),
            (400, "", "time", Never, TimestampRefused),
            (400, "", "over", Never, Missing),
            (400, "", "meter", Never, WrongKind),
            (400, "", "mismatch", Never, IdempotencyMismatch),
            (400, "", "missing", Never, Missing),
            (400, "", "lock", Later, RateLimited),
            (400, "", "duplicate", Never, Duplicate),
            (400, AGAIN, "duplicate", Never, Duplicate),
            (400, NOT_AGAIN, "duplicate", Never, Duplicate),
            (400, "", "no meter", Never, NoMeter),
            (400, NOT_AGAIN, "no meter", Never, NoMeter),
            (404, "", "no meter", Never, NoMeter),
            (400, "", "old", Never, TimestampRefused),
            (400, "", "ahead", Never, TimestampRefused),
            (400, "", "value", Never, Other),
            (401, "", "bad", Never, KeyRefused),
            (402, "", "bad", Never, Other),
            (403, "", "bad", Never, NotPermitted),
            (404, "", "missing", Never, Missing),
            (404, "", "bad", Never, Missing),
            (404, "", "mode", Never, Missing),
            (409, "", "in use", Later, InFlight),
            (409, AGAIN, "in use", Later, InFlight),
            (409, NOT_AGAIN, "in use", Unknown, InFlight),
            (409, "", "bad", Later, InFlight),
            (429, "", "limit", Later, RateLimited),
            (429, "", "lock", Later, RateLimited),
            (429, NOT_AGAIN, "limit", Never, RateLimited),
            (500, "", "api", Unknown, ProviderFault),
            (500, AGAIN, "api", Unknown, ProviderFault),
            (500, REPLAYED, "api", UnknownNewKey, ProviderFault),
            (500, NOT_AGAIN, "api", UnknownNewKey, ProviderFault),
            (503, "", "api", Unknown, ProviderFault),
        ];
        let bodies = std::collections::BTreeMap::from(errors());
        for (status, headers, body, expected, kind) in rows {
            let answer = outcome_of(json(status, headers, &bodies[body])).await;
            assert_eq!((answer.status, answer.request_id.as_deref()), (Some(status), Some("req_1")));
            assert_eq!(answer.date, Some(Timestamp::from_secs(1_793_880_000)), "m5: the date comes with failures too");
            let (verdict, why, _) = verdict(answer.value);
            assert_eq!((verdict, why.kind, why.status), (expected, kind, Some(status)), "{status} {headers:?} {body}");
        }
    }

    #[tokio::test]
    async fn the_providers_words_arrive_with_the_refusal() {
        let (_, why, _) = verdict(outcome_of(json(400, "", &errors()[5].1)).await.value);
        assert_eq!(why.error_type.as_deref(), Some("invalid_request_error"));
        assert_eq!(why.code.as_deref(), Some("parameter_invalid_integer"));
        assert_eq!(why.param.as_deref(), Some("quantity"));
        assert_eq!(why.message, "Invalid integer.");
    }

    #[tokio::test]
    async fn a_key_of_the_other_mode_is_said_to_be_one() {
        let id = SubscriptionId::new("sub_1").unwrap();
        let hint = async |message: &str| {
            let body = error("invalid_request_error", "resource_missing", "id", message);
            let server = TestServer::play(vec![json(404, "", &body)]);
            let error = server.provider().read_subscription(&id).await.value.unwrap_err();
            assert_eq!((error.refusal.kind, error.to_string().as_str()), (RefusalKind::Missing, message));
            error.refusal.hint()
        };
        for message in [OTHER_MODE, &OTHER_MODE.replace("live", "?").replace("test", "live").replace('?', "test")] {
            assert!(hint(message).await.starts_with("the key and the id are of different modes"), "{message}");
        }
        assert!(hint("No such subscription: 'sub_1'").await.starts_with("check customer, subscription and item"));
    }

    #[tokio::test]
    async fn a_missing_permission_is_named_in_the_providers_words() {
        let message = "The provided key 'rk_test_***1234' does not have the required permissions for this endpoint on \
                       account 'acct_1'. Having the 'rak_billing_meter_event_write' permission would allow this request \
                       to continue.";
        let body = error("invalid_request_error", "", "", message);
        let (verdict, why, _) = verdict(outcome_of(json(403, "", &body)).await.value);
        assert_eq!((verdict, why.kind, why.message.as_str()), (Never, RefusalKind::NotPermitted, message));
    }

    #[tokio::test]
    async fn retry_after_is_handed_on_wherever_waiting_helps() {
        for status in [429, 503] {
            let answer = outcome_of(json(status, "Retry-After: 7\r\n", &errors()[0].1)).await;
            assert_eq!(verdict(answer.value).2, Some(7), "{status}");
        }
    }

    #[tokio::test]
    async fn a_replayed_acceptance_is_an_acceptance() {
        for headers in ["", REPLAYED] {
            assert_eq!(outcome_of(json(200, headers, RECORD)).await.value, Outcome::Accepted);
        }
    }

    #[tokio::test]
    async fn a_body_of_just_one_mebibyte_is_read() {
        let body = format!("{RECORD}{}", " ".repeat(1024 * 1024 - RECORD.len()));
        assert_eq!(outcome_of(json(200, "", &body)).await.value, Outcome::Accepted);
    }

    #[tokio::test]
    async fn an_acceptance_of_something_else_is_unknown_and_uses_up_its_key() {
        for (asked, answered) in [
            ("\"quantity\":7", "\"quantity\":8"),
            ("\"quantity\":7", "\"quantity\":\"7\""),
            ("1793750401", "1793750402"),
            ("si_1", "si_2"),
            ("usage_record\"", "usage_record_summary\""),
            ("\"quantity\":7,", ""),
        ] {
            let answer = outcome_of(json(200, "", &RECORD.replace(asked, answered))).await;
            let (verdict, why, _) = verdict(answer.value);
            assert_eq!(
                (verdict, why.kind, why.status),
                (UnknownNewKey, RefusalKind::Unreadable, Some(200)),
                "{answered}"
            );
        }
    }

    fn raw(head: &str, body: &str) -> Act {
        Act::Answer(format!("{head}\r\nConnection: close\r\n\r\n{body}").into_bytes())
    }

    #[tokio::test]
    async fn an_answer_that_the_provider_did_not_write_to_its_end_leaves_the_outcome_unknown() {
        use RefusalKind::{Network, ProviderFault, Unreadable};
        let html = "<html>Please log in to the network</html>";
        let gigantic = format!("{RECORD}{}", " ".repeat(1024 * 1024 + 1 - RECORD.len()));
        let cases = [
            ("html 200", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html", html), Unreadable, Some(200)),
            ("html 401", raw("HTTP/1.1 401 No\r\nContent-Type: text/html", html), Unreadable, Some(401)),
            ("html 404", raw("HTTP/1.1 404 No\r\nContent-Type: text/html", html), Unreadable, Some(404)),
            ("html 502", raw("HTTP/1.1 502 Bad\r\nContent-Type: text/html", html), ProviderFault, Some(502)),
            ("redirect", raw("HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/", ""), Unreadable, Some(307)),
            ("no content", raw("HTTP/1.1 204 Nothing", ""), Unreadable, Some(204)),
            ("broken json", json(200, "", &RECORD[..60]), Unreadable, Some(200)),
            ("short body", raw("HTTP/1.1 200 OK\r\nContent-Length: 999", RECORD), Unreadable, Some(200)),
            ("short chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "ff\r\n{"), Unreadable, Some(200)),
            ("gigantic body", json(200, "", &gigantic), Unreadable, Some(200)),
            ("gigantic error", json(400, "", &gigantic), Unreadable, Some(400)),
            ("half a head", Act::Answer(b"HTTP/1.1 200 OK\r\nDate: Th".to_vec()), Network, None),
            ("no http", Act::Answer(b"220 mail.example ESMTP\r\n\r\n".to_vec()), Network, None),
            ("cut", Act::Cut, Network, None),
        ];
        for (name, act, kind, status) in cases {
            let (verdict, why, _) = verdict(outcome_of(act).await.value);
            assert_eq!((verdict, why.kind, why.status), (Unknown, kind, status), "{name}: {}", why.message);
        }
    }

    #[tokio::test]
    async fn a_429_needs_no_body_to_be_understood() {
        let (verdict, why, _) = verdict(outcome_of(raw("HTTP/1.1 429 Slow down", "<html>")).await.value);
        assert_eq!((verdict, why.kind), (Later, RefusalKind::RateLimited));
    }

    #[tokio::test]
    async fn messages_are_cut_and_hold_neither_control_characters_nor_the_key() {
        let message = format!("no \u{1b}[31mkey {KEY}\r\n{}", "x".repeat(600));
        let body = error("invalid_request_error", KEY, "a\nb", &message);
        let (_, why, _) = verdict(outcome_of(json(401, "", &body)).await.value);
        assert_eq!(why.message.chars().count(), 500);
        assert!(why.message.starts_with("no [31mkey rk_test_…1234xxx"), "{}", why.message);
        assert_eq!(why.param.as_deref(), Some("ab"));
        assert!(!format!("{why:?}").contains(KEY));
    }

    #[tokio::test]
    async fn a_read_may_work_later_unless_the_provider_refused_or_answered_nonsense() {
        let id = SubscriptionId::new("sub_1").unwrap();
        let [api, limit, _, _, _, _, missing, ..] = errors();
        let cases = [
            ("cut", Act::Cut, true),
            ("html", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html", "<html>"), true),
            ("500", json(500, "", &api.1), true),
            ("429", json(429, "", &limit.1), true),
            ("404", json(404, "", &missing.1), false),
            ("other object", json(200, "", r#"{"object":"customer"}"#), false),
        ];
        for (name, act, passing) in cases {
            let answer = TestServer::play(vec![act]).provider().read_subscription(&id).await;
            assert_eq!(answer.value.unwrap_err().passing, passing, "{name}");
        }
        let answer =
            TestServer::play(vec![json(503, "Retry-After: 9\r\n", &api.1)]).provider().read_subscription(&id).await;
        assert_eq!(answer.date, Some(Timestamp::from_secs(1_793_880_000)));
        assert_eq!(answer.value.unwrap_err().retry_after.map(|wait| wait.as_secs()), Some(9));
    }

    #[test]
    fn a_refusal_is_sorted_by_the_whole_of_what_it_says() {
        let kind = |status, code: &str, message: &str| {
            let error_type = Some("idempotency_error".to_owned()).filter(|_| !code.is_empty());
            let error = super::ErrorBody {
                error_type,
                code: Some(code.to_owned()),
                param: None,
                message: Some(message.to_owned()),
            };
            super::kind_of(status, &error)
        };
        assert_eq!(kind(400, "idempotency_key_in_use", "Another request uses this key."), RefusalKind::InFlight);
        assert_eq!(kind(400, "", "The subscription is no longer active."), RefusalKind::Missing);
        assert_eq!(kind(400, "", "The coupon is not active."), RefusalKind::Other);
        assert_eq!(kind(400, "", "The subscription has too many items."), RefusalKind::Other);
    }
}
