//! Activates the sample job at the configured interval.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::notify;
use crate::jobs::{self, Context, JobError};
use crate::model::{Problem, Severity};
use crate::provider::Provider;

/// Runs until told to stop. The interval is read anew each time, so a reload takes effect with the next sample. `due`
/// shows when the next round has to begin.
pub(super) async fn run(context: Arc<Context>, due: watch::Sender<Instant>, mut stop: watch::Receiver<bool>) {
    let mut next = Instant::now();
    loop {
        due.send_replace(next);
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep_until(next) => {}
        }
        if let Err(error) = measure(&context).await {
            // It is a problem in status already; the next round counts from the last stored one.
            tracing::debug!("this round was not stored: {error}");
        }
        let bills = !matches!(context.settings().provider, Provider::None);
        notify::status(&in_a_line(bills, &context.problems()));
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

/// For `systemctl status`: what this process knows without asking the database.
fn in_a_line(bills: bool, problems: &[Problem]) -> String {
    let needing: Vec<&Problem> = problems.iter().filter(|problem| problem.severity == Severity::Problem).collect();
    let Some(first) = needing.first() else {
        let what = if bills { "measuring" } else { "measuring, billing nothing: no provider is set" };
        return format!("{what}; usagectl status shows the figures");
    };
    // A second line would be another word to systemd.
    let what = first.what.lines().next().unwrap_or_default();
    match needing.len() {
        1 => format!("needs someone: {what}; see usagectl status"),
        several => format!("{several} problems need someone: {what}; see usagectl status"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_says_what_needs_someone_and_stays_one_line() {
        let problems = [
            Problem::note("a", "only a note", ""),
            Problem::needs_someone("b", "the disk is full\nhint: WATCHDOG=trigger", ""),
            Problem::needs_someone("c", "more", ""),
        ];
        assert_eq!(in_a_line(true, &problems), "2 problems need someone: the disk is full; see usagectl status");
        assert_eq!(in_a_line(true, &problems[..1]), "measuring; usagectl status shows the figures");
        assert!(in_a_line(false, &[]).contains("billing nothing"));
    }
}
