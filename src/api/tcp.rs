//! Answering on TCP, to callers without credentials.

use std::sync::Arc;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Limits;
use super::server::{FULL, cannot_accept, converse, drain, note};

/// Answers until `shutdown`, each caller one question, and at most so many at once.
pub async fn serve_tcp(
    listener: TcpListener,
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
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        open.spawn(converse(stream, None, place, service.clone(), limits, stopped.clone()));
                    }
                    Err(_) => if let Err(error) = stream.try_write(FULL) {
                        tracing::debug!(%error, "could not tell a caller that there is no room");
                    }
                },
                Err(error) => cannot_accept(&error).await,
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    drain(open, limits.grace).await;
}
