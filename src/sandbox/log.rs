//! The last requests, for tests to look at.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::faults::Effect;
use crate::model::Timestamp;

/// So many requests are remembered.
const REMEMBERED: usize = 10_000;

/// A request that was answered, or cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedRequest {
    /// The sandbox's time.
    pub at: Timestamp,
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Query and body: form-encoded and sorted at Stripe, as they came at Lemon Squeezy.
    pub parameters: String,
    /// The key that asked, redacted; empty where it was not let in.
    pub key: String,
    /// The idempotency key, where there was one.
    pub idempotency_key: Option<String>,
    /// `Stripe-Version`, where it was sent.
    pub stripe_version: Option<String>,
    /// `Content-Type`, where it was sent.
    pub content_type: Option<String>,
    /// The answer's status, also where it did not arrive.
    pub status: u16,
    /// Whether it was an earlier request's answer again.
    pub replayed: bool,
    /// What was made to go wrong.
    pub fault: Option<Effect>,
}

/// What is remembered of them.
#[derive(Default)]
pub(super) struct RequestLog(Mutex<VecDeque<LoggedRequest>>);

impl RequestLog {
    pub(super) fn add(&self, request: LoggedRequest) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= REMEMBERED {
            log.pop_front();
        }
        log.push_back(request);
    }

    /// Oldest first.
    pub(super) fn all(&self) -> Vec<LoggedRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
