//! Requests of one command: sent again where that may help, noted, and in a dry run only noted.

use std::cell::RefCell;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::form::Form;
use super::report::{Report, Request};
use super::{Kind, OperatorError};
use crate::config::ApiKey;
use crate::model::Timestamp;
use crate::provider::stripe::Api;
use crate::provider::{Answer, ReadAnswer, ReadError, RefusalKind};

/// A whole request may take this long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A request that may work later is sent so often.
const TRIES: u32 = 4;
/// Before it is sent again for the first time; then twice as long each time.
const WAIT: Duration = Duration::from_millis(500);
/// Somebody is waiting: a longer `Retry-After` is an error.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest page. <https://docs.stripe.com/api/pagination>
const PAGE: &str = "100";
/// Beyond so many pages a list goes in circles.
const PAGES_MAX: usize = 500;

/// Speaks to one account for one command.
#[derive(Debug)]
pub struct Caller {
    api: Api,
    kind: Kind,
    dry_run: bool,
    /// Makes this command's idempotency keys its own.
    run: String,
    noted: RefCell<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    requests: Vec<Request>,
    /// Stripe's clock at its last answer.
    date: Option<Timestamp>,
}

/// An object that was made.
#[derive(Debug)]
pub(super) struct Made {
    /// Its id; in a dry run a word in angle brackets.
    pub(super) id: String,
    /// The whole object; null in a dry run.
    pub(super) object: Value,
}

impl Caller {
    /// Checks key and address; nothing is sent. `run` is drawn at random.
    pub fn new(key: &ApiKey, base_url: &str, kind: Kind, dry_run: bool, run: String) -> Result<Self, OperatorError> {
        let api = Api::new(key, base_url, kind.provider(), TIMEOUT)?;
        Ok(Self { api, kind, dry_run, run, noted: RefCell::default() })
    }

    /// How usage reaches Stripe.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The API itself, for what is known about key and address.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// What makes this command's idempotency keys its own.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Whether the version spoken is from before `2025-03-31.basil`.
    pub(super) fn is_before_basil(&self) -> bool {
        self.api.is_before_basil()
    }

    /// Whether what would change something is only noted.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Stripe's clock at its last answer.
    pub(super) fn date(&self) -> Option<Timestamp> {
        self.noted.borrow().date
    }

    /// The command's answer, with what was asked for it.
    pub fn report<T>(&self, body: T) -> Report<T> {
        let requests = self.noted.borrow().requests.clone();
        Report::new(self.api.livemode(), self.api.version(), self.dry_run, requests, body)
    }

