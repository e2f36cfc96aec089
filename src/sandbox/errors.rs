//! Refusals in Stripe's words, and the sandbox's own failures.

use std::path::PathBuf;

use serde_json::{Value, json};

/// Why the sandbox itself could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its directory cannot be used.
    #[error(
        "cannot use the sandbox's directory {path}: {source}\nhint: name a directory that this user can create and write"
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Its books cannot be opened.
    #[error(
        "cannot open the sandbox's books {path}: {source}\nhint: they hold nothing real; remove the file to start anew"
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The file was written by something else.
    #[error("{path} was not written by this version's sandbox\nhint: it holds nothing real; remove it to start anew")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// The address is taken or not ours.
    #[error(
        "the sandbox cannot listen on {address}: {source}\nhint: name a free port of this machine, as 127.0.0.1:12111"
    )]
    Listen {
        /// Which address.
        address: std::net::SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// The books failed in the middle of something.
    #[error("the sandbox's books: {0}")]
    Books(#[from] rusqlite::Error),
    /// What was asked for is refused as Stripe would.
    #[error("the sandbox refused it: {0}")]
    Refused(String),
    /// Its clock cannot go back over invoices it has made.
    #[error("the sandbox's clock stands at {now} and cannot go back to {asked}\nhint: ask for a later time")]
    Backwards {
        /// Where it stands, unix seconds.
        now: i64,
        /// What was asked for.
        asked: i64,
    },
}

impl From<ApiError> for SandboxError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error.message)
    }
}

