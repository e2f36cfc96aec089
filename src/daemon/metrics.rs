//! Metrics on a loopback address, where one is configured.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::door::Door;
use crate::api::{self, Desk, Limits};
use crate::jobs::Context;

/// Answers until told to stop.
pub(super) async fn run(
    context: Arc<Context>,
    desk: Arc<dyn Desk>,
    limits: Limits,
    address: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let door = Door {
        code: "metrics_not_served",
        done: "metrics are served",
        not_done: "metrics are not served",
        setting: "metrics.listen",
        path: "/metrics",
    };
    if let Some(listener) = door.open(&context, address, &mut stop).await {
        let end = async move { drop(stop.changed().await) };
        api::serve_metrics(listener, desk, limits, end).await;
    }
}
