//! One request in, one answer out.
//!
//! The order is Stripe's: who asks, in which version, for what; then the idempotency key; then the work. Work and
//! kept answer are one transaction, and the answer is given after it is on disk.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use rusqlite::TransactionBehavior;
use serde_json::{Value, json};

use super::auth::{self, Key};
use super::books;
use super::call::Call;
use super::errors::ApiError;
use super::events::{self, Cause, Moment};
use super::faults::{Effect, Fault};
use super::form::Form;
use super::idempotency::{self, Stored};
use super::in_flight::InFlight;
use super::limits::Running;
use super::routes::{self, Route};
use super::server::Answers;
use super::version::{PINNED_VERSION, Version};
use super::webhook_endpoints::Endpoint;
use super::{Inner, LoggedRequest, billing, control, expand, meter_events, test_clocks};
use crate::model::Timestamp;

/// So many bytes more than it should be is a gigantic answer.
const GIGANTIC: usize = 2 * 1_024 * 1_024;

/// A request as it came over the wire.
pub(super) struct Request {
    /// As `req_…`, drawn when it came.
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What goes back.
#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Reply),
    /// The connection ends without a byte.
    Cut,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// A request that is let in and understood.
struct Admitted<'a> {
    key: Key,
    version: Version,
    route: Route,
    form: Form,
    idempotency_key: Option<String>,
    _running: Running<'a>,
}

/// What the work came to.
struct Done {
    status: u16,
    body: String,
    /// The first request's id, where this is its answer again.
    replayed: Option<String>,
    /// Which limit stood against it.
    limited: Option<&'static str>,
    /// As [`ApiError::is_final`].
    is_final: bool,
}

impl Done {
    fn refused(error: &ApiError) -> Self {
        let (status, body) = (error.status, pretty(&error.body()));
        Self { status, body, replayed: None, limited: error.limited, is_final: error.is_final }
    }
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn idempotency_key(&self) -> Option<&str> {
        self.header("idempotency-key").filter(|_| self.method == "POST")
    }
}

impl Answers for Inner {
    async fn answer(&self, request: Request) -> Outcome {
        match control::answer(self, &request) {
            Some(reply) => Outcome::Answer(reply),
            None => exchange(self, &request).await,
        }
    }
}

/// Answers one request.
async fn exchange(inner: &Inner, request: &Request) -> Outcome {
    let fault = inner.faults.take(&request.method, &request.path);
    let admitted = admit(inner, request);
    let shown_key = admitted.as_ref().map_or_else(|_| String::new(), |admitted| admitted.key.shown());
    let effect = fault.as_ref().map_or(&Effect::None, |fault| &fault.effect);
    let done = match admitted {
        Ok(admitted) => match hold(inner, request, &admitted) {
            Ok(_marks) => {
                wait(fault.as_ref()).await;
                work(inner, request, &admitted, effect)
            }
            Err(error) => Done::refused(&error),
        },
        Err(error) => Done::refused(&error),
    };
    inner.log.add(LoggedRequest {
        at: inner.clock.now(),
        method: request.method.clone(),
        path: request.path.clone(),
        parameters: Form::parse(&[request.query.as_bytes(), b"&", &request.body].concat()).fingerprint(),
        key: shown_key,
        idempotency_key: request.idempotency_key().map(str::to_owned),
        stripe_version: request.header("stripe-version").map(str::to_owned),
        content_type: request.header("content-type").map(str::to_owned),
        status: done.status,
        replayed: done.replayed.is_some(),
        fault: fault.as_ref().map(|fault| fault.effect.clone()),
    });
    if matches!(effect, Effect::CutBeforeCommit | Effect::CutAfterCommit) {
        return Outcome::Cut;
    }
    Outcome::Answer(reply(inner, request, done, fault.as_ref()))
}

