//! How much the account may ask for: requests a second, requests at once, and changes of one subscription.
//!
//! Numbers of <https://docs.stripe.com/rate-limits>. How many requests may run at once is not said there, so that it is
//! nobody's preset.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::errors::ApiError;

/// What an account may do. `None` is no limit. Counted in the sandbox's seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second, of all endpoints.
    pub per_second: Option<u32>,
    /// Requests a second, of each endpoint.
    pub per_endpoint: Option<u32>,
    /// Meter events a second; they then count against nothing else.
    pub meter_events: Option<u32>,
    /// Requests at once, of all endpoints.
    pub at_once: Option<u32>,
    /// Requests at once, of each endpoint.
    pub at_once_per_endpoint: Option<u32>,
    /// Changes of one subscription in an hour.
    pub subscription_changes_per_hour: Option<u32>,
}

impl Limits {
    /// A sandbox's account.
    pub const SANDBOX: Self = Self {
        per_second: Some(25),
        per_endpoint: Some(25),
        meter_events: None,
        at_once: None,
        at_once_per_endpoint: None,
        subscription_changes_per_hour: Some(200),
    };
    /// A live account.
    pub const LIVE: Self = Self { per_second: Some(100), meter_events: Some(1_000), ..Self::SANDBOX };
}

/// The limits in force, and what counts against them.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    limits: Limits,
    second: i64,
    in_second: BTreeMap<String, u32>,
    hour: i64,
    in_hour: BTreeMap<String, u32>,
    running: BTreeMap<String, u32>,
}

/// Stands for all endpoints.
const ALL: &str = "";
const METER_EVENTS: &str = "POST /v1/billing/meter_events";
const SUBSCRIPTION: &str = "POST /v1/subscriptions/*";

/// A request that runs, until this is dropped.
pub(super) struct Running<'a> {
    limiter: &'a Limiter,
    endpoint: String,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        for name in [ALL, &self.endpoint] {
            if let Some(count) = counts.running.get_mut(name) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

impl Limiter {
    /// Begins to count anew, against these.
    pub(super) fn set(&self, limits: Limits) {
        let mut counts = self.lock();
        let running = std::mem::take(&mut counts.running);
        *counts = Counts { limits, running, ..Counts::default() };
    }

    /// Counts a request to an endpoint, named as `POST /v1/subscriptions/*`, about the object of this id.
    pub(super) fn admit(&self, endpoint: String, id: &str, second: i64) -> Result<Running<'_>, ApiError> {
        let mut counts = self.lock();
        counts.turn_to(second);
        let limits = counts.limits;
        if endpoint == METER_EVENTS && limits.meter_events.is_some() {
            count(&mut counts.in_second, &endpoint, limits.meter_events, "endpoint-rate")?;
        } else {
            count(&mut counts.in_second, ALL, limits.per_second, "global-rate")?;
            count(&mut counts.in_second, &endpoint, limits.per_endpoint, "endpoint-rate")?;
        }
        if endpoint == SUBSCRIPTION {
            count(&mut counts.in_hour, id, limits.subscription_changes_per_hour, "resource-specific")?;
        }
        let full = |counts: &Counts, name: &str, most: Option<u32>| {
            most.is_some_and(|most| counts.running.get(name).is_some_and(|count| *count >= most))
        };
        if full(&counts, ALL, limits.at_once) {
            return Err(ApiError::rate_limited("global-concurrency"));
        }
        if full(&counts, &endpoint, limits.at_once_per_endpoint) {
            return Err(ApiError::rate_limited("endpoint-concurrency"));
        }
        for name in [ALL, &endpoint] {
            let count = counts.running.entry(name.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        drop(counts);
        Ok(Running { limiter: self, endpoint })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Forgets what was counted in an earlier second, or an earlier hour.
    fn turn_to(&mut self, second: i64) {
        let hour = second.div_euclid(3_600);
        if self.second != second {
            self.second = second;
            self.in_second.clear();
        }
        if self.hour != hour {
            self.hour = hour;
            self.in_hour.clear();
        }
    }
}

fn count(
    counts: &mut BTreeMap<String, u32>,
    name: &str,
    most: Option<u32>,
    reason: &'static str,
) -> Result<(), ApiError> {
    let count = counts.entry(name.to_owned()).or_default();
    *count = count.saturating_add(1);
    let is_over = most.is_some_and(|most| *count > most);
    if is_over { Err(ApiError::rate_limited(reason)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(limiter: &Limiter, endpoint: &str, second: i64) -> Option<&'static str> {
        limiter.admit(endpoint.to_owned(), "x", second).err().map(|error| error.limited.unwrap())
    }

    #[test]
    fn a_live_account_counts_meter_events_apart_from_the_rest() {
        let limiter = Limiter::default();
        limiter.set(Limits::LIVE);
        for _ in 0..1_000 {
            assert_eq!(reason(&limiter, METER_EVENTS, 1), None);
        }
        assert_eq!(reason(&limiter, METER_EVENTS, 1), Some("endpoint-rate"));
        for endpoint in ["GET /a", "GET /b", "GET /c", "GET /d"] {
            for _ in 0..25 {
                assert_eq!(reason(&limiter, endpoint, 1), None);
            }
        }
        assert_eq!(reason(&limiter, "GET /e", 1), Some("global-rate"));
        assert_eq!(reason(&limiter, "GET /a", 2), None);
    }

    #[test]
    fn a_sandbox_takes_no_more_meter_events_than_other_requests() {
        let limiter = Limiter::default();
        limiter.set(Limits::SANDBOX);
        for _ in 0..25 {
            assert_eq!(reason(&limiter, METER_EVENTS, 1), None);
        }
        assert_eq!(reason(&limiter, METER_EVENTS, 1), Some("global-rate"));
    }

    #[test]
    fn what_runs_counts_until_it_is_done() {
        let limiter = Limiter::default();
        limiter.set(Limits { at_once: Some(2), at_once_per_endpoint: Some(1), ..Limits::default() });
        let first = limiter.admit("GET /a".to_owned(), "x", 1);
        assert_eq!(reason(&limiter, "GET /a", 1), Some("endpoint-concurrency"));
        let second = limiter.admit("GET /b".to_owned(), "x", 1);
        assert_eq!(reason(&limiter, "GET /c", 1), Some("global-concurrency"));
        drop(first);
        assert_eq!(reason(&limiter, "GET /a", 1), None);
        assert!(second.is_ok());
    }
}
