//! What an answer of the provider means for us.

use std::time::Duration;

use crate::model::Timestamp;

/// What became of a request that changes something. One legal reading each; the outbox moves on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands.
    Accepted,
    /// This attempt did nothing, and trying again later with the same key may work: 429, `lock_timeout`, 409 in
    /// flight, a connection that was never made. It says nothing about an earlier attempt under the same key.
    Unavailable {
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
        /// For status and log.
        why: Refusal,
    },
    /// May or may not have been done: lost answer, time-out, 5xx.
    Unknown {
        /// The provider stored this failure under the key and would only replay it: a new key is needed.
        needs_new_key: bool,
        /// What `Retry-After` asked for.
        retry_after: Option<Duration>,
        /// For status and log.
        why: Refusal,
    },
    /// This attempt did nothing, and asking the same again changes nothing. Some refusals are stored under their key, so
    /// whatever is sent after the cause is gone needs a new one.
    Refused(Refusal),
}

/// The provider's own words, sorted by what they ask of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it means for us.
    pub kind: RefusalKind,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The provider's `type`, as `invalid_request_error`.
    pub error_type: Option<String>,
    /// As `resource_missing`.
    pub code: Option<String>,
    /// As `timestamp`.
    pub param: Option<String>,
    /// The provider's words or ours, at most 500 characters without control characters; never holds a key.
    pub message: String,
}

/// What a refusal asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No answer arrived.
    Network,
    /// No answer was asked for: nobody whom this system trusts has signed the certificate.
    Untrusted,
    /// 429.
    RateLimited,
    /// 409: a request with the same key, or on the same object, is still being worked on.
    InFlight,
    /// 5xx.
    ProviderFault,
    /// 401: the key is wrong or expired.
    KeyRefused,
    /// 403: the key may not do this; the message names the permission.
    NotPermitted,
    /// The item, subscription or customer is not there: read the subscription again.
    Missing,
    /// The timestamp lies outside the current period: read the subscription again.
    TimestampRefused,
    /// Same key, other parameters: read back, then a new revision.
    IdempotencyMismatch,
    /// The provider has an event with this identifier already: delivered, if it was ours (rule S2).
    Duplicate,
    /// The meter takes no events: it is archived, or there is none of that name.
    NoMeter,
    /// The item's price is on a meter: another provider kind is needed.
    WrongKind,
    /// Anything else; needs someone.
    Other,
    /// An answer that is not what the provider documents: HTML, truncated JSON, a gigantic body.
    Unreadable,
}

/// An answer, with what every answer brings.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The answer itself.
    pub value: T,
    /// The `Date` header, where the answer was the provider's and not some box's on the way (rule M5).
    pub date: Option<Timestamp>,
    /// The `Request-Id` header.
    pub request_id: Option<String>,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
}

/// What a read brought. The clock and the request id come with failures too.
pub type ReadAnswer<T> = Answer<Result<T, ReadError>>;

/// Why a read brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .refusal.message)]
pub struct ReadError {
    /// What it means. Boxed, since it is large and rare.
    pub refusal: Box<Refusal>,
    /// Whether the same read may work later.
    pub passing: bool,
    /// What `Retry-After` asked for.
    pub retry_after: Option<Duration>,
}

impl RefusalKind {
    /// What a person can do about it, as far as the kind tells; [`Refusal::hint`] knows the words as well.
    #[must_use]
    const fn hint(self) -> &'static str {
        match self {
            Self::Network => "check the network, the name service and HTTPS_PROXY; it is tried again by itself",
            Self::Untrusted => {
                "put the CA that signed it, a company proxy's perhaps, into the system's store, then: systemctl restart usaged"
            }
            Self::RateLimited | Self::InFlight | Self::ProviderFault => "nothing to do; it is tried again by itself",
            Self::KeyRefused => "put a valid key in place, then: systemctl restart usaged",
            Self::NotPermitted => "give the key the permission the message names",
            Self::Missing => "check customer, subscription and item in the provider's dashboard, then link again",
            Self::TimestampRefused => "nothing to do; the subscription's period is read again",
            Self::IdempotencyMismatch => "nothing to do; what stands is read before a new revision is sent",
            Self::Duplicate => "nothing to do; an event that was sent before counts as delivered",
            Self::NoMeter => {
                "reactivate the meter in the provider's dashboard, or move the item to a price on another one"
            }
            Self::WrongKind => {
                "a price on a meter needs provider.kind = \"stripe-meters\", one without a meter \"stripe-usage-records\""
            }
            Self::Other => "read the provider's message; its dashboard lists the request under its id",
            Self::Unreadable => {
                "check base_url and any proxy on the way: the answer is not what the provider documents"
            }
        }
    }
}

impl Refusal {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        // Stripe's words: "a similar object exists in live mode, but a test mode key was used to make this request."
        if self.kind == RefusalKind::Missing && self.message.contains("a similar object exists in ") {
            return "the key and the id are of different modes: a live subscription needs a live key (rk_live_…), one made \
                    in test mode a test key (rk_test_…); put the right key in place, then: systemctl restart usaged";
        }
        self.kind.hint()
    }

    /// A refusal that did not come out of an answer.
    #[must_use]
    pub(super) fn ours(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, error_type: None, code: None, param: None, message: message.into() }
    }

    /// What is said where no provider is configured.
    #[must_use]
    pub(super) fn not_configured() -> Self {
        Self::ours(RefusalKind::Other, "no billing provider is configured")
    }

    /// What is said where an item was linked at another provider than the one that is configured.
    #[must_use]
    pub(super) fn other_provider() -> Self {
        Self::ours(RefusalKind::WrongKind, "the item was linked at another provider than provider.kind names")
    }
}

impl ReadError {
    /// What is said where no provider is configured.
    #[must_use]
    pub(super) fn not_configured() -> Self {
        Self { refusal: Box::new(Refusal::not_configured()), passing: false, retry_after: None }
    }

    /// What is said where an item was linked at another provider.
    #[must_use]
    pub(super) fn other_provider() -> Self {
        Self { refusal: Box::new(Refusal::other_provider()), passing: false, retry_after: None }
    }
}

impl<T> Answer<T> {
    /// What is known without any answer.
    #[must_use]
    pub(super) fn unanswered(value: T) -> Self {
        Self { value, date: None, request_id: None, status: None }
    }

    /// The same answer, read differently.
    #[must_use]
    pub(super) fn map<U>(self, read: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { value: read(self.value), date: self.date, request_id: self.request_id, status: self.status }
    }
}
