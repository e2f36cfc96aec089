//! Compact: minutes of closed periods to hours, and old single credits to hours by source (rules M7, M8).

use std::sync::Arc;

use super::{Context, JobError, db_check, run};
use crate::account;
use crate::ledger;
use crate::model::{MICROS_PER_DAY, Span, Timestamp};
use crate::outbox;
use crate::wire::DbCheckRequest;

/// Minutes are kept at least this long, whether their period is closed or there never was one.
const KEEP_MINUTES_DAYS: i64 = 70;
/// Rows per transaction: a pause of a few milliseconds for those who wait to record.
const AT_ONCE: usize = 2_000;

/// Runs it to the end, in small steps.
pub async fn compact(context: &Arc<Context>, because: &str) -> Result<(), JobError> {
    let (why, now) = (because.to_owned(), context.now());
    context.store.write(move |tx| run::begin(tx, "compact", &why, now)).await?;
    let settled = context.store.read(move |c| settled_until(c, now)).await?;
    let settings = context.settings();
    let mut compacted = 0;
    for meter in settings.config.meters.keys() {
        loop {
            let name = meter.clone();
            let step = context
                .store
                .write(move |tx| {
                    let id = ledger::meters::id(tx, &name)?;
                    ledger::compaction::compact(tx, id, settled, AT_ONCE).map_err(JobError::from)
                })
                .await?;
            compacted += step;
            if step == 0 {
                break;
            }
        }
    }
    let mut pruned = 0;
    loop {
        let keep_days = settings.config.intake.keep_credits_days;
        let step = context
            .store
            .write(move |tx| ledger::compaction::prune_credits(tx, now, keep_days, AT_ONCE).map_err(JobError::from))
            .await?;
        pruned += step;
        if step == 0 {
            break;
        }
    }
    context.store.write(move |tx| account::prune_events(tx, now)).await?;
    // Day by day, so that a page that nobody reads is not found damaged when it is needed.
    let looked = db_check(context, &DbCheckRequest::default()).await?;
    let result = format!("{compacted} minutes compacted, {pruned} credits pruned; usage.db is {}", looked.verdict);
    context.store.write(move |tx| run::finish(tx, "compact", &result, now)).await
}

/// Everything before the oldest period that is not closed, and older than minutes are kept.
fn settled_until(connection: &rusqlite::Connection, now: Timestamp) -> Result<Span, JobError> {
    let old = now.minus(KEEP_MINUTES_DAYS * MICROS_PER_DAY);
    let unfinished = outbox::unfinished(connection)?.into_iter().map(|record| record.period.from).min();
    Ok(Span::new(Timestamp::from_micros(0), unfinished.map_or(old, |from| from.min(old))))
}
