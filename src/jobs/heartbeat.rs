//! Heartbeat: a sign of life for a monitor of the operator's, given only while all is well. Its silence is the alarm.

use std::sync::Arc;

use super::problems::Seen;
use super::sample::HasSampled;
use super::{Context, JobError, problems};
use crate::model::{Problem, micros_of};

const FAILING: &str = "heartbeat_failing";

/// Problems with which pushes do not do what they should, beside everything that is held.
const UNWELL: [&str; 11] = [
    "database_unavailable",
    "deadline_near",
    "identity_changed",
    "no_sample",
    "provider_unusable",
    "push_failing",
    "push_refused",
    "push_stopped",
    "seed_failed",
    "standing_unreadable",
    "subscription_unreadable",
];

/// Gives it, where it is due and all is well.
pub async fn heartbeat(context: &Arc<Context>) -> Result<(), JobError> {
    let settings = context.settings();
    let Some(address) = &settings.config.alerts.heartbeat else {
        context.clear(FAILING);
        return Ok(());
    };
    let now_us = context.clock.read().boottime_us;
    let every_us = micros_of(settings.config.alerts.heartbeat_every);
    let is_early = |last_us: i64| now_us.saturating_sub(last_us) < every_us;
    let was_given = context.live().alerts.last_beat_us.is_some_and(is_early);
    if was_given || !is_well(context).await? {
        return Ok(());
    }
    context.live().alerts.last_beat_us = Some(now_us);
    match context.web.get(address).await {
        Ok(()) => context.clear(FAILING),
        // In other words than before it would be said again, each time.
        Err(_) if context.problems().iter().any(|problem| problem.code == FAILING) => {}
        Err(error) => context.raise(Problem::note(
            FAILING,
            format!("the heartbeat does not arrive at {address}: {error}"),
            "see alerts.heartbeat in usaged.toml, and whether this machine reaches that host",
        )),
    }
    Ok(())
}

/// A sample was stored, the last push did what it should, and the ledger can be read.
async fn is_well(context: &Arc<Context>) -> Result<bool, JobError> {
    {
        let live = context.live();
        if live.has_sampled != HasSampled::Stored || !live.alerts.has_pushed {
            return Ok(false);
        }
    }
    if context.store.damage().borrow().is_some() {
        return Ok(false);
    }
    let seen = Seen::by(context);
    let standing = context.store.read(move |c| problems::standing(c, &seen)).await?;
    Ok(!standing.iter().any(|wanted| UNWELL.contains(&wanted.problem.code.as_str())))
}
