use serde::Serialize;

use crate::wire::SCHEMA;

/// What a command did, as `--json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report<T> {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Whether the key moves real money.
    pub livemode: bool,
    /// The version that was spoken.
    pub api_version: &'static str,
    /// Whether what would change something was only noted.
    pub dry_run: bool,
    /// What was sent to change something, or would have been.
    pub requests: Vec<Request>,
    /// The command's own answer.
    #[serde(flatten)]
    pub body: T,
}

/// An answer that is about one object.
pub trait Names {
    /// What a script goes on with: an id, or a URL; `None` where there is none.
    fn named(&self) -> Option<&str>;
}

/// A request that changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// `POST` or `DELETE`.
    pub method: &'static str,
    /// As `/v1/products`.
    pub path: String,
    /// Its parameters, in order.
    pub form: Vec<(String, String)>,
    /// The idempotency key that it left under; a deletion needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// By what Stripe knows it, once it was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl<T> Report<T> {
    pub(super) fn new(
        livemode: bool,
        api_version: &'static str,
        dry_run: bool,
        requests: Vec<Request>,
        body: T,
    ) -> Self {
        Self { schema: SCHEMA, livemode, api_version, dry_run, requests, body }
    }
}
