//! Close ended periods: read what stands until two reads agree (rule S6).

use std::sync::Arc;

use super::{Context, JobError, stands};
use crate::model::{MICROS_PER_DAY, MICROS_PER_MINUTE, Problem, Timestamp};
use crate::outbox::{self, Closing, Held, RecordState, UsageRecord};
use crate::provider::RefusalKind;

/// When a period that could not be read is tried again.
const AGAIN_US: i64 = 10 * MICROS_PER_MINUTE;

/// A period that the provider has not listed so long after its end is not waited for: its subscription was ended early.
const UNLISTED_US: i64 = MICROS_PER_DAY;
pub(super) const UNLISTED: &str = "the provider's summaries do not list this period";

/// Looks at every ended period. Returns how many were closed, and when the next look is due.
pub(super) async fn close(context: &Arc<Context>) -> Result<(u32, Option<Timestamp>), JobError> {
    let mut closed = 0;
    let mut next: Option<Timestamp> = None;
    let records = context.store.read(outbox::unfinished).await?;
    for record in records.into_iter().filter(|record| record.state == RecordState::Ending) {
        let again = match close_one(context, &record).await {
            Ok(Closing::Closed) => {
                closed += 1;
                continue;
            }
            Ok(Closing::Again(at)) => at,
            Err(error) => {
                context.raise(Problem::needs_someone(
                    "period_unreadable",
                    format!("what was billed on {} until {} cannot be read: {error}", record.item, record.period.to),
                    error.hint().unwrap_or_else(|| "it is tried again by itself".to_owned()),
                ));
                context.now().plus(AGAIN_US)
            }
        };
        next = Some(next.map_or(again, |earlier| earlier.min(again)));
    }
    if next.is_none() {
        context.clear("period_unreadable");
    }
    Ok((closed, next))
}

async fn close_one(context: &Arc<Context>, record: &UsageRecord) -> Result<Closing, JobError> {
    let settled_from = record.settled_from(context.limits());
    let provider_now = context.provider_now(context.clock.read()).unwrap_or_else(|| context.now());
    if provider_now < settled_from {
        return Ok(Closing::Again(settled_from));
    }
    if record.shared {
        // What stands is the sum of several VMs: only our own answers tell what is ours (rule S10).
        let (id, now) = (record.id, context.now());
        return Ok(context.store.write(move |tx| outbox::close_by_answers(tx, id, now)).await?);
    }
    let read = stands::read(context, record).await;
    let now = context.now();
    let told = match read {
        Err(error) if error.refusal.kind == RefusalKind::Missing => Err(error.to_string()),
        other => match other?.total() {
            Some(total) => Ok(total),
            None if now.since(record.period.to) >= UNLISTED_US => Err(UNLISTED.to_owned()),
            None => return Err(JobError::refused("period_not_listed", UNLISTED, "it is tried again by itself")),
        },
    };
    // No read will ever tell more than what was noted; what is missing is listed, and carried nowhere.
    let (total, gone) = match told {
        Ok(total) => (total, None),
        Err(what) => (record.standing.unwrap_or(0), Some(Held::Missing { what })),
    };
    let id = record.id;
    let closing = context
        .store
        .write(move |tx| {
            if let Some(gone) = &gone {
                outbox::hold(tx, id, gone, now)?;
            }
            outbox::note_close_read(tx, id, total, now)
        })
        .await?;
    if closing == Closing::Closed {
        tracing::info!(target: "usaged::flow", item = %record.item, total, period_to = %record.period.to, "period closed");
    }
    Ok(closing)
}
