//! A TCP address of this machine, where one is configured.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::jobs::Context;
use crate::model::Problem;

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
        let Self { code, done, not_done, setting, path } = self;
        loop {
            match listen(address).await {
                Ok((listener, address)) => {
                    context.clear(code);
                    tracing::info!("{done} on http://{address}{path}");
                    return Some(listener);
                }
                Err(error) => context.raise(Problem::needs_someone(
                    code,
                    format!("{not_done} on {address}: {error}"),
                    format!("it is tried again by itself; or set another {setting} in usaged.toml, then: systemctl restart usaged"),
                )),
            }
            tokio::select! {
                _ = stop.changed() => return None,
                () = sleep(AGAIN) => {}
            }
        }
    }
}

/// With the address that it became.
async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
