//! Activates the alerts: after each push and once a minute, and whenever a message is due. Commands run here, so that one
//! that hangs holds up nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::jobs::{self, Context};
use crate::model::Timestamp;

const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Nothing is so urgent that it may spin.
const SOONEST: Duration = Duration::from_secs(1);

/// Runs until told to stop; a command that runs then is ended, and its message is told at the next start. `pushed` changes
/// after each push.
pub(super) async fn run(context: Arc<Context>, mut pushed: watch::Receiver<()>, mut stop: watch::Receiver<bool>) {
    let mut wake = Instant::now() + LOOK_EVERY;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            Ok(()) = pushed.changed() => {}
            () = sleep_until(wake) => {}
        }
        let round = round(&context);
        let next = tokio::select! {
            _ = stop.changed() => return,
            next = round => next,
        };
        wake = Instant::now() + next.clamp(SOONEST, LOOK_EVERY);
    }
}

/// Returns after how long something is due.
async fn round(context: &Arc<Context>) -> Duration {
    if let Err(error) = jobs::look_for_alerts(context).await {
        tracing::warn!("alerts were not looked for, and are in a minute: {error}");
    }
    if let Err(error) = jobs::heartbeat(context).await {
        tracing::warn!("no heartbeat was given: {error}");
    }
    match jobs::tell(context).await {
        Ok(next) => next.map_or(LOOK_EVERY, |at| until(context, at)),
        Err(error) => {
            tracing::warn!("alerts were not told, and are in a minute: {error}");
            LOOK_EVERY
        }
    }
}

fn until(context: &Context, at: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(at.since(context.now())).unwrap_or(0))
}
