use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::access::Guest;
use super::pools::Pools;
use super::routes::router;
use super::{Access, Caller, Desk, Rank, Socket};

/// Sent by hand where there is no room to start a conversation.
pub(super) const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: application/json\r\n\
    Connection: close\r\nContent-Length: 63\r\n\r\n{\"code\":\"busy\",\"error\":\"too many connections are open at once\"}";

/// At the end, who has not asked anything yet gets this long to do so.
const FIRST_WORDS: Duration = Duration::from_secs(1);

/// Bounds on what callers can ask of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body, bytes.
    pub body_max: usize,
    /// Most records in one request.
    pub records_max: usize,
    /// Connections at once, for those who record and again for those who command.
    pub connections_max: usize,
    /// Connections at once for all who may do nothing; enough to tell them so.
    pub strangers_max: usize,
    /// A request's head, and then its body, must arrive within this time; who takes nothing of an answer for so long loses
    /// its place.
    pub arrival_max: Duration,
    /// At the end, requests in flight get this long.
    pub grace: Duration,
}

impl Limits {
    /// The bounds of the intake, with everything else as it ships.
    #[must_use]
    pub fn new(body_max: usize, records_max: usize) -> Self {
        let (arrival_max, grace) = (Duration::from_secs(10), Duration::from_secs(5));
        // A program with 64 workers, each with a connection of its own, and room beside it.
        Self { body_max, records_max, connections_max: 96, strangers_max: 4, arrival_max, grace }
    }
}

/// Answers until `shutdown`, then takes the socket away, lets requests in flight end within the grace, and returns.
pub async fn serve(
    socket: Socket,
    desk: Arc<dyn Desk>,
    access: Access,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let service = TowerToHyperService::new(router(desk, limits));
    let pools = Pools::new(limits.connections_max, limits.strangers_max);
    let (stop, stopped) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = open.join_next() => note(ended),
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) => if let Some((guest, place)) = admit(&stream, &access, &pools) {
                    open.spawn(converse(stream, Some(guest), place, service.clone(), limits, stopped.clone()));
                },
                Err(error) => cannot_accept(&error).await,
            },
        }
    }
    drop(socket);
    stop.send_replace(true);
    drain(open, limits.grace).await;
}

/// Out of file descriptors, most likely: one that closes makes room again.
pub(super) async fn cannot_accept(error: &std::io::Error) {
    tracing::warn!(%error, "cannot take a connection; trying again in a second");
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Lets what was asked end, for so long.
pub(super) async fn drain(mut open: JoinSet<()>, grace: Duration) {
    let drained = tokio::time::timeout(grace, async {
        while let Some(ended) = open.join_next().await {
            note(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(requests = open.len(), "cut off requests that took longer than the grace");
    }
}

pub(super) fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a request ended in a fault of this program");
    }
}

fn admit(stream: &UnixStream, access: &Access, pools: &Pools) -> Option<(Guest, OwnedSemaphorePermit)> {
    let credentials = match stream.peer_cred() {
        Ok(credentials) => credentials,
        Err(error) => {
            tracing::warn!(%error, "turned a caller away whose credentials cannot be read");
            return None;
        }
    };
    let guest = access.guest(Caller { uid: credentials.uid(), gid: credentials.gid() });
    let place = pools.enter(guest.rank);
    if place.is_none() {
        tracing::warn!(uid = guest.caller.uid, "turned a caller away: too many connections at once");
        if let Err(error) = stream.try_write(FULL) {
            tracing::debug!(%error, "could not say so");
        }
    }
    place.map(|place| (guest, place))
}

/// Answers one connection. Who cannot be known as a guest asks one thing only.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    guest: Option<Guest>,
    place: OwnedSemaphorePermit,
    service: TowerToHyperService<Router>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    // A caller that has said all it wants to (`nc -N`) or went away still has its command carried out to the end.
    builder.half_close(true).keep_alive(guest.as_ref().is_some_and(|guest| guest.rank > Rank::Stranger));
    builder.timer(TokioTimer::new()).header_read_timeout(limits.arrival_max);
    let asked = Arc::new(Notify::new());
    let asks = Arc::clone(&asked);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        asks.notify_one();
        if let Some(guest) = &guest {
            request.extensions_mut().insert(guest.clone());
        }
        service.call(request)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.arrival_max));
    let conversation = builder.serve_connection(TokioIo::new(Box::pin(stream)), answer);
    tokio::pin!(conversation);
    // Who has come through the door and not asked yet is heard: closed at once, it would be turned away by a restart.
    let stop = async {
        _ = stopped.wait_for(|stopped| *stopped).await.is_ok();
        _ = tokio::time::timeout(FIRST_WORDS, asked.notified()).await.is_ok();
    };
    let ended = tokio::select! {
        ended = conversation.as_mut() => Some(ended),
        () = stop => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        conversation.as_mut().graceful_shutdown();
        conversation.await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a caller went away");
    }
    drop(place);
}
