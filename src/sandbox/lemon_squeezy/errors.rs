//! Refusals in Lemon Squeezy's form: JSON:API `errors[]`.

use serde_json::{Value, json};

use super::super::SandboxError;
use super::super::errors::ApiError as BooksError;
use super::super::faults::Words;

/// An answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    title: &'static str,
    pub(super) detail: String,
    /// `pointer` into the body or `parameter` of the query, and which.
    source: Option<(&'static str, String)>,
    /// Seconds for `Retry-After`.
    pub(super) retry_after: Option<u32>,
}

impl ApiError {
    fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), source: None, retry_after: None }
    }

    fn at(mut self, kind: &'static str, source: &str) -> Self {
        self.source = Some((kind, source.to_owned()));
        self
    }

    /// A fault's own words.
    pub(super) fn chosen(words: &Words) -> Self {
        Self::new(words.status, "Refused", words.message.clone())
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(401, "Unauthorized", "Unauthenticated.")
    }

    pub(super) fn not_acceptable() -> Self {
        let detail = "The requested resource is capable of generating only content not acceptable according to the \
                      Accept headers sent in the request.";
        Self::new(406, "Not Acceptable", detail)
    }

    pub(super) fn media_type() -> Self {
        let detail = "The request entity has a media type which the server or resource does not support.";
        Self::new(415, "Unsupported Media Type", detail)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "Not Found", "The requested resource does not exist.")
    }

    pub(super) fn not_usage_based() -> Self {
        Self::new(404, "Not Found", "This subscription item is not usage-based.")
    }

    /// Another object that the body names is not there.
    pub(super) fn no_related(pointer: &str) -> Self {
        Self::new(404, "Not Found", "The related resource does not exist.").at("pointer", pointer)
    }

    /// The body is not what JSON:API asks for.
    pub(super) fn document(pointer: &str, detail: impl Into<String>) -> Self {
        Self::new(400, "Non-Compliant JSON:API Document", detail).at("pointer", pointer)
    }

    /// The body is of a kind that this endpoint does not take.
    pub(super) fn conflict(pointer: &str, detail: impl Into<String>) -> Self {
        Self::new(409, "Not Supported", detail).at("pointer", pointer)
    }

    /// A parameter of the query.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(400, "Invalid Query Parameter", detail).at("parameter", name)
    }

    /// A well-formed body that cannot be taken.
    pub(super) fn unprocessable(pointer: &str, detail: impl Into<String>) -> Self {
        Self::new(422, "Unprocessable Entity", detail).at("pointer", pointer)
    }

    pub(super) fn too_many(retry_after: Option<u32>) -> Self {
        Self { retry_after, ..Self::new(429, "Too Many Requests", "Too Many Attempts.") }
    }

    /// For the effect of that name; Lemon Squeezy has no idempotency keys.
    pub(super) fn in_use() -> Self {
        Self::new(409, "Conflict", "The resource is being changed by another request.")
    }

    /// Something in between answers; with what is the exchange's matter.
    pub(super) fn bad_gateway() -> Self {
        Self::new(502, "Bad Gateway", "Bad Gateway")
    }

    pub(super) fn internal() -> Self {
        Self::new(500, "Internal Server Error", "Server Error")
    }

    /// Something Lemon Squeezy knows and the sandbox does not keep. Said plainly, so that nobody takes it for its word.
    pub(super) fn not_kept(what: &str) -> Self {
        let detail = format!("usaged sandbox: {what} is not kept here, although Lemon Squeezy knows it.");
        Self::new(404, "Not Found", detail)
    }

    /// What a test asked the sandbox itself for.
    pub(super) fn order(detail: impl Into<String>) -> Self {
        Self::new(400, "Bad Request", detail)
    }

    /// The answer's body.
    pub(super) fn body(&self) -> Value {
        let mut error = json!({ "detail": self.detail, "status": self.status.to_string(), "title": self.title });
        if let (Some(fields), Some((kind, source))) = (error.as_object_mut(), &self.source) {
            fields.insert("source".to_owned(), json!({ *kind: source }));
        }
        json!({ "jsonapi": { "version": "1.0" }, "errors": [error] })
    }
}

/// The sandbox's own failure.
impl From<BooksError> for ApiError {
    fn from(error: BooksError) -> Self {
        Self::new(500, "Internal Server Error", error.message)
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        BooksError::from(error).into()
    }
}

impl From<ApiError> for SandboxError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error.detail)
    }
}
