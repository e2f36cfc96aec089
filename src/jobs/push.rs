//! The reconciler of the whole flow: sample, read, roll up, deliver, close. A schedule, a retry, a command, a start and a
//! stop all activate this one job.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use super::deliver::Which;
use super::deliver::{self, Delivered};
use super::{Context, JobError, close, refresh, roll_up, run, sample};
use crate::model::{MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, Problem, Timestamp, micros_of};
use crate::outbox::{self, RecordState, UsageRecord};
use crate::provider::Provider;

/// A read subscription is believed this long within one generation.
const REFRESH_EVERY_US: i64 = 6 * MICROS_PER_HOUR;
/// The last push of a period starts this much before nothing may be sent any more, plus the VM's own offset.
const FINAL_LEAD_US: i64 = MICROS_PER_MINUTE;
/// The VM's own offset of the last push is drawn from this.
const FINAL_SPREAD: Duration = Duration::from_mins(10);
/// After a period's end its successor is read.
const AFTER_END_US: i64 = 30 * MICROS_PER_SECOND;
/// So long after the end the provider is away rather than late.
const LONG_AFTER_END_US: i64 = 10 * MICROS_PER_MINUTE;

const STOPPED: &str = "push_stopped";

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Rows that were set.
    pub set: u32,
    /// Rows that wait or are tried later.
    pub waiting: u32,
    /// Rows on which stood what should, when it was their turn.
    pub settled: BTreeSet<i64>,
    /// When the job wants to run again by itself: a retry, the last push of a period, a closing read.
    pub next: Option<Timestamp>,
}

/// Runs it. `because` is a word for `status`.
pub async fn push(context: &Arc<Context>, because: &str, which: Which) -> Result<Pushed, JobError> {
    let _one_at_a_time = context.pushing.lock().await;
    // What stands stays as it was when the ledger was left (rule S11).
    if context.intake.is_set_aside() {
        return Ok(Pushed::default());
    }
    let (why, started) = (because.to_owned(), context.now());
    context.store.write(move |tx| run::begin(tx, "push", &why, started)).await?;
    let pushed = bring(context, which).await;
    let result = match &pushed {
        Ok(pushed) => format!("{} set, {} waiting", pushed.set, pushed.waiting),
        Err(error) => format!("failed: {error}"),
    };
    match &pushed {
        // What cannot be read is named where it was read.
        Ok(_) | Err(JobError::Provider(_)) => context.clear(STOPPED),
        Err(error) => context.raise(Problem::needs_someone(
            STOPPED,
            format!("pushes stop before their end, so totals are not kept up to date: {error}"),
            error
                .hint()
                .unwrap_or_else(|| "it is tried again by itself; usagectl doctor looks at the database".to_owned()),
        )),
    }
    let finished = context.now();
    context.live().alerts.has_pushed = true;
    context.store.write(move |tx| run::finish(tx, "push", &result, finished)).await?;
    pushed
}

/// Samples, reads the subscriptions where that is due, and rates everything. False where nothing is billed.
pub(super) async fn prepare(context: &Arc<Context>) -> Result<bool, JobError> {
    sample::sample(context).await?;
    let bills = !matches!(context.settings().provider, Provider::None);
    let refreshed = if bills && needs_refresh(context).await? { refresh::refresh(context).await } else { Ok(()) };
    roll_up::roll_up(context).await?;
    // Without the provider's clock nothing may be sent; with it, a subscription that cannot be read stops no other.
    if bills && context.provider_now(context.clock.read()).is_none() {
        refreshed?;
    }
    Ok(bills)
}

