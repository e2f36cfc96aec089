//! Answering callers of whom nothing is known: on TCP, or on a socket that others than our own callers may open.

use std::io;
use std::sync::Arc;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::server::{FULL, cannot_accept, converse, drain, note};
use super::{Limits, Socket};

/// Where callers come in.
pub trait Door: Send {
    /// A conversation.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// Waits for the next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Says something to one for whom there is no room, if it can be said without waiting.
    fn tell(stream: &Self::Stream, what: &[u8]) -> io::Result<usize>;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(Self::accept(self).await?.0)
    }

    fn tell(stream: &TcpStream, what: &[u8]) -> io::Result<usize> {
        stream.try_write(what)
    }
}

impl Door for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    fn tell(stream: &UnixStream, what: &[u8]) -> io::Result<usize> {
        stream.try_write(what)
    }
}

/// Answers until `shutdown`, each caller one question, and at most so many at once.
pub async fn serve_strangers<D: Door>(
    door: D,
    router: Router,
    connections_max: usize,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let service = TowerToHyperService::new(router);
    let places = Arc::new(Semaphore::new(connections_max));
    let (stop, stopped) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = open.join_next() => note(ended),
            accepted = door.accept() => match accepted {
                Ok(stream) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        open.spawn(converse(stream, None, place, service.clone(), limits, stopped.clone()));
                    }
                    Err(_) => if let Err(error) = D::tell(&stream, FULL) {
                        tracing::debug!(%error, "could not tell a caller that there is no room");
                    }
                },
                Err(error) => cannot_accept(&error).await,
            },
        }
    }
    drop(door);
    stop.send_replace(true);
    drain(open, limits.grace).await;
}
