//! What an exchange means: the table of Lemon Squeezy's answers.
//!
//! | answer | for a change | read again |
//! |---|---|---|
//! | no connection | `Unavailable` | yes |
//! | no answer, cut or gigantic body, HTML, broken JSON | `Unknown` | yes |
//! | 2xx that is the object asked for | `Accepted` | |
//! | 2xx that is something else | `Unknown`, to be read back | no |
//! | 429, 409 | `Unavailable` | yes |
//! | 5xx | `Unknown` | yes |
//! | any other status with `errors[]` | `Refused` | no |
//!
//! There are no keys under which an answer would be kept, so the same request again is a new one: what it sets replaces
//! what an earlier one set, if that was done at all.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::provider::http::{Exchange, Response};
use crate::provider::judge::{self, Failure, Judged, Verdict, clean, clean_word, unreadable};
use crate::provider::{Answer, Refusal, RefusalKind};

use super::client::Client;

/// `{"errors": […]}`, <https://jsonapi.org/format/1.0/#errors>.
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<ErrorObject>,
}

#[derive(Deserialize, Default)]
struct ErrorObject {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    source: Option<Source>,
}

/// Where in the request it lies.
#[derive(Deserialize)]
struct Source {
    pointer: Option<String>,
    parameter: Option<String>,
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
    let first = match &response.body {
        Ok(body) => serde_json::from_slice(body)
            .ok()
            .and_then(|Envelope { errors }| errors.into_iter().next())
            .ok_or("its body is not the provider's error"),
        Err(cause) => Err(cause.as_str()),
    };
    // These two statuses say enough without their body.
    let error = match first {
        Ok(error) => error,
        Err(cause) if response.status == 429 || response.status >= 500 => {
            let message = format!("HTTP {} from {host}; {cause}", response.status);
            ErrorObject { detail: Some(message), ..ErrorObject::default() }
        }
        Err(cause) => return unreadable(host, response, cause),
    };
    let kind = kind_of(response.status, &error);
    let message = error.detail.or_else(|| error.title.clone());
    let message = message.unwrap_or_else(|| format!("HTTP {} from {host} without a message", response.status));
    let why = Refusal {
        kind,
        status: Some(response.status),
        error_type: error.title.as_deref().map(clean_word),
        code: error.code.as_deref().map(clean_word),
        param: error.source.and_then(named).as_deref().map(clean_word),
        message: clean(&message),
    };
    let verdict = match kind {
        RefusalKind::RateLimited | RefusalKind::InFlight => Verdict::Later,
        RefusalKind::ProviderFault => Verdict::Perhaps { needs_new_key: false },
        _ => Verdict::Never,
    };
    Failure::new(verdict, why, response.head.retry_after)
}

/// The attribute or parameter, as `quantity` of `/data/attributes/quantity`.
fn named(source: Source) -> Option<String> {
    let last = |pointer: String| pointer.rsplit('/').next().map(str::to_owned);
    source.pointer.and_then(last).or(source.parameter).filter(|name| !name.is_empty())
}

