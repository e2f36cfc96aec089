//! The wire: HTTP/1.1 connections, each request answered on a task of its own. The same for every provider.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::books;
use super::exchange::{Outcome, Reply, Request};

/// The largest body that is read, bytes.
const LARGEST: usize = 1_048_576;

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
struct Cut;

/// Who answers.
pub(super) trait Answers: Send + Sync + 'static {
    /// Answers one request. Runs to its end, whether or not the caller waits for it.
    fn answer(&self, request: Request) -> impl Future<Output = Outcome> + Send;
}

/// Requests that are being answered. A caller that goes away does not take its request back: as at Stripe, it may
/// still be done.
type Exchanges = Arc<Mutex<JoinSet<()>>>;

/// Serves until `shutdown`, then lets requests that have begun come to their end.
pub(super) async fn serve<A: Answers>(inner: Arc<A>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(());
    let exchanges: Exchanges = Arc::default();
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => {
                // An accept fails where the peer is gone already, or where files run out: the next one may not.
                let Ok((stream, _)) = accepted else {
                    tokio::task::yield_now().await;
                    continue;
                };
                connections.spawn(converse(inner.clone(), stream, exchanges.clone(), stopped.clone()));
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(stop);
    while connections.join_next().await.is_some() {}
    let mut left = std::mem::take(&mut *exchanges.lock().unwrap_or_else(PoisonError::into_inner));
    while left.join_next().await.is_some() {}
}

async fn converse<A: Answers>(
    inner: Arc<A>,
    stream: TcpStream,
    exchanges: Exchanges,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(|request| {
        let (inner, exchanges) = (inner.clone(), exchanges.clone());
        async move { answer(inner, request, &exchanges).await }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A connection that ends badly concerns its caller, who notices.
    drop(ended);
}

async fn answer<A: Answers>(
    inner: Arc<A>,
    request: hyper::Request<Incoming>,
    exchanges: &Exchanges,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|_| Cut)?.to_bytes();
    let request = Request {
        id: books::new_id("req_"),
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    let (done, outcome) = oneshot::channel();
    {
        let mut exchanges = exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        while exchanges.try_join_next().is_some() {}
        exchanges.spawn(async move {
            // Nobody waits any more where the caller has gone.
            drop(done.send(inner.answer(request).await));
        });
    }
    match outcome.await {
        Ok(Outcome::Answer(reply)) => Ok(response(reply)),
        Ok(Outcome::Cut) | Err(_) => Err(Cut),
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
