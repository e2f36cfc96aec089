//! Things that go wrong on request: rules that wait for a request they fit.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing; for a rule that only delays.
    None,
    /// 429 with `Stripe-Rate-Limited-Reason`, and `Retry-After` where given.
    RateLimited {
        /// As `global-rate`.
        reason: String,
        /// Seconds.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// 429 with code `lock_timeout`.
    LockTimeout,
    /// 409 with code `idempotency_key_in_use`.
    KeyInUse,
    /// 401.
    Unauthorized,
    /// This refusal, in these words; nothing done.
    Refused(Words),
    /// 500, nothing done. The key keeps it.
    ErrorBeforeCommit,
    /// 500, although it was done. The key keeps it.
    ErrorAfterCommit,
    /// The connection ends without an answer; nothing done.
    CutBeforeCommit,
    /// The connection ends without an answer, although it was done.
    CutAfterCommit,
    /// Something in between answers with a page, nothing done.
    Html,
    /// It was done, but only half of the answer's JSON arrives.
    TruncatedJson,
    /// It was done, but the answer goes on for two MiB.
    Gigantic,
}

/// A refusal that the sandbox has no reason of its own for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// HTTP status.
    pub status: u16,
    /// Stripe's `type`.
    #[serde(rename = "type", default = "invalid_request")]
    pub error_type: String,
    /// Stripe's `code`, as `resource_missing`.
    #[serde(default)]
    pub code: Option<String>,
    /// Which parameter it is about.
    #[serde(default)]
    pub param: Option<String>,
    /// For people.
    pub message: String,
}

fn invalid_request() -> String {
    "invalid_request_error".to_owned()
}

impl Words {
    /// A refusal with this status and message, of the usual type.
    #[must_use]
    pub fn new(status: u16, message: &str) -> Self {
        Self { status, error_type: invalid_request(), code: None, param: None, message: message.to_owned() }
    }
}

/// A rule. Requests it fits take it up until it is used up; a request takes up one rule at most, the oldest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `GET`, `POST` or `DELETE`; any where left out.
    #[serde(default)]
    pub method: Option<String>,
    /// The path's first segments, `*` for any one, as `/v1/subscription_items/*/usage_records`; any where left out.
    #[serde(default)]
    pub path: Option<String>,
    /// How many requests.
    #[serde(default = "once")]
    pub times: u32,
    /// How long the request waits first, in real milliseconds. Its key is in use meanwhile.
    #[serde(default)]
    pub delay_ms: u64,
    /// Sent as `Stripe-Should-Retry`, where given.
    #[serde(default)]
    pub should_retry: Option<bool>,
    /// What goes wrong then.
    pub effect: Effect,
}

const fn once() -> u32 {
    1
}

impl Fault {
    /// This effect on the next request.
    #[must_use]
    pub const fn next(effect: Effect) -> Self {
        Self { method: None, path: None, times: 1, delay_ms: 0, should_retry: None, effect }
    }

    /// Only on requests of this method and path, see [`Fault::path`].
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.method = Some(method.to_owned());
        self.path = Some(path.to_owned());
        self
    }

    /// On this many requests.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// After this many real milliseconds.
    #[must_use]
    pub const fn delayed(mut self, millis: u64) -> Self {
        self.delay_ms = millis;
        self
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        let fits_path = |pattern: &str| {
            let mut segments = path.split('/');
            pattern.split('/').all(|wanted| segments.next().is_some_and(|found| wanted == "*" || wanted == found))
        };
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(fits_path)
    }
}

/// The rules that wait.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        self.lock().push_back(fault);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn waiting(&self) -> Vec<Fault> {
        self.lock().iter().cloned().collect()
    }

    /// Takes up the oldest rule that fits.
    pub(super) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let mut rules = self.lock();
        rules.retain(|rule| rule.times > 0);
        let rule = rules.iter_mut().find(|rule| rule.fits(method, path))?;
        rule.times = rule.times.saturating_sub(1);
        let taken = rule.clone();
        rules.retain(|rule| rule.times > 0);
        Some(taken)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_waits_for_what_it_fits_and_is_used_up() {
        let faults = Faults::default();
        faults.add(Fault::next(Effect::LockTimeout).on("POST", "/v1/subscription_items/*/usage_records").times(2));
        assert_eq!(faults.take("GET", "/v1/subscription_items/si_1/usage_records"), None);
        assert_eq!(faults.take("POST", "/v1/subscription_items/si_1/usage_record_summaries"), None);
        assert_eq!(faults.take("POST", "/v1/subscription_items/si_1"), None);
        for _ in 0..2 {
            assert!(faults.take("POST", "/v1/subscription_items/si_1/usage_records").is_some());
        }
        assert_eq!(faults.take("POST", "/v1/subscription_items/si_1/usage_records"), None);
        assert!(faults.waiting().is_empty());
    }
}
