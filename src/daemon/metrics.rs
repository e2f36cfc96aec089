//! Metrics on a loopback address, where one is configured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::{self, Desk, Limits};
use crate::jobs::Context;
use crate::model::Problem;

const NOT_SERVED: &str = "metrics_not_served";
/// An address that is taken is tried again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// Answers until told to stop. An address that cannot be had is a problem in status, and keeps nobody from measuring.
pub(super) async fn run(
    context: Arc<Context>,
    desk: Arc<dyn Desk>,
    limits: Limits,
    address: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        match listen(address).await {
            Ok((listener, address)) => {
                context.clear(NOT_SERVED);
                tracing::info!("metrics are served on http://{address}/metrics");
                let end = async move { drop(stop.changed().await) };
                return api::serve_metrics(listener, desk, limits, end).await;
            }
            Err(error) => context.raise(Problem::needs_someone(
                NOT_SERVED,
                format!("metrics are not served on {address}: {error}"),
                "it is tried again by itself; or set another metrics.listen in usaged.toml, then: systemctl restart usaged",
            )),
        }
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

/// With the address that it became.
async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
