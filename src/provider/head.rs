//! What an answer's headers tell us.
//!
//! Header names and meanings: <https://docs.stripe.com/error-low-level> and Stripe's own client libraries; Lemon Squeezy
//! sends none of its own that mean anything here.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};

use crate::model::Timestamp;

/// A wait beyond this is taken for a mistake: a record must not sleep through its period's end on one header's word.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What providers answer in: Stripe, Lemon Squeezy.
const JSON: [&str; 2] = ["application/json", "application/vnd.api+json"];

/// An answer's headers, read. Those that a provider does not send are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// `Date`, if the answer looks like the provider's: a box on the way that answers in HTML has a clock of its own.
    pub(super) date: Option<Timestamp>,
    /// `Request-Id`.
    pub(super) request_id: Option<String>,
    /// `Retry-After`, seconds or a date, which is read against the answer's own `Date`.
    pub(super) retry_after: Option<Duration>,
    /// `Stripe-Should-Retry`.
    pub(super) should_retry: Option<bool>,
    /// `Idempotent-Replayed: true`: a stored answer to an earlier request with the same key.
    pub(super) replayed: bool,
}

impl Head {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let request_id = text("request-id").map(|id| id.chars().filter(char::is_ascii_graphic).take(100).collect());
        let is_json = text(CONTENT_TYPE.as_str()).is_some_and(|kind| JSON.iter().any(|json| kind.starts_with(json)));
        let sent_at = text(DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
        Self {
            date: sent_at.filter(|_| is_json || request_id.is_some()).and_then(timestamp),
            request_id,
            retry_after: text(RETRY_AFTER.as_str()).and_then(|wait| retry_after(wait, sent_at)),
            should_retry: text("stripe-should-retry").and_then(|word| word.to_ascii_lowercase().parse().ok()),
            replayed: text("idempotent-replayed").is_some_and(|word| word.eq_ignore_ascii_case("true")),
        }
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_secs()).ok().map(Timestamp::from_secs)
}

fn retry_after(wait: &str, sent_at: Option<SystemTime>) -> Option<Duration> {
    let wait = match wait.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(wait).ok()?.duration_since(sent_at?).unwrap_or(Duration::ZERO),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, value.parse().unwrap());
        }
        Head::read(&headers)
    }

    const DATE_LINE: (&str, &str) = ("date", "Thu, 05 Nov 2026 12:00:00 GMT");
    const NOON: Timestamp = Timestamp::from_secs(1_793_880_000);

    #[test]
    fn m5_the_date_counts_only_on_an_answer_of_the_provider() {
        assert_eq!(head(&[DATE_LINE, ("content-type", "application/json; charset=utf-8")]).date, Some(NOON));
        assert_eq!(head(&[DATE_LINE, ("content-type", "application/vnd.api+json")]).date, Some(NOON));
        assert_eq!(head(&[DATE_LINE, ("request-id", "req_1")]).date, Some(NOON));
        assert_eq!(head(&[DATE_LINE, ("content-type", "text/html")]).date, None);
        assert_eq!(head(&[("date", "soon"), ("request-id", "req_1")]).date, None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_against_the_answers_own() {
        for (wait, seconds) in [
            ("7", Some(7)),
            ("Thu, 05 Nov 2026 12:01:30 GMT", Some(90)),
            ("Thu, 05 Nov 2026 11:00:00 GMT", Some(0)),
            ("999999999", Some(86_400)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(
                head(&[DATE_LINE, ("retry-after", wait)]).retry_after,
                seconds.map(Duration::from_secs),
                "{wait}"
            );
        }
        assert_eq!(head(&[("retry-after", "Thu, 05 Nov 2026 12:01:30 GMT")]).retry_after, None);
    }

    #[test]
    fn words_are_read_whatever_their_case_and_nonsense_is_no_word() {
        let said = head(&[("stripe-should-retry", "False"), ("idempotent-replayed", "TRUE")]);
        assert_eq!((said.should_retry, said.replayed), (Some(false), true));
        let nonsense = head(&[("stripe-should-retry", "maybe"), ("idempotent-replayed", "1")]);
        assert_eq!((nonsense.should_retry, nonsense.replayed), (None, false));
    }
}
