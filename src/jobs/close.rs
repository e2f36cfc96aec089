//! Close ended periods: read what stands until two reads agree (rule S6).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::deliver::{destination, window};
use super::{Context, JobError};
use crate::model::{Formula, ItemId, MICROS_PER_DAY, MICROS_PER_MINUTE, Problem, Timestamp};
use crate::outbox::{self, Closing, Held, RecordState, UsageRecord};
use crate::provider::{BilledAt, RefusalKind};

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

/// Whether a change of item or price leaves open what of that which stands is billed (rule R5): then invoices tell.
fn asks_invoices(record: &UsageRecord) -> bool {
    let is_held = record.held.as_ref().is_some_and(|(code, _)| outbox::is_of_a_change(code));
    record.segment_of.is_some() || record.begins_anew || is_held
}

/// What invoices bill of a row's period, beside what was known to be billed before it went on. Without the permission to
/// read them, what stands on an item that is merely gone counts.
async fn invoiced(context: &Arc<Context>, record: &UsageRecord, stands: i64) -> Result<i64, JobError> {
    let id = record.id;
    let before = context.store.read(move |c| outbox::billed_before(c, id)).await?;
    let items: BTreeSet<&ItemId> = before.iter().map(|segment| &segment.item).chain([&record.item]).collect();
    let mut units = 0_i64;
    for item in items {
        let at = BilledAt {
            subscription: record.subscription.clone(),
            item: item.clone(),
            price: None,
            period: record.period,
        };
        let answer = context.settings().provider.read_billed(&at).await;
        context.note_date(&answer);
        match answer.value {
            Ok(billed) => units = units.saturating_add(billed),
            Err(error) if error.refusal.kind == RefusalKind::NotPermitted && !asks_invoices(record) => {
                return Ok(stands);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if record.channel.formula() == Some(Formula::Sum) {
        return Ok(units);
    }
    Ok(before.iter().fold(units, |rest, segment| rest.saturating_sub(segment.units)).max(0))
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
    let answer = context.settings().provider.read_ended(&destination(record), window(record)).await;
    context.note_date(&answer);
    let now = context.now();
    let told = match answer.value {
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
    let total = if gone.is_some() || asks_invoices(record) { invoiced(context, record, total).await? } else { total };
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
