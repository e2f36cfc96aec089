//! A TCP address or a socket of this machine, where one is configured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api;
use crate::jobs::Context;
use crate::model::{Problem, split_hint};

/// An address that is taken is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// What is answered there.
pub(super) struct Door {
    /// The problem's code where it cannot be had.
    pub(super) code: &'static str,
    /// What is done there, as `metrics are served`.
    pub(super) done: &'static str,
    /// As `metrics are not served`.
    pub(super) not_done: &'static str,
    /// The setting that names the address.
    pub(super) setting: &'static str,
    /// What is asked for there.
    pub(super) path: &'static str,
}

impl Door {
    /// Listens; `None` once told to stop. An address that cannot be had is a problem in status, and keeps nobody from
    /// measuring.
    pub(super) async fn open(
        &self,
        context: &Context,
        address: SocketAddr,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<TcpListener> {
        self.open_at(Some(context), &address, stop).await
    }

    /// The same at any kind of place. Without a context, as while there is no ledger, what is wrong is only logged.
    pub(super) async fn open_at<P: Place>(
        &self,
        context: Option<&Context>,
        place: &P,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<P::Listener> {
        let Self { code, done, not_done, setting, path } = self;
        loop {
            match (place.listen(path).await, context) {
                (Ok((listener, at)), context) => {
                    if let Some(context) = context {
                        context.clear(code);
                    }
                    tracing::info!("{done} on {at}");
                    return Some(listener);
                }
                (Err(error), Some(context)) => context.raise(Problem::needs_someone(
                    code,
                    format!("{not_done} on {}: {error}", place.shown()),
                    format!("it is tried again by itself; or set another {setting} in usaged.toml, then: systemctl restart usaged"),
                )),
                (Err(error), None) => tracing::warn!("{not_done} on {}: {error}", place.shown()),
            }
            tokio::select! {
                _ = stop.changed() => return None,
                () = sleep(AGAIN) => {}
            }
        }
    }
}

/// Where one can listen.
pub(super) trait Place: Sync {
    /// By what callers are taken in.
    type Listener: Send;

    /// As the configuration names it.
    fn shown(&self) -> String;

    /// With where it is, down to the path that is asked for there.
    fn listen(&self, path: &str) -> impl Future<Output = Result<(Self::Listener, String), String>> + Send;
}

impl Place for SocketAddr {
    type Listener = TcpListener;

    fn shown(&self) -> String {
        self.to_string()
    }

    async fn listen(&self, path: &str) -> Result<(TcpListener, String), String> {
        let listener = TcpListener::bind(self).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        Ok((listener, format!("http://{address}{path}")))
    }
}

impl Place for PathBuf {
    type Listener = api::Socket;

    fn shown(&self) -> String {
        format!("unix:{}", self.display())
    }

    async fn listen(&self, _path: &str) -> Result<(api::Socket, String), String> {
        let socket = api::bind(self).await.map_err(|error| split_hint(&error.to_string()).0.to_owned())?;
        Ok((socket, self.shown()))
    }
}
