//! Why a command did not work, and what helps.

use crate::provider::{ProviderError, ReadError, RefusalKind};

/// Why a command did not work. No variant holds a key.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Stripe said no, or nothing.
    #[error("{what}: {source}")]
    Asked {
        /// What was tried, as `cannot create the product prod_1`.
        what: String,
        /// Whether it would have changed something.
        changes: bool,
        /// Stripe's `Request-Id`, where it answered.
        request_id: Option<String>,
        /// Its words.
        source: ReadError,
    },
    /// An answer without what it should hold.
    #[error("{what}: the answer is unexpected: {why}")]
    Unexpected {
        /// What was tried.
        what: String,
        /// What is unexpected.
        why: String,
    },
    /// A rule of these commands says no; nothing was changed.
    #[error("{what}")]
    Refused {
        /// A stable word for programs.
        code: &'static str,
        /// What is refused, and why.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// The catalog file cannot be used.
    #[error("{file}: {what}")]
    Catalog {
        /// Which.
        file: String,
        /// All that is wrong with it.
        what: String,
    },
    /// Key or address cannot be used; nothing was sent.
    #[error("{}", .0.to_string().split("\nhint: ").next().unwrap_or_default())]
    Provider(#[from] ProviderError),
}

impl OperatorError {
    /// A rule's refusal.
    pub(super) fn refused(code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { code, what: what.into(), hint: hint.into() }
    }

    /// No key in the environment.
    #[must_use]
    pub fn no_key() -> Self {
        Self::refused(
            "no_key",
            "no Stripe API key: STRIPE_API_KEY is not set",
            "put your own key, not the agent's, into the environment: read -rs STRIPE_API_KEY && export STRIPE_API_KEY",
        )
    }

    /// A daemon was named, and none is asked: whoever says `--sandbox` must not be taken to mean the real Stripe.
    #[must_use]
    pub fn no_daemon() -> Self {
        let hint = "for the sandbox, start it and set STRIPE_API_BASE to the address that it prints: usaged sandbox";
        Self::refused("no_daemon", "--sandbox and --socket name a daemon, and usagectl stripe asks none", hint)
    }

    /// Nobody was named whom a command is about.
    #[must_use]
    pub fn nobody() -> Self {
        Self::refused("nobody", "it is not said whom this is about", "name --customer cus_…, see --help")
    }

    /// Stripe's own word for it, where it gave one.
    pub(super) fn stripe_code(&self) -> Option<&str> {
        match self {
            Self::Asked { source, .. } => source.refusal.code.as_deref(),
            _ => None,
        }
    }

    /// Whether Stripe failed, and would say the same again under this idempotency key.
    pub(super) fn has_used_up_its_key(&self) -> bool {
        matches!(self, Self::Asked { source, .. }
            if source.refusal.kind == RefusalKind::ProviderFault && !source.passing)
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Asked { source, .. } => match (source.refusal.kind, source.refusal.code.as_deref()) {
                (RefusalKind::Network | RefusalKind::Untrusted, _) => "stripe_not_reachable",
                (RefusalKind::KeyRefused, _) => "key_refused",
                (RefusalKind::NotPermitted, _) => "not_permitted",
                (_, Some(code)) => code,
                _ => "stripe_refused",
            },
            Self::Unexpected { .. } => "unexpected_answer",
            Self::Refused { code, .. } => code,
            Self::Catalog { .. } => "catalog",
            Self::Provider(_) => "cannot_start",
        }
    }

    /// Whether it was understood and refused, by a rule or because this key may not.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Asked { source, .. } => {
                matches!(source.refusal.kind, RefusalKind::NotPermitted | RefusalKind::KeyRefused)
            }
            Self::Refused { code, .. } => *code != "no_key",
            _ => false,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Asked { changes, request_id, source, .. } => {
                Some(asked_hint(source, *changes, request_id.as_deref()))
            }
            Self::Unexpected { .. } => Some("check STRIPE_API_BASE and any proxy on the way".to_owned()),
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Catalog { .. } => Some("a whole catalog to begin with: usagectl stripe catalog example".to_owned()),
            Self::Provider(error) => error.to_string().split_once("\nhint: ").map(|(_, hint)| hint.to_owned()),
        }
    }
}

fn asked_hint(error: &ReadError, changes: bool, request_id: Option<&str>) -> String {
    let again = "run it again: what was done is found, and it goes on from there";
    let hint = match error.refusal.kind {
        RefusalKind::Network => "check the network, the name service, HTTPS_PROXY and STRIPE_API_BASE",
        RefusalKind::Untrusted => "put the CA that signed it, a company proxy's perhaps, into the system's store",
        RefusalKind::KeyRefused => "put a valid key into STRIPE_API_KEY",
        RefusalKind::NotPermitted => {
            "give the key the permission that the message names; what a key may do: usagectl stripe check"
        }
        RefusalKind::RateLimited | RefusalKind::InFlight | RefusalKind::ProviderFault => again,
        RefusalKind::Unreadable => "check STRIPE_API_BASE and any proxy on the way: this is not Stripe's answer",
        _ if error.refusal.message.contains("a similar object exists in ") => {
            "the key and the id are of different modes, live and test"
        }
        _ => {
            return request_id.map_or_else(
                || "read Stripe's message".to_owned(),
                |id| format!("read Stripe's message; its dashboard lists the request as {id}"),
            );
        }
    };
    let is_lost = changes && matches!(error.refusal.kind, RefusalKind::Network | RefusalKind::Unreadable);
    if is_lost { format!("{hint}; then {again}") } else { hint.to_owned() }
}
