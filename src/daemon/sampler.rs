//! Activates the sample job at the configured interval.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::notify;
use crate::jobs::{self, Context, JobError};

/// Runs until told to stop. The interval is read anew each time, so a reload takes effect with the next sample.
pub(super) async fn run(context: Arc<Context>, mut stop: watch::Receiver<bool>) {
    let mut next = Instant::now();
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep_until(next) => {}
        }
        match measure(&context).await {
            Ok(()) => notify::status("measuring; usagectl status shows the figures"),
            // It is a problem in status already; the next round counts from the last stored one.
            Err(error) => notify::status(&format!("measuring, but {error}")),
        }
        let every = context.settings().config.schedule.sample_every;
        // After a pause the rhythm begins anew, instead of catching up: one reading says it all.
        next = (next + every).max(Instant::now());
    }
}

/// What should stand is kept up to date with every sample, so that `status` shows what is unsent, and since when.
async fn measure(context: &Arc<Context>) -> Result<(), JobError> {
    jobs::sample(context).await?;
    jobs::roll_up_open(context).await
}
