use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use secrecy::SecretString;
use tokio::time::timeout;

use super::event;
use super::signature::{self, Refused};
use crate::model::Event;

/// The largest body that is read. An event of a subscription with its twenty items is some 60 KiB.
const BODY_MAX: usize = 256 * 1024;
/// A body must arrive within this time.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

/// Where what was let in goes, and what it is checked by.
pub trait Inbox: Send + Sync {
    /// Any of these signs what comes.
    fn secrets(&self) -> Vec<SecretString>;
    /// The time, unix seconds.
    fn now_s(&self) -> i64;
    /// Takes an event. Once it is on disk, or comes to nothing, it is answered.
    fn take(&self, event: Event) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>>;
    /// One was turned away.
    fn refused(&self, why: Refused);
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is on disk, or was already, or is about nothing that is billed here.
    Done,
    /// It could not be stored; the provider sends it again.
    NotNow,
}

/// `POST /webhooks/stripe` and `/webhooks/lemon-squeezy`, and nothing else.
pub fn router(inbox: Arc<dyn Inbox>) -> Router {
    Router::new()
        .route("/webhooks/stripe", post(by_stripe))
        .route("/webhooks/lemon-squeezy", post(by_lemon_squeezy))
        .with_state(inbox)
}

async fn by_stripe(State(inbox): State<Arc<dyn Inbox>>, headers: HeaderMap, body: Body) -> Response {
    let body = match arrived(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    match signature::stripe(&inbox.secrets(), signature, &body, inbox.now_s()) {
        Ok(()) => take(&*inbox, event::of_stripe(&body)).await,
        Err(why) => refuse(&*inbox, why),
    }
}

async fn by_lemon_squeezy(State(inbox): State<Arc<dyn Inbox>>, headers: HeaderMap, body: Body) -> Response {
    let body = match arrived(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let signature = headers.get("x-signature").and_then(|value| value.to_str().ok());
    match signature::lemon_squeezy(&inbox.secrets(), signature, &body) {
        Ok(()) => take(&*inbox, event::of_lemon_squeezy(&body)).await,
        Err(why) => refuse(&*inbox, why),
    }
}

/// The provider's own page shows these words to whoever looks why a delivery failed.
async fn take(inbox: &dyn Inbox, event: Result<Event, String>) -> Response {
    match event {
        Err(why) => {
            tracing::warn!("a signed webhook is not understood: {why}");
            (StatusCode::BAD_REQUEST, "this is no event that is understood\n").into_response()
        }
        Ok(event) => match inbox.take(event).await {
            Taken::Done => (StatusCode::OK, "taken\n").into_response(),
            Taken::NotNow => {
                (StatusCode::SERVICE_UNAVAILABLE, "it cannot be stored now, send it again\n").into_response()
            }
        },
    }
}

fn refuse(inbox: &dyn Inbox, why: Refused) -> Response {
    inbox.refused(why);
    let status = if why == Refused::NoSecret { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
    (status, format!("{why}\n")).into_response()
}

/// The raw bytes: it is them that were signed.
async fn arrived(body: Body) -> Result<Bytes, StatusCode> {
    match timeout(ARRIVAL_MAX, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
