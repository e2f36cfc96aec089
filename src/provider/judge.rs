//! What became of a request, judged: what every provider's answers have in common.
//!
//! A provider adds what its refusals mean, and says in a table of its own what comes of it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::http::{Exchange, Response};
use super::{Answer, Outcome, ReadError, Refusal, RefusalKind};

const MESSAGE_CHARS_MAX: usize = 500;
const WORD_CHARS_MAX: usize = 100;

/// Why an exchange did not bring what was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    verdict: Verdict,
    refusal: Box<Refusal>,
    retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not done; the same again may work later.
    Later,
    /// Perhaps done; the same again may tell, unless the key is used up.
    Perhaps { needs_new_key: bool },
    /// Not done; the same again changes nothing.
    Never,
}

pub(super) type Judged<T> = Result<T, Failure>;

/// Judges an exchange. A 2xx is decoded and then looked at: `look` says what it holds, or what is unexpected about it.
/// Any other answer is for `refused`.
pub(super) fn judge<T, U>(
    host: &str,
    exchange: Exchange,
    look: impl FnOnce(T) -> Result<U, String>,
    refused: fn(&str, &Response) -> Failure,
) -> Answer<Judged<U>>
where
    T: DeserializeOwned,
{
    match exchange {
        Exchange::NotSent(cause) => {
            let is_untrusted = cause.contains("invalid peer certificate");
            let kind = if is_untrusted { RefusalKind::Untrusted } else { RefusalKind::Network };
            let why = Refusal::ours(kind, clean(&format!("{host} cannot be reached: {cause}")));
            Answer::unanswered(Err(Failure::new(Verdict::Later, why, None)))
        }
        Exchange::Lost(cause) => {
            let why = Refusal::ours(RefusalKind::Network, clean(&format!("no answer from {host}: {cause}")));
            Answer::unanswered(Err(Failure::new(Verdict::Perhaps { needs_new_key: false }, why, None)))
        }
        Exchange::Answered(response) => {
            let value = match response.status {
                200..300 => {
                    decode(host, &response).and_then(|wire| look(wire).map_err(|what| unexpected(&response, &what)))
                }
                _ => Err(refused(host, &response)),
            };
            Answer {
                value,
                date: response.head.date,
                request_id: response.head.request_id,
                status: Some(response.status),
            }
        }
    }
}

fn decode<T: DeserializeOwned>(host: &str, response: &Response) -> Judged<T> {
    let body = match &response.body {
        Ok(body) => body,
        Err(cause) => return Err(unreadable(host, response, cause)),
    };
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => unexpected(response, &error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => {
            unreadable(host, response, "its body is not JSON, or not whole")
        }
    })
}

/// An answer the provider did not write, or not to its end: the same request again may bring a better one.
pub(super) fn unreadable(host: &str, response: &Response, cause: &str) -> Failure {
    let message = format!("HTTP {} from {host} is not the provider's answer: {cause}", response.status);
    let mut why = Refusal::ours(RefusalKind::Unreadable, clean(&message));
    why.status = Some(response.status);
    Failure::new(Verdict::Perhaps { needs_new_key: false }, why, response.head.retry_after)
}

/// A whole answer that does not say what it should. It is stored under its key, which would bring the same again.
fn unexpected(response: &Response, what: &str) -> Failure {
    let mut why =
        Refusal::ours(RefusalKind::Unreadable, clean(&format!("the provider's answer is unexpected: {what}")));
    why.status = Some(response.status);
    Failure::new(Verdict::Perhaps { needs_new_key: true }, why, None)
}

impl Failure {
    pub(super) fn new(verdict: Verdict, refusal: Refusal, retry_after: Option<Duration>) -> Self {
        Self { verdict, refusal: Box::new(refusal), retry_after }
    }
}

/// What it means for a request that changes something.
pub(super) fn into_outcome(judged: Judged<()>) -> Outcome {
    let Failure { verdict, refusal, retry_after } = match judged {
        Ok(()) => return Outcome::Accepted,
        Err(failure) => failure,
    };
    let why = *refusal;
    match verdict {
        Verdict::Later => Outcome::Unavailable { retry_after, why },
        Verdict::Perhaps { needs_new_key } => Outcome::Unknown { needs_new_key, retry_after, why },
        Verdict::Never => Outcome::Refused(why),
    }
}

/// What it means for a read, which has no key that could be used up: what would be replayed would stay the same.
pub(super) fn into_read<T>(judged: Judged<T>) -> Result<T, ReadError> {
    judged.map_err(|Failure { verdict, refusal, retry_after }| {
        let passing = matches!(verdict, Verdict::Later | Verdict::Perhaps { needs_new_key: false });
        ReadError { refusal, passing, retry_after }
    })
}

/// The provider's message, as it may be shown.
pub(super) fn clean(text: &str) -> String {
    cut(text, MESSAGE_CHARS_MAX)
}

/// A code or a name of the provider's, as it may be shown.
pub(super) fn clean_word(text: &str) -> String {
    cut(text, WORD_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}
