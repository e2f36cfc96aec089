//! One request in, one answer out.
//!
//! The order: who asks, how often, in which media type, for what; then the work. It is one transaction, and the answer
//! is given after it is on disk.

use rusqlite::TransactionBehavior;
use serde_json::Value;

use super::super::LoggedRequest;
use super::super::books;
use super::super::exchange::{Outcome, Reply, Request, http_date, pretty, spoil, wait};
use super::super::faults::Effect;
use super::super::server::Answers;
use super::call::{Call, Handler, Query};
use super::errors::ApiError;
use super::webhooks::{self, Webhook};
use super::{Inner, behaviour, billing, control, events, invoices, items, prices, store, subscriptions, usage_records};

const MEDIA_TYPE: &str = "application/vnd.api+json";
/// Keys of the sandbox begin like this. Real ones do not tell live from test, so none of them is let in.
const KEY_PREFIX: &str = "sandbox.";

/// Where a request goes.
struct Route<'a> {
    handler: Handler,
    /// The object that the path names.
    id: &'a str,
}

/// What the work came to.
struct Done {
    status: u16,
    body: String,
    retry_after: Option<u32>,
    /// Requests of this minute that are left, where it was let in.
    left: Option<u32>,
}

impl Done {
    fn refused(error: &ApiError) -> Self {
        Self { status: error.status, body: pretty(&error.body()), retry_after: error.retry_after, left: None }
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

async fn exchange(inner: &Inner, request: &Request) -> Outcome {
    let fault = inner.faults.take(&request.method, &request.path);
    let effect = fault.as_ref().map_or(&Effect::None, |fault| &fault.effect);
    let key = key(request);
    let admitted = admit(inner, request, key);
    let done = match admitted {
        Ok((route, left)) => {
            wait(fault.as_ref()).await;
            Done { left: Some(left), ..work(inner, request, &route, effect) }
        }
        Err(error) => Done::refused(&error),
    };
    let body = String::from_utf8_lossy(&request.body);
    inner.log.add(LoggedRequest {
        at: inner.clock.now(),
        method: request.method.clone(),
        path: request.path.clone(),
        parameters: if body.is_empty() { request.query.clone() } else { body.into_owned() },
        key: key.map(redact).unwrap_or_default(),
        idempotency_key: request.header("idempotency-key").map(str::to_owned),
        stripe_version: None,
        content_type: request.header("content-type").map(str::to_owned),
        status: done.status,
        replayed: false,
        fault: fault.as_ref().map(|fault| fault.effect.clone()),
    });
    if matches!(effect, Effect::CutBeforeCommit | Effect::CutAfterCommit) {
        return Outcome::Cut;
    }
    Outcome::Answer(reply(inner, done, effect))
}

/// The key, if it is one of the sandbox's.
fn key(request: &Request) -> Option<&str> {
    let key = request.header("authorization")?.strip_prefix("Bearer ")?;
    let rest = key.strip_prefix(KEY_PREFIX)?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (!rest.is_empty() && rest.len() <= 2_000 && rest.bytes().all(is_word)).then_some(key)
}

fn redact(key: &str) -> String {
    let tail = key.len().checked_sub(4).filter(|at| *at >= 16).and_then(|at| key.get(at..)).unwrap_or_default();
    format!("{KEY_PREFIX}…{tail}")
}

/// Lets a request in, and says how many more may follow in this minute.
fn admit<'a>(inner: &Inner, request: &'a Request, key: Option<&str>) -> Result<(Route<'a>, u32), ApiError> {
    key.ok_or_else(ApiError::unauthenticated)?;
    let left = inner.limit.count(inner.clock.now().secs())?;
    let names = |header: &str| {
        let mut types = request.header(header).unwrap_or_default().split(',').map(str::trim);
        types.any(|one| one.eq_ignore_ascii_case(MEDIA_TYPE))
    };
    if !names("accept") {
        return Err(ApiError::not_acceptable());
    }
    if request.method != "GET" && !names("content-type") {
        return Err(ApiError::media_type());
    }
    Ok((find(&request.method, &request.path)?, left))
}

fn find<'a>(method: &str, path: &'a str) -> Result<Route<'a>, ApiError> {
    let segments: Vec<&str> = path.strip_prefix("/v1/").ok_or_else(ApiError::not_found)?.split('/').collect();
    let (handler, id): (Handler, &str) = match (method, segments.as_slice()) {
        ("GET", ["users", "me"]) => (store::me, ""),
        ("GET", ["stores", id]) => (store::retrieve, id),
        ("GET", ["subscriptions", id]) => (subscriptions::retrieve, id),
        ("GET", ["subscription-items"]) => (items::list, ""),
        ("GET", ["subscription-items", id]) => (items::retrieve, id),
        ("GET", ["subscription-items", id, "current-usage"]) => (items::current_usage, id),
        ("GET", ["prices", id]) => (prices::retrieve, id),
        ("POST", ["usage-records"]) => (usage_records::create, ""),
        ("GET", ["usage-records"]) => (usage_records::list, ""),
        ("GET", ["subscription-invoices"]) => (invoices::list, ""),
        ("POST", ["webhooks"]) => (webhooks::create, ""),
        ("GET", ["webhooks"]) => (webhooks::list, ""),
        ("GET", ["webhooks", id]) => (webhooks::retrieve, id),
        ("PATCH", ["webhooks", id]) => (webhooks::update, id),
        ("DELETE", ["webhooks", id]) => (webhooks::delete, id),
        ("PATCH" | "DELETE", ["subscriptions" | "subscription-items", _]) => {
            return Err(ApiError::not_kept(&format!("{method} of what /v1/{} holds", segments.join("/"))));
        }
        _ => return Err(ApiError::not_found()),
    };
    Ok(Route { handler, id })
}

