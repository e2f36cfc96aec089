//! What the cron scheduler knows of its jobs. It asks twice a second which of them is due, day and night; here the answer
//! takes until one of them nearly is, so that an idle VM is left alone.

use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;
use tokio_cron_scheduler::job::job_data::{JobAndNextTick, JobStoredData};
use tokio_cron_scheduler::store::{DataStore, InitStore};
use tokio_cron_scheduler::{JobSchedulerError, MetaDataStorage, SimpleMetadataStore};
use uuid::Uuid;

use crate::clock::{Clock as _, SystemClock};

/// This long before a job is due the scheduler keeps its own rhythm again.
const NEAR_S: u64 = 2;
/// A clock that was set, or a machine that slept, is noticed within this time.
const LOOK_AGAIN_S: u64 = 60;

/// Keeps jobs in memory, as the scheduler's own store does.
#[derive(Default)]
pub(super) struct Patience(SimpleMetadataStore);

/// How long nothing can be due, given when each job is, in seconds since 1970; 0 is never.
fn quiet(due_s: impl Iterator<Item = u64>, now_s: u64) -> Duration {
    let soonest = due_s.filter(|due| *due != 0).min().unwrap_or(u64::MAX);
    Duration::from_secs(soonest.saturating_sub(now_s).saturating_sub(NEAR_S).min(LOOK_AGAIN_S))
}

type Later<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

impl MetaDataStorage for Patience {
    /// The scheduler read its clock before it asked. So what becomes due while this waits is seen when it asks again,
    /// half a second later.
    fn list_next_ticks(&mut self) -> Later<Vec<JobAndNextTick>> {
        let list = self.0.list_next_ticks();
        Box::pin(async move {
            let jobs = list.await?;
            let now_s = u64::try_from(SystemClock.read().wall.secs()).unwrap_or(0);
            sleep(quiet(jobs.iter().map(|job| job.next_tick), now_s)).await;
            Ok(jobs)
        })
    }

    fn set_next_and_last_tick(
        &mut self,
        job: Uuid,
        next: Option<DateTime<Utc>>,
        last: Option<DateTime<Utc>>,
    ) -> Later<()> {
        self.0.set_next_and_last_tick(job, next, last)
    }

    fn time_till_next_job(&mut self) -> Later<Option<Duration>> {
        self.0.time_till_next_job()
    }
}

impl DataStore<JobStoredData> for Patience {
    fn get(&mut self, job: Uuid) -> Later<Option<JobStoredData>> {
        self.0.get(job)
    }

    fn add_or_update(&mut self, job: JobStoredData) -> Later<()> {
        self.0.add_or_update(job)
    }

    fn delete(&mut self, job: Uuid) -> Later<()> {
        self.0.delete(job)
    }
}

impl InitStore for Patience {
    fn init(&mut self) -> Later<()> {
        self.0.init()
    }

    fn inited(&mut self) -> Later<bool> {
        self.0.inited()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_until_shortly_before_the_first_job_and_never_for_long() {
        let quiet_s = |due: &[u64]| quiet(due.iter().copied(), 1_000).as_secs();
        assert_eq!(quiet_s(&[1_030, 1_010]), 8);
        assert_eq!(quiet_s(&[1_002, 5_000]), 0);
        assert_eq!(quiet_s(&[900]), 0, "a job that was missed is due");
        assert_eq!(quiet_s(&[5_000]), 60);
        assert_eq!(quiet_s(&[0]), 60);
    }
}
