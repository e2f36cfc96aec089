//! What stands: read at the provider, and taken into the ledger by rules S4 and S5.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Context, JobError};
use crate::account;
use crate::model::Problem;
use crate::outbox::{self, ReadVerdict, Reader, RecordState, Stands, UsageRecord};
use crate::provider::{Destination, ReadError, Standing, Window};

const ADOPTED: &str = "units_adopted";

/// Reads what stands in a row's own period.
pub(super) async fn read(context: &Context, record: &UsageRecord) -> Result<Standing, ReadError> {
    if record.state == RecordState::Open {
        return read_current(context, record).await;
    }
    let answer = context.settings().provider.read_ended(&destination(record), window(record)).await;
    context.note_date(&answer);
    answer.value
}

/// Reads what stands in a row's period as long as its total may be sent.
pub(super) async fn read_current(context: &Context, record: &UsageRecord) -> Result<Standing, ReadError> {
    let answer = context.settings().provider.read_current(&destination(record), window(record)).await;
    context.note_date(&answer);
    answer.value
}

/// Reads several side by side, so that a stuck item costs no more than its own time. A read that ended early is missing.
pub(super) async fn read_all(
    context: &Arc<Context>,
    records: impl IntoIterator<Item = &UsageRecord>,
) -> BTreeMap<i64, Result<Standing, ReadError>> {
    let mut reading = JoinSet::new();
    for record in records.into_iter().cloned() {
        let context = Arc::clone(context);
        reading.spawn(async move { (record.id, read(&context, &record).await) });
    }
    let mut found = BTreeMap::new();
    while let Some(joined) = reading.join_next().await {
        match joined {
            Ok((id, read)) => drop(found.insert(id, read)),
            Err(error) => tracing::error!("a read ended early: {error}"),
        }
    }
    found
}

/// Takes a read of a row whose totals may be sent into the ledger, and says what it means.
pub(super) async fn note(context: &Context, record: &UsageRecord, stands: Stands) -> Result<ReadVerdict, JobError> {
    let (id, now, generation, total) = (record.id, context.now(), context.generation(), stands.total);
    let verdict = context
        .store
        .write(move |tx| {
            let is_single_writer = account::is_single_writer(tx)?;
            let reader = Reader { generation: &generation, is_single_writer, now };
            Ok::<_, JobError>(outbox::note_read(tx, id, &stands, &reader)?)
        })
        .await?;
    let item = &record.item;
    match &verdict {
        ReadVerdict::Held(held) => {
            tracing::warn!(target: "usaged::flow", %item, "held: {}", held.because());
        }
        ReadVerdict::Adopted { units } => {
            let what = format!(
                "{units} units more stood on {item} than this ledger knew of, and were taken over: it was restored from \
                 an older copy (rule S5)"
            );
            let hint =
                "usagectl sync shows them as adopted; what of the allowance was used before is not known any more";
            context.raise_about(item.as_str(), Problem::note(ADOPTED, what, hint));
        }
        ReadVerdict::Lower { noted } => {
            tracing::warn!(target: "usaged::flow", %item, total, noted, "less stands than was noted");
        }
        _ => {}
    }
    Ok(verdict)
}

/// What stands, in the outbox's words; `None` where the period was not found.
pub(super) fn stands(standing: Standing) -> Option<Stands> {
    let total = standing.total()?;
    let days = if let Standing::Days(days) = standing { Some(days) } else { None };
    Some(Stands { total, days })
}

/// A read that failed: good to know while it may pass by itself, somebody's matter where it will not.
pub(super) fn unreadable(code: &str, what: String, error: &ReadError) -> Problem {
    let make = if error.passing { Problem::note } else { Problem::needs_someone };
    make(code, what, error.refusal.hint())
}

/// Where a row's total goes.
pub(super) fn destination(record: &UsageRecord) -> Destination {
    Destination { item: record.item.clone(), customer: record.customer.clone(), channel: record.channel.clone() }
}

/// The period that a row's reads are about.
pub(super) fn window(record: &UsageRecord) -> Window {
    Window { period: record.period, timestamp_s: record.timestamp_s }
}