fn kind_of(status: u16, error: &ErrorObject) -> RefusalKind {
    let detail = error.detail.as_deref().unwrap_or_default();
    match status {
        429 => RefusalKind::RateLimited,
        500.. => RefusalKind::ProviderFault,
        401 => RefusalKind::KeyRefused,
        403 => RefusalKind::NotPermitted,
        // The item is there, and will not take usage however often it is looked for.
        404 if detail.contains("not usage-based") => RefusalKind::Other,
        404 => RefusalKind::Missing,
        409 => RefusalKind::InFlight,
        _ => RefusalKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::test_server::{Act, KEY, ask, current_usage, error, json as answer, record};
    use crate::model::{SubscriptionId, Timestamp};
    use crate::provider::test_server::TestServer;
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
            to: current_usage("7"),
            quantity: 5,
            timestamp_s: 1,
            idempotency_key: "key-1".to_owned(),
            identifier: "key-1".to_owned(),
        }
    }

    async fn outcome_of(act: Act) -> Answer<Outcome> {
        let server = TestServer::play(vec![act]);
        ask(&server, Duration::from_mins(1)).set_usage(&set()).await
    }

    fn verdict(outcome: Outcome) -> (Verdict, super::Refusal, Option<u64>) {
        match outcome {
            Outcome::Accepted => panic!("accepted"),
            Outcome::Unavailable { retry_after, why } => (Later, why, retry_after.map(|wait| wait.as_secs())),
            Outcome::Unknown { needs_new_key, retry_after, why } => {
                let verdict = if needs_new_key { UnknownNewKey } else { Unknown };
                (verdict, why, retry_after.map(|wait| wait.as_secs()))
            }
            Outcome::Refused(why) => (Never, why, None),
        }
    }

    #[tokio::test]
    async fn every_refusal_is_sorted_by_what_it_asks_of_us() {
        use RefusalKind::{InFlight, KeyRefused, Missing, NotPermitted, Other, ProviderFault, RateLimited};
        let rows = [
            (400, "The member type is required.", Never, Other),
            (401, "Unauthenticated.", Never, KeyRefused),
            (403, "This action is unauthorized.", Never, NotPermitted),
            (404, "The related resource does not exist.", Never, Missing),
            (404, "This subscription item is not usage-based.", Never, Other),
            (406, "Not acceptable.", Never, Other),
            (409, "Conflict.", Later, InFlight),
            (415, "The request entity has a media type which is not supported.", Never, Other),
            (422, "The quantity must be at least 1.", Never, Other),
            (429, "Too Many Attempts.", Later, RateLimited),
            (500, "Server Error", Unknown, ProviderFault),
            (503, "Service Unavailable", Unknown, ProviderFault),
        ];
        for (status, detail, expected, kind) in rows {
            let answer = outcome_of(error(status, detail)).await;
            assert_eq!(answer.status, Some(status));
            assert_eq!(answer.date, Some(Timestamp::from_secs(1_793_880_000)), "m5: the date comes with failures too");
            let (verdict, why, _) = verdict(answer.value);
            assert_eq!((verdict, why.kind, why.status), (expected, kind, Some(status)), "{status} {detail}");
            assert_eq!(why.message, detail);
        }
    }

    #[tokio::test]
    async fn the_providers_words_arrive_with_the_refusal() {
        let body = json!({"errors": [
            {"detail": "The quantity must be at least 1.", "status": "422", "title": "Unprocessable Entity",
             "source": {"pointer": "/data/attributes/quantity"}},
            {"detail": "Another.", "status": "422", "title": "Unprocessable Entity"},
        ]});
        let (_, why, _) = verdict(outcome_of(answer(422, "", &body)).await.value);
        assert_eq!(why.error_type.as_deref(), Some("Unprocessable Entity"));
        assert_eq!((why.param.as_deref(), why.code), (Some("quantity"), None));
        assert_eq!(why.message, "The quantity must be at least 1.");
        let body = json!({"errors": [{"title": "Gone", "source": {"parameter": "include"}}]});
        let (_, why, _) = verdict(outcome_of(answer(410, "", &body)).await.value);
        assert_eq!((why.message.as_str(), why.param.as_deref()), ("Gone", Some("include")));
    }

    #[tokio::test]
    async fn retry_after_is_handed_on_wherever_waiting_helps() {
        for status in [429, 503] {
            let body = json!({"errors": [{"detail": "Later."}]});
            let outcome = outcome_of(answer(status, "Retry-After: 7\r\n", &body)).await;
            assert_eq!(verdict(outcome.value).2, Some(7), "{status}");
        }
    }

    #[tokio::test]
    async fn an_acceptance_of_something_else_is_unknown_and_has_to_be_read_back() {
        assert_eq!(outcome_of(answer(201, "", &record("7", 5, "set"))).await.value, Outcome::Accepted);
        assert_eq!(outcome_of(answer(200, "", &record("7", 5, "set"))).await.value, Outcome::Accepted);
        let mut other = record("7", 5, "set");
        other["data"]["type"] = "orders".into();
        for body in [record("7", 6, "set"), record("7", 5, "increment"), record("8", 5, "set"), other, json!({})] {
            let (verdict, why, _) = verdict(outcome_of(answer(201, "", &body)).await.value);
            assert_eq!((verdict, why.kind), (UnknownNewKey, RefusalKind::Unreadable), "{body}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_the_provider_did_not_write_to_its_end_leaves_the_outcome_unknown() {
        use RefusalKind::{Network, ProviderFault, Unreadable};
        let raw =
            |head: &str, body: &str| Act::Answer(format!("{head}\r\nConnection: close\r\n\r\n{body}").into_bytes());
        let text = record("7", 5, "set").to_string();
        let html = "<html>Please log in to the network</html>";
        let gigantic = format!("{text}{}", " ".repeat(1024 * 1024 + 1 - text.len()));
        let length = gigantic.len();
        let cases = [
            ("html 200", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html", html), Unreadable, Some(200)),
            ("html 404", raw("HTTP/1.1 404 No\r\nContent-Type: text/html", html), Unreadable, Some(404)),
            ("html 502", raw("HTTP/1.1 502 Bad\r\nContent-Type: text/html", html), ProviderFault, Some(502)),
            ("json 404", raw("HTTP/1.1 404 No", "{\"errors\": []}"), Unreadable, Some(404)),
            ("redirect", raw("HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/", ""), Unreadable, Some(307)),
            ("broken json", raw("HTTP/1.1 201 Yes", &text[..60]), Unreadable, Some(201)),
            ("short body", raw("HTTP/1.1 201 Yes\r\nContent-Length: 9999", &text), Unreadable, Some(201)),
            (
                "gigantic",
                raw(&format!("HTTP/1.1 201 Yes\r\nContent-Length: {length}"), &gigantic),
                Unreadable,
                Some(201),
            ),
            ("cut", Act::Cut, Network, None),
        ];
        for (name, act, kind, status) in cases {
            let (verdict, why, _) = verdict(outcome_of(act).await.value);
            assert_eq!((verdict, why.kind, why.status), (Unknown, kind, status), "{name}: {}", why.message);
        }
    }

    #[tokio::test]
    async fn a_slow_answer_means_perhaps_done_and_a_closed_port_not_done() {
        let server = TestServer::play(vec![Act::Stall]);
        let slow = ask(&server, Duration::from_millis(200)).set_usage(&set()).await;
        assert_eq!(verdict(slow.value).0, Unknown);
        let gone = TestServer::play(Vec::new());
        let base_url = gone.base_url.clone();
        gone.requests();
        let nobody = super::super::test_server::provider(&base_url, Duration::from_mins(1)).set_usage(&set()).await;
        let (verdict, why, _) = verdict(nobody.value);
        assert_eq!((verdict, why.kind), (Later, RefusalKind::Network));
    }

    #[tokio::test]
    async fn messages_are_cut_and_hold_neither_control_characters_nor_the_key() {
        let detail = format!("no \u{1b}[31mkey {KEY}\r\n{}", "x".repeat(600));
        let (_, why, _) = verdict(outcome_of(error(401, &detail)).await.value);
        assert_eq!(why.message.chars().count(), 500);
        assert!(why.message.starts_with("no [31mkey …1234xxx"), "{}", why.message);
        assert!(!format!("{why:?}").contains(KEY));
    }

    #[tokio::test]
    async fn a_read_may_work_later_unless_the_provider_refused_or_answered_nonsense() {
        let id = SubscriptionId::new("1").unwrap();
        let cases = [
            ("cut", Act::Cut, true),
            ("500", error(500, "Server Error"), true),
            ("429", error(429, "Too Many Attempts."), true),
            ("404", error(404, "The requested resource does not exist."), false),
            ("other object", answer(200, "", &record("7", 5, "set")), false),
        ];
        for (name, act, passing) in cases {
            let server = TestServer::play(vec![act]);
            let read = ask(&server, Duration::from_mins(1)).read_subscription(&id).await;
            assert_eq!(read.value.unwrap_err().passing, passing, "{name}");
        }
    }
}