    /// Reads one object; `None` where there is none.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        query: &Form,
    ) -> Result<Option<T>, OperatorError> {
        match self.read(what, path, query).await {
            Ok(value) if value.get("deleted").and_then(Value::as_bool) == Some(true) => Ok(None),
            Ok(value) => decode(what, value).map(Some),
            Err(error) if error.stripe_code() == Some("resource_missing") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads.
    pub(super) async fn read(&self, what: &str, path: &str, query: &Form) -> Result<Value, OperatorError> {
        let pairs = query.pairs();
        self.until_it_stands(what, false, async || self.api.read(path, &pairs).await).await
    }

    /// Reads by a POST that changes nothing.
    pub(super) async fn ask(&self, what: &str, path: &str, form: &Form) -> Result<Value, OperatorError> {
        let pairs = form.pairs();
        self.until_it_stands(what, false, async || self.api.ask(path, &pairs).await).await
    }

    /// Reads a list to its end.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        query: &Form,
    ) -> Result<Vec<T>, OperatorError> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let query = query.clone().with("limit", PAGE).with_some("starting_after", after.take());
            let mut page = self.read(what, path, &query).await?;
            let has_more = page.get("has_more").and_then(Value::as_bool).unwrap_or(false);
            let data = page.get_mut("data").and_then(Value::as_array_mut).map(std::mem::take);
            let data = data.ok_or_else(|| unexpected(what, "it is no list"))?;
            after = data.last().and_then(|last| last.get("id")).and_then(Value::as_str).map(str::to_owned);
            for object in data {
                found.push(decode(what, object)?);
            }
            if !has_more || after.is_none() {
                return Ok(found);
            }
        }
        Err(unexpected(what, "its list does not come to an end"))
    }

    /// Makes or changes an object. The key is this command's own, so that nothing is replayed to another one.
    pub(super) async fn change(&self, what: &str, path: &str, form: Form) -> Result<Made, OperatorError> {
        let number = self.noted.borrow().requests.len();
        let key = format!("usagectl-{}-{number}", self.run);
        self.change_under(what, path, form, &key).await
    }

    /// As [`Self::change`], under a key that another command with the same aim has, too: for what Stripe would make a
    /// second time where the first is not to be seen yet.
    pub(super) async fn change_under(
        &self,
        what: &str,
        path: &str,
        form: Form,
        key: &str,
    ) -> Result<Made, OperatorError> {
        self.note("POST", path, &form, Some(key));
        if self.dry_run {
            return Ok(Made { id: format!("<{}>", what.trim_start_matches("cannot ")), object: Value::Null });
        }
        let pairs = form.pairs();
        let object = self.until_it_stands(what, true, async || self.api.change(path, &pairs, key).await).await?;
        let id = object.get("id").and_then(Value::as_str).ok_or_else(|| unexpected(what, "it has no id"))?;
        Ok(Made { id: id.to_owned(), object })
    }

    /// Ends an object.
    pub(super) async fn end(&self, what: &str, path: &str, query: &Form) -> Result<Value, OperatorError> {
        self.note("DELETE", path, query, None);
        if self.dry_run {
            return Ok(Value::Null);
        }
        let pairs = query.pairs();
        self.until_it_stands(what, true, async || self.api.end(path, &pairs).await).await
    }

    fn note(&self, method: &'static str, path: &str, form: &Form, key: Option<&str>) {
        let (path, form, key) = (path.to_owned(), form.clone().into_pairs(), key.map(str::to_owned));
        self.noted.borrow_mut().requests.push(Request { method, path, form, key, request_id: None });
    }

    /// The change that was noted last was carried out.
    fn note_done(&self, request_id: Option<String>) {
        if let Some(last) = self.noted.borrow_mut().requests.last_mut() {
            last.request_id = request_id;
        }
    }

    async fn until_it_stands(
        &self,
        what: &str,
        changes: bool,
        send: impl AsyncFn() -> ReadAnswer<Value>,
    ) -> Result<Value, OperatorError> {
        let mut wait = WAIT;
        let mut tries = 1;
        loop {
            let Answer { value, date, request_id, .. } = send().await;
            if date.is_some() {
                self.noted.borrow_mut().date = date;
            }
            let error = match value {
                Ok(value) => {
                    if changes {
                        self.note_done(request_id);
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            let this_wait = error.retry_after.unwrap_or(wait);
            if !may_help(&error) || tries == TRIES || this_wait > WAIT_MAX {
                return Err(OperatorError::Asked { what: what.to_owned(), changes, request_id, source: error });
            }
            tokio::time::sleep(this_wait).await;
            (wait, tries) = (wait.saturating_mul(2), tries + 1);
        }
    }
}

/// A certificate is not signed by the next time, and an answer that is not Stripe's does not become so.
fn may_help(error: &ReadError) -> bool {
    error.passing && !matches!(error.refusal.kind, RefusalKind::Untrusted)
}

fn unexpected(what: &str, why: &str) -> OperatorError {
    OperatorError::Unexpected { what: what.to_owned(), why: why.to_owned() }
}

/// An object as its type.
pub(super) fn decode<T: DeserializeOwned>(what: &str, value: Value) -> Result<T, OperatorError> {
    serde_json::from_value(value).map_err(|error| unexpected(what, &error.to_string()))
}