async fn bring(context: &Arc<Context>, which: Which) -> Result<Pushed, JobError> {
    if !prepare(context).await? {
        return Ok(Pushed::default());
    }
    // What waits out a failure would wait until it is too late.
    let by_itself = matches!(which, Which::Due | Which::Scheduled);
    let which = if by_itself && is_final(context).await? { Which::Now } else { which };
    let delivered = deliver_twice(context, &which).await?;
    let (closed, next_close) = close::close(context).await?;
    if closed > 0 {
        // What the closed periods hand on belongs to the open ones' targets.
        roll_up::roll_up(context).await?;
    }
    let set = delivered.iter().filter(|(_, done)| matches!(done, Delivered::Set(_))).count();
    let is_settled = |done: &Delivered| matches!(done, Delivered::Set(_) | Delivered::Stood);
    let settled: BTreeSet<i64> = delivered.iter().filter(|(_, done)| is_settled(done)).map(|(id, _)| *id).collect();
    let next = earliest([next_close, next_wake(context).await?]);
    Ok(Pushed { set: count(set), waiting: count(delivered.len() - settled.len()), settled, next })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A period that has rolled, or an item that is not found, has the subscription read again, and is tried once more.
async fn deliver_twice(context: &Arc<Context>, which: &Which) -> Result<Vec<(i64, Delivered)>, JobError> {
    let mut delivered = deliver::deliver(context, which).await?;
    if !delivered.iter().any(|(_, done)| matches!(done, Delivered::NeedsRefresh(_))) {
        return Ok(delivered);
    }
    refresh::refresh(context).await.or_else(|error| if error.is_missing() { Ok(()) } else { Err(error) })?;
    roll_up::roll_up(context).await?;
    for (id, done) in &mut delivered {
        if matches!(done, Delivered::NeedsRefresh(_)) {
            *done = deliver::deliver_one(context, *id).await?;
            if let Delivered::NeedsRefresh(Some(what)) = done {
                deliver::hold_missing(context, *id, what.clone()).await?;
                *done = Delivered::Held;
            }
        }
    }
    // What the read explains is no refusal any more.
    deliver::forget_what_is_over(context).await?;
    Ok(delivered)
}

/// Subscriptions are read first after a start, after a wall-clock jump, before the last push of a period, once it is over,
/// and now and then.
async fn needs_refresh(context: &Context) -> Result<bool, JobError> {
    let reading = context.clock.read();
    let Some(provider_now) = context.provider_now(reading) else { return Ok(true) };
    let age_us = {
        let live = context.live();
        if live.subscriptions_read_in != Some(live.generation.id) {
            return Ok(true);
        }
        let read_at = live.subscriptions_read_boottime_us.unwrap_or(0);
        reading.boottime_us.saturating_sub(read_at)
    };
    let records = context.store.read(outbox::unfinished).await?;
    // What ends or is paused with the period is known before its last total leaves.
    let read_at = provider_now.minus(age_us);
    let is_final = |record: &UsageRecord| {
        let last = final_push(context, record);
        read_at < last && last <= provider_now
    };
    if age_us >= REFRESH_EVERY_US || sendable(&records).any(is_final) {
        return Ok(true);
    }
    let over = |record: &UsageRecord| record.state == RecordState::Open && provider_now >= record.period.to;
    let begun = context.store.read(crate::account::in_force).await?;
    let none_open = !records.iter().any(|record| record.state == RecordState::Open);
    Ok(records.iter().any(over) || begun.is_some_and(|link| none_open && link.from <= provider_now))
}

/// Whether a period is so near its end that this is its last push.
async fn is_final(context: &Context) -> Result<bool, JobError> {
    let Some(provider_now) = context.provider_now(context.clock.read()) else { return Ok(false) };
    let records = context.store.read(outbox::unfinished).await?;
    Ok(sendable(&records).any(|record| provider_now >= final_push(context, record)))
}

fn sendable(records: &[UsageRecord]) -> impl Iterator<Item = &UsageRecord> {
    records.iter().filter(|record| record.takes_totals())
}

/// When the last push of a row's period starts. A whole second, as the provider tells its time: woken at it, a read that
/// brings the provider's date does not put the clock before it again.
fn final_push(context: &Context, record: &UsageRecord) -> Timestamp {
    let offset = micros_of(context.steady_offset(FINAL_SPREAD));
    let at = record.last_send(context.limits()).minus(FINAL_LEAD_US).minus(offset);
    Timestamp::from_secs(at.secs())
}

/// The earliest of retries, last pushes and ends of periods that lie ahead.
async fn next_wake(context: &Context) -> Result<Option<Timestamp>, JobError> {
    let now = context.now();
    let provider_now = context.provider_now(context.clock.read());
    // Last pushes are by the provider's clock, and ours may be ahead of it: woken too early, one would be missed for good.
    let ahead_us = provider_now.map_or(0, |provider_now| now.since(provider_now));
    let limits = context.limits();
    let records = context.store.read(outbox::unfinished).await?;
    let wakes = sendable(&records).flat_map(|record| {
        // A retry that could not be made would only ask for itself again.
        let may_send = !context.identity_changed()
            && record.held.is_none()
            && provider_now.is_some_and(|now| now < record.last_send(limits));
        let retry = record.next_attempt.filter(|_| may_send).map(|at| at.max(now));
        let last = Some(final_push(context, record).plus(ahead_us)).filter(|at| *at > now);
        let successor = (record.state == RecordState::Open).then(|| after_end(record.period.to, now));
        [retry, last, successor]
    });
    Ok(earliest(wakes))
}

/// A period that is over and whose successor is not there yet is looked at again, not at once; later, less often.
fn after_end(end: Timestamp, now: Timestamp) -> Timestamp {
    let late = now.since(end) >= LONG_AFTER_END_US;
    end.max(now).plus(if late { LONG_AFTER_END_US } else { AFTER_END_US })
}

fn earliest(times: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    times.into_iter().flatten().min()
}
