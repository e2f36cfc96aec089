//! Cron, by tokio-cron-scheduler. It only nudges; jobs decide what is to be done.

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds};
use tokio_cron_scheduler::{
    Job, JobScheduler, JobSchedulerError, SimpleJobCode, SimpleNotificationCode, SimpleNotificationStore,
};

use super::patience::Patience;
use super::pusher::{Nudge, Nudges};
use crate::config::Schedule;
use crate::jobs;
use crate::model::Timestamp;

/// What the scheduler's actors may be behind by. There are four jobs, of three messages each; the scheduler's own measure is
/// for hundreds, and all of it is held in memory.
const CHANNEL: usize = 16;

/// A running schedule. A new one takes its place after a reload.
pub(super) struct Running(JobScheduler);

/// Starts the configured schedules.
pub(super) async fn start(schedule: &Schedule, nudges: Nudges) -> Result<Running, JobSchedulerError> {
    let scheduler = JobScheduler::new_with_storage_and_code(
        Box::new(Patience::default()),
        Box::new(SimpleNotificationStore::default()),
        Box::new(SimpleJobCode::default()),
        Box::new(SimpleNotificationCode::default()),
        CHANNEL,
    )
    .await?;
    let jobs = [
        (&schedule.push, Nudge::Scheduled),
        (&schedule.reconcile, Nudge::Reconcile),
        (&schedule.compact, Nudge::Compact),
        (&schedule.look, Nudge::Look(jobs::Because::Schedule)),
    ];
    for (cron, nudge) in jobs {
        let nudges = nudges.clone();
        scheduler.add(Job::new(cron.as_str(), move |_, _| nudges.send(nudge))?).await?;
    }
    scheduler.start().await?;
    Ok(Running(scheduler))
}

impl Running {
    /// Ends it.
    pub(super) async fn stop(mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!("the schedule was gone already: {error}");
        }
    }
}

/// When a cron expression fires next, for `status`. It fires at full seconds, and is looked for from one: the parser
/// would carry a fraction over.
pub(super) fn next(cron: &str, now: Timestamp) -> Option<Timestamp> {
    let pattern = CronParser::builder().seconds(Seconds::Required).build().parse(cron).ok()?;
    let now: DateTime<Utc> = DateTime::from_timestamp(now.secs(), 0)?;
    let next = pattern.find_next_occurrence(&now, false).ok()?;
    Some(Timestamp::from_secs(next.timestamp()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_schedule_nudges_each_time_it_comes() {
        let (send, mut inbox) = super::super::pusher::nudges();
        let often = Schedule {
            sample_every: Duration::from_mins(1),
            push: "*/4 * * * * *".to_owned(),
            spread: Duration::ZERO,
            reconcile: "0 0 0 1 1 *".to_owned(),
            compact: "0 0 0 1 1 *".to_owned(),
            look: "0 0 0 1 1 *".to_owned(),
        };
        let running = start(&often, send).await.unwrap();
        for _ in 0..2 {
            let nudge = tokio::time::timeout(Duration::from_secs(20), inbox.recv()).await;
            assert_eq!(nudge.expect("nothing came for 20 s"), Some(Nudge::Scheduled));
        }
        running.stop().await;
    }

    #[test]
    fn the_next_run_of_an_hourly_schedule_is_the_next_full_hour() {
        let at = |text| Timestamp::parse(text).unwrap();
        assert_eq!(next("0 0 * * * *", at("2026-11-05T12:30:00.25Z")), Some(at("2026-11-05T13:00:00Z")));
        assert_eq!(next("not cron", at("2026-11-05T12:30:00Z")), None);
    }
}