/// Does the work, unless the fault stands before it.
fn work(inner: &Inner, request: &Request, route: &Route<'_>, effect: &Effect) -> Done {
    let in_the_way = match effect {
        Effect::RateLimited { retry_after, .. } => Some(ApiError::too_many(*retry_after)),
        Effect::LockTimeout => Some(ApiError::too_many(None)),
        Effect::KeyInUse => Some(ApiError::in_use()),
        Effect::Unauthorized => Some(ApiError::unauthenticated()),
        Effect::ErrorBeforeCommit => Some(ApiError::internal()),
        Effect::Html => Some(ApiError::bad_gateway()),
        Effect::Refused(words) => Some(ApiError::chosen(words)),
        _ => None,
    };
    if let Some(error) = in_the_way {
        return Done::refused(&error);
    }
    match transact(inner, request, route, effect) {
        Ok(_) if *effect == Effect::ErrorAfterCommit => Done::refused(&ApiError::internal()),
        Ok(value) => {
            let (status, body) = match request.method.as_str() {
                "POST" => (201, pretty(&value)),
                "DELETE" => (204, String::new()),
                _ => (200, pretty(&value)),
            };
            Done { status, body, retry_after: None, left: None }
        }
        Err(error) => Done::refused(&error),
    }
}

fn transact(inner: &Inner, request: &Request, route: &Route<'_>, effect: &Effect) -> Result<Value, ApiError> {
    let now = inner.clock.now().secs();
    let mut connection = inner.books();
    let mut tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    billing::catch_up(&tx, now)?;
    let behaviour = behaviour::of(&tx)?;
    let query = Query::parse(&request.query);
    // What the handler stored stays only where it succeeded; what was due before it stays in any case.
    let savepoint = tx.savepoint()?;
    let call = Call { books: &savepoint, now, behaviour, query: &query, body: &request.body, id: route.id };
    let result = if *effect == Effect::CutBeforeCommit {
        if request.method == "POST" { usage_records::straggle(&call).map(|()| Value::Null) } else { Ok(Value::Null) }
    } else {
        (route.handler)(&call)
    };
    if result.is_ok() {
        events::tell(&savepoint, now)?;
        savepoint.commit()?;
    } else {
        drop(savepoint);
    }
    tx.commit()?;
    if request.path.starts_with("/v1/webhooks") {
        inner.bell.want(books::is_any::<Webhook>(&connection)?);
    }
    inner.bell.ring();
    result
}

fn reply(inner: &Inner, done: Done, effect: &Effect) -> Reply {
    let mut headers = vec![("date", http_date(inner.clock.now())), ("content-type", MEDIA_TYPE.to_owned())];
    if let (200..300, Some(left)) = (done.status, done.left) {
        headers.push(("x-ratelimit-limit", inner.limit.most().to_string()));
        headers.push(("x-ratelimit-remaining", left.to_string()));
    }
    headers.extend(done.retry_after.map(|seconds| ("retry-after", seconds.to_string())));
    let mut reply = Reply { status: done.status, headers, body: done.body };
    spoil(&mut reply, effect);
    reply
}