/// Lets the fault's delay pass.
pub(super) async fn wait(fault: Option<&Fault>) {
    if let Some(fault) = fault.filter(|fault| fault.delay_ms > 0) {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
}

fn admit<'a>(inner: &'a Inner, request: &Request) -> Result<Admitted<'a>, ApiError> {
    let key = auth::authenticate(&inner.books(), request.header("authorization"))?;
    let version = Version::parse(request.header("stripe-version").unwrap_or(PINNED_VERSION))?;
    let route = routes::find(&request.method, &request.path, &version);
    let route = route.ok_or_else(|| ApiError::unknown_url(&request.method, &request.path))?;
    let endpoint = route.endpoint(&request.method, &request.path);
    let running = inner.limiter.admit(endpoint, &route.id, inner.clock.now().secs())?;
    key.require(route.permission)?;
    let form = form(request)?;
    let idempotency_key = request.idempotency_key().map(str::to_owned);
    idempotency_key.as_deref().map_or(Ok(()), idempotency::check)?;
    Ok(Admitted { key, version, route, form, idempotency_key, _running: running })
}

fn form(request: &Request) -> Result<Form, ApiError> {
    let kind = request.header("content-type").unwrap_or_default();
    let is_form = kind.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    if request.method == "GET" || request.body.is_empty() {
        return Ok(Form::parse(request.query.as_bytes()));
    }
    if !is_form {
        return Err(ApiError::malformed(
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any \
             questions, we can help at https://support.stripe.com/.",
        ));
    }
    Ok(Form::parse(&[request.query.as_bytes(), b"&", &request.body].concat()))
}

/// Holds what no other request may have at the same time.
fn hold<'a>(inner: &'a Inner, request: &Request, admitted: &Admitted) -> Result<[InFlight<'a>; 2], ApiError> {
    let key = inner.in_flight.mark(admitted.idempotency_key.clone(), ApiError::key_in_use)?;
    let is_event = request.method == "POST" && request.path == "/v1/billing/meter_events";
    let object = if is_event { meter_events::object(&inner.books(), &admitted.form)? } else { None };
    let object = inner.in_flight.mark(object, |_| ApiError::locked())?;
    Ok([key, object])
}

/// Does the work, unless the fault stands before it.
fn work(inner: &Inner, request: &Request, admitted: &Admitted<'_>, effect: &Effect) -> Done {
    let in_the_way = match effect {
        Effect::RateLimited { .. } => Some(ApiError { limited: None, ..ApiError::rate_limited("") }),
        Effect::LockTimeout => Some(ApiError::locked()),
        Effect::KeyInUse => Some(ApiError::key_in_use(admitted.idempotency_key.as_deref().unwrap_or_default())),
        Effect::Unauthorized => {
            Some(ApiError::unauthorized(format!("Expired API Key provided: {}", admitted.key.shown())))
        }
        _ => None,
    };
    if let Some(error) = in_the_way {
        return Done::refused(&error);
    }
    if let Effect::Refused(words) = effect {
        let error = json!({
            "type": words.error_type, "code": words.code, "param": words.param, "message": words.message,
        });
        let body = pretty(&json!({ "error": error }));
        return Done { status: words.status, body, replayed: None, is_final: false, limited: None };
    }
    if matches!(effect, Effect::CutBeforeCommit | Effect::Html) {
        return Done { status: 502, body: String::new(), replayed: None, limited: None, is_final: false };
    }
    transact(inner, request, admitted, effect).unwrap_or_else(|error| Done::refused(&error))
}

fn transact(inner: &Inner, request: &Request, admitted: &Admitted<'_>, effect: &Effect) -> Result<Done, ApiError> {
    let now = inner.clock.now().secs();
    let mut connection = inner.books();
    let mut tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    billing::catch_up(&tx, now)?;
    let key = admitted.idempotency_key.as_deref();
    let fingerprint = admitted.form.fingerprint();
    if let Some(key) = key {
        match idempotency::look(&tx, key, &request.path, &fingerprint, now) {
            Ok(None) => {}
            Ok(Some(stored)) => {
                tx.commit()?;
                let Stored { status, body, request, is_final } = stored;
                return Ok(Done { status, body, replayed: Some(request), limited: None, is_final });
            }
            Err(error) => {
                tx.commit()?;
                return Err(error);
            }
        }
    }
    let result = attempt(&mut tx, request, admitted, effect, now);
    let (status, body, is_kept, is_final) = match &result {
        Ok(value) => (200, pretty(value), true, false),
        Err(error) => (error.status, pretty(&error.body()), error.ran, error.is_final),
    };
    if let Some(key) = key.filter(|_| is_kept) {
        let stored = Stored { status, body: body.clone(), request: request.id.clone(), is_final };
        idempotency::keep(&tx, key, &request.path, &fingerprint, &stored, now)?;
    }
    tx.commit()?;
    if request.path.starts_with("/v1/webhook_endpoints") {
        inner.bell.want(books::is_any::<Endpoint>(&connection)?);
    }
    inner.bell.ring();
    Ok(Done { status, body, replayed: None, limited: None, is_final })
}

