//! Close ended periods: read what stands until two reads agree (rule S6).

use std::sync::Arc;

use super::deliver::{destination, window};
use super::{Context, JobError};
use crate::account;
use crate::model::{MICROS_PER_DAY, MICROS_PER_MINUTE, Problem, Timestamp};
use crate::outbox::{self, Closing, Held, RecordState, UsageRecord};
use crate::provider::{RefusalKind, Standing};

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

/// What is told of a period that is over.
enum Found {
    /// So many units were billed in it.
    Total(i64),
    /// Nothing, and nothing will be.
    Unknown { what: String },
    /// Its subscription was ended, and no invoice has its usage.
    Dropped { of: account::Subscription },
}

fn dropped(of: &account::Subscription) -> String {
    let since = of.ends.map_or_else(String::new, |at| format!(" since {at}"));
    format!("no invoice has it, and the subscription {} is {}{since}", of.id, of.status)
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
    let is_old = now.since(record.period.to) >= UNLISTED_US;
    let subscription = record.subscription.clone();
    let over = context.store.read(move |c| account::last_read(c, &subscription)).await?;
    let over = over.filter(account::Subscription::is_over);
    let found = match answer.value {
        Err(error) if error.refusal.kind == RefusalKind::Missing => Found::Unknown { what: error.to_string() },
        other => match (other?, over) {
            (Standing::NotListed | Standing::NotInvoiced(_), Some(over)) if is_old => Found::Dropped { of: over },
            (Standing::NotInvoiced(_), Some(_)) | (Standing::NotListed | Standing::OtherPeriod, _) if !is_old => {
                return Err(JobError::refused("period_not_listed", UNLISTED, "it is tried again by itself"));
            }
            (told, _) => match told.total() {
                Some(total) => Found::Total(total),
                None => Found::Unknown { what: UNLISTED.to_owned() },
            },
        },
    };
    let (total, gone) = match found {
        Found::Total(total) => (total, None),
        // No read will ever tell more than what was noted; what is missing is listed, and carried nowhere.
        Found::Unknown { what } => (record.standing.unwrap_or(0), Some(Held::Missing { what })),
        Found::Dropped { of } => (0, Some(Held::Ended { what: dropped(&of) })),
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