/// An answer that is not 2xx, as Stripe words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) message: String,
    pub(super) param: Option<String>,
    /// Whether the request had begun to run, so that its idempotency key keeps this answer.
    pub(super) ran: bool,
    /// Which limit stood against it, as `Stripe-Rate-Limited-Reason` says it.
    pub(super) limited: Option<&'static str>,
    /// Whether it says of itself that the same again changes nothing.
    pub(super) is_final: bool,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, code: None, message, param: None, ran: false, limited: None, is_final: false }
    }

    fn at(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    fn after_it_ran(mut self) -> Self {
        self.ran = true;
        self
    }

    /// Sent with `Stripe-Should-Retry: false`.
    pub(super) fn not_again(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// A parameter that does not pass validation: nothing ran, so no key keeps it.
    pub(super) fn parameter(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, INVALID, message).at(param).coded(code)
    }

    /// A parameter that does not pass validation, of the kinds for which Stripe gives no code.
    pub(super) fn uncoded(param: &str, message: impl Into<String>) -> Self {
        Self::new(400, INVALID, message).at(param)
    }

    pub(super) fn missing(param: &str) -> Self {
        Self::parameter(param, "parameter_missing", format!("Missing required param: {param}."))
    }

    /// The whole request is of a wrong form.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, INVALID, message)
    }

    /// Valid parameters that the state of things does not allow.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(400, INVALID, message).after_it_ran()
    }

    /// As [`Self::refused`], naming the parameter, without a code.
    pub(super) fn refused_at(param: &str, message: impl Into<String>) -> Self {
        Self::refused(message).at(param)
    }

    /// As [`Self::refused`], with a code.
    pub(super) fn refused_as(code: &'static str, message: impl Into<String>) -> Self {
        Self::refused(message).coded(code)
    }

    /// The object that the path names is not there.
    pub(super) fn no_such(noun: &str, id: &str) -> Self {
        Self::new(404, INVALID, format!("No such {noun}: '{id}'")).at("id").coded("resource_missing").after_it_ran()
    }

    /// An object that a parameter names is not there.
    pub(super) fn no_such_at(param: &str, noun: &str, id: &str) -> Self {
        Self::new(400, INVALID, format!("No such {noun}: '{id}'")).at(param).coded("resource_missing").after_it_ran()
    }

    pub(super) fn nothing_upcoming(customer: &str) -> Self {
        Self::new(404, INVALID, format!("No upcoming invoices for customer: {customer}"))
            .coded("invoice_upcoming_none")
            .after_it_ran()
    }

    pub(super) fn unknown_url(method: &str, path: &str) -> Self {
        let help = "Please see https://stripe.com/docs or we can help at https://support.stripe.com/.";
        Self::new(404, INVALID, format!("Unrecognized request URL ({method}: {path}). {help}"))
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, INVALID, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, INVALID, message).coded("more_permissions_required")
    }

    /// A card that is always declined.
    pub(super) fn declined() -> Self {
        Self::new(402, "card_error", "Your card was declined.").coded("card_declined").after_it_ran()
    }

    /// A card whose bank asks who pays.
    pub(super) fn requires_action(code: &'static str) -> Self {
        let message = "This payment requires additional user action before it can be completed successfully.";
        Self::new(402, "card_error", message).coded(code).after_it_ran()
    }

    pub(super) fn idempotency(message: impl Into<String>) -> Self {
        Self::new(400, "idempotency_error", message)
    }

    pub(super) fn key_in_use(key: &str) -> Self {
        let message = format!(
            "There is currently another in-progress request using this Idempotent Key (that probably means you \
             submitted twice, and the other request is still going through): {key}. Please try again later."
        );
        Self::new(409, INVALID, message).coded("idempotency_key_in_use")
    }

    /// Too much is asked for: `reason` as `global-rate`.
    pub(super) fn rate_limited(reason: &'static str) -> Self {
        let message = "Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode. You \
                       can learn more about rate limits here https://stripe.com/docs/rate-limits.";
        Self { limited: Some(reason), ..Self::new(429, INVALID, message).coded("rate_limit") }
    }

    pub(super) fn locked() -> Self {
        let message = "This object cannot be accessed right now because another API request or Stripe process is \
                       currently accessing it. If you see this error intermittently, retry the request. If you see \
                       this error frequently and are making multiple concurrent requests to a single object, make \
                       your requests serially or at a lower rate. For more details, see \
                       https://stripe.com/docs/rate-limits#object-lock-timeouts.";
        Self::new(429, INVALID, message).coded("lock_timeout")
    }

    pub(super) fn internal() -> Self {
        let message = "An unknown error occurred";
        Self::new(500, "api_error", message).after_it_ran()
    }

    /// Something Stripe knows and the sandbox does not keep. Said plainly, so that nobody takes it for Stripe's word.
    pub(super) fn not_kept(param: &str, what: &str) -> Self {
        Self::new(400, INVALID, format!("usaged sandbox: {what} is not kept here, although Stripe knows it.")).at(param)
    }

    /// The answer's body.
    pub(super) fn body(&self) -> Value {
        let mut error = json!({ "message": self.message, "type": self.kind });
        if let Some(fields) = error.as_object_mut() {
            if let Some(code) = self.code {
                fields.insert("code".to_owned(), json!(code));
                let page = code.replace('_', "-");
                fields.insert("doc_url".to_owned(), json!(format!("https://stripe.com/docs/error-codes/{page}")));
            }
            if let Some(param) = &self.param {
                fields.insert("param".to_owned(), json!(param));
            }
        }
        json!({ "error": error })
    }
}

impl From<rusqlite::Error> for ApiError {
    /// The sandbox's own failure; kept by no key, since nothing of the request was stored.
    fn from(error: rusqlite::Error) -> Self {
        Self::new(500, "api_error", format!("usaged sandbox: its books failed: {error}"))
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(500, "api_error", format!("usaged sandbox: an object of its books cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_what_is_known_and_nothing_else() {
        let coded = ApiError::missing("quantity").body();
        assert_eq!(coded["error"]["code"], "parameter_missing");
        assert_eq!(coded["error"]["param"], "quantity");
        let bare = ApiError::unknown_url("GET", "/v1/x").body();
        assert!(bare["error"].get("code").is_none() && bare["error"].get("param").is_none());
    }

    #[test]
    fn only_what_ran_is_kept_by_a_key() {
        assert!(
            !ApiError::missing("x").ran && !ApiError::rate_limited("global-rate").ran && !ApiError::key_in_use("k").ran
        );
        assert!(ApiError::refused("x").ran && ApiError::internal().ran && ApiError::no_such("customer", "c").ran);
    }
}