/// Runs the handler. What it stored stays only where it succeeded.
fn attempt(
    tx: &mut rusqlite::Transaction<'_>,
    request: &Request,
    admitted: &Admitted<'_>,
    effect: &Effect,
    now: i64,
) -> Result<Value, ApiError> {
    if *effect == Effect::ErrorBeforeCommit {
        return Err(ApiError::internal());
    }
    let savepoint = tx.savepoint()?;
    let Admitted { version, route, form, idempotency_key, .. } = admitted;
    let call = Call {
        books: &savepoint,
        now: test_clocks::time_of(&savepoint, &route.id, form, now)?,
        sandbox_now: now,
        version,
        form,
        id: &route.id,
        key: idempotency_key.as_deref(),
    };
    let value = (admitted.route.handler)(&call).and_then(|value| expand::apply(&call, value))?;
    let cause = Cause { id: Some(request.id.clone()), idempotency_key: idempotency_key.clone() };
    events::tell(&savepoint, Moment { at: call.now, sandbox_at: now }, &cause)?;
    savepoint.commit()?;
    if *effect == Effect::ErrorAfterCommit { Err(ApiError::internal()) } else { Ok(value) }
}

fn reply(inner: &Inner, request: &Request, done: Done, fault: Option<&Fault>) -> Reply {
    let mut headers = vec![
        ("date", http_date(inner.clock.now())),
        ("content-type", "application/json".to_owned()),
        ("request-id", request.id.clone()),
        ("stripe-version", request.header("stripe-version").unwrap_or(PINNED_VERSION).to_owned()),
    ];
    if let Some(key) = request.idempotency_key() {
        headers.push(("idempotency-key", key.to_owned()));
        let first = done.replayed.clone().unwrap_or_else(|| request.id.clone());
        headers.push(("original-request", first));
    }
    if done.replayed.is_some() {
        headers.push(("idempotent-replayed", "true".to_owned()));
    }
    headers.extend(done.limited.map(|reason| ("stripe-rate-limited-reason", reason.to_owned())));
    if done.is_final {
        headers.push(("stripe-should-retry", "false".to_owned()));
    }
    if done.status == 401 {
        headers.push(("www-authenticate", "Basic realm=\"Stripe\"".to_owned()));
    }
    let mut reply = Reply { status: done.status, headers, body: done.body };
    if let Some(fault) = fault {
        distort(&mut reply, fault);
    }
    reply
}

/// A `Date` header's text.
pub(super) fn http_date(now: Timestamp) -> String {
    let seconds = u64::try_from(now.secs()).unwrap_or(0);
    let date = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(std::time::UNIX_EPOCH);
    httpdate::fmt_http_date(date)
}

fn distort(reply: &mut Reply, fault: &Fault) {
    if let Some(should_retry) = fault.should_retry {
        reply.headers.retain(|(name, _)| *name != "stripe-should-retry");
        reply.headers.push(("stripe-should-retry", should_retry.to_string()));
    }
    if let Effect::RateLimited { reason, retry_after } = &fault.effect {
        reply.headers.push(("stripe-rate-limited-reason", reason.clone()));
        reply.headers.extend(retry_after.map(|seconds| ("retry-after", seconds.to_string())));
    }
    spoil(reply, &fault.effect);
}

/// What becomes of an answer on its way.
pub(super) fn spoil(reply: &mut Reply, effect: &Effect) {
    match effect {
        Effect::Html => {
            reply.headers.retain(|(name, _)| *name == "date");
            reply.headers.push(("content-type", "text/html".to_owned()));
            "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>\n"
                .clone_into(&mut reply.body);
        }
        Effect::TruncatedJson => {
            let half = reply.body.len().div_ceil(2);
            reply.body = reply.body.char_indices().take_while(|(at, _)| *at < half).map(|(_, letter)| letter).collect();
        }
        Effect::Gigantic => reply.body.push_str(&" ".repeat(GIGANTIC)),
        _ => {}
    }
}

pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
