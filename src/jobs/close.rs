//! Close ended periods: read what stands until two reads agree (rule S6).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::stands::{destination, window};
use super::{Context, JobError};
use crate::account::{self, Subscription};
use crate::model::{Channel, Formula, ItemId, MICROS_PER_DAY, MICROS_PER_MINUTE, Problem, Timestamp};
use crate::outbox::{self, Closing, Held, RecordState, UsageRecord};
use crate::provider::{BilledAt, RefusalKind, Standing};

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
    /// Its subscription was ended, and no invoice is known to have its usage.
    Dropped { of: Subscription },
}

/// Whether a change of item or price leaves open what of that which stands is billed (rule R5): then invoices tell.
fn asks_invoices(record: &UsageRecord) -> bool {
    let is_held = record.held.as_ref().is_some_and(|(code, _)| outbox::is_of_a_change(code));
    record.segment_of.is_some() || record.begins_anew || is_held
}

/// What invoices bill of a row's period, beside what was known to be billed before it went on. `None` where the key may not
/// read them, or they do not tell, and nothing but them could.
async fn invoiced(context: &Arc<Context>, record: &UsageRecord) -> Result<Option<i64>, JobError> {
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
            Err(error) if is_untold(error.refusal.kind) && !asks_invoices(record) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    if record.channel.formula() == Some(Formula::Sum) {
        return Ok(Some(units));
    }
    Ok(Some(before.iter().fold(units, |rest, segment| rest.saturating_sub(segment.units)).max(0)))
}

const fn is_untold(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::NotPermitted | RefusalKind::Missing | RefusalKind::Other)
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
    let subscription = record.subscription.clone();
    let read = context.store.read(move |c| account::last_read(c, &subscription)).await?;
    let found = match read.filter(Subscription::is_over) {
        Some(over) if record.cut => last_invoice(context, record, over).await?,
        over => summary(context, record, over).await?,
    };
    let found = match found {
        Found::Dropped { of } => invoiced(context, record).await?.map_or(Found::Dropped { of }, Found::Total),
        found => found,
    };
    // No read will ever tell more than what was noted; what is missing is listed, and carried nowhere.
    let noted = record.standing.unwrap_or(0);
    let (total, gone) = match found {
        Found::Total(total) if asks_invoices(record) => (invoiced(context, record).await?.unwrap_or(total), None),
        Found::Total(total) => (total, None),
        Found::Unknown { what } => (invoiced(context, record).await?.unwrap_or(noted), Some(Held::Missing { what })),
        Found::Dropped { of } => (0, Some(Held::Ended { what: dropped(&of) })),
    };
    let (id, now) = (record.id, context.now());
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

/// A subscription that was ended before its time bills what its last invoice has, whatever was accepted before. Where
/// invoices may not be read, the summaries of usage records tell as much; those of a meter do not.
async fn last_invoice(context: &Arc<Context>, record: &UsageRecord, over: Subscription) -> Result<Found, JobError> {
    match invoiced(context, record).await? {
        Some(billed) => Ok(Found::Total(billed)),
        None if record.channel == Channel::UsageRecords => summary(context, record, Some(over)).await,
        None => Ok(Found::Dropped { of: over }),
    }
}

async fn summary(context: &Arc<Context>, record: &UsageRecord, over: Option<Subscription>) -> Result<Found, JobError> {
    let answer = context.settings().provider.read_ended(&destination(record), window(record)).await;
    context.note_date(&answer);
    let standing = match answer.value {
        Err(error) if error.refusal.kind == RefusalKind::Missing => {
            return Ok(Found::Unknown { what: error.to_string() });
        }
        other => other?,
    };
    let is_told = match (&standing, &over) {
        // An invoice is on its way, unless there will be none.
        (Standing::NotInvoiced(_), over) => over.is_none(),
        (standing, _) => standing.total().is_some(),
    };
    if !is_told && context.now().since(record.period.to) < UNLISTED_US {
        return Err(JobError::refused("period_not_listed", UNLISTED, "it is tried again by itself"));
    }
    Ok(match (is_told.then(|| standing.total()).flatten(), over) {
        (Some(total), _) => Found::Total(total),
        (None, Some(over)) => Found::Dropped { of: over },
        (None, None) => Found::Unknown { what: UNLISTED.to_owned() },
    })
}

fn dropped(of: &Subscription) -> String {
    let since = of.ends.map_or_else(String::new, |at| format!(" since {at}"));
    format!("no invoice is known to have it, and the subscription {} is {}{since}", of.id, of.status)
}
