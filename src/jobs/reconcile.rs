//! Reconcile: read back what stands at the provider, compare it with the ledger, and show where they differ and why (rule
//! S5). Nothing is sent. Rows that a push could start on take the read in, as they do before a push.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::drift::{Compared, Evidence, Finding};
use super::{Context, JobError, close, deliver, push, run, stands};
use crate::model::{ItemId, micros_of};
use crate::outbox::{self, RecordState, UsageRecord};
use crate::provider::{ReadError, Standing};
use crate::wire::{Cause, ReconcileLine, ReconcileReport, ReconcileRequest, SCHEMA};

const UNREADABLE: &str = "reconcile_unreadable";

/// Runs it. `because` is a word for `status`.
pub async fn reconcile(
    context: &Arc<Context>,
    because: &str,
    request: &ReconcileRequest,
) -> Result<ReconcileReport, JobError> {
    let item = request.item.as_deref().map(ItemId::new).transpose();
    let item = item.map_err(|error| JobError::refused("bad_id", error.to_string(), "usagectl sync shows the items"))?;
    let _one_at_a_time = context.pushing.lock().await;
    refuse_copy(context)?;
    let (why, started) = (because.to_owned(), context.now());
    context.store.write(move |tx| run::begin(tx, "reconcile", &why, started)).await?;
    let compared = compare_all(context, item.as_ref()).await;
    let result = match &compared {
        Ok(report) => in_words(report),
        Err(error) => format!("failed: {error}"),
    };
    let finished = context.now();
    context.store.write(move |tx| run::finish(tx, "reconcile", &result, finished)).await?;
    compared
}

/// A copy of a ledger says nothing about what its original sent since (rule S11).
fn refuse_copy(context: &Context) -> Result<(), JobError> {
    if context.identity_changed() {
        let what = "this ledger was made on another machine, so it has nothing to compare (rule S11)";
        return Err(JobError::refused("identity_changed", what, "usagectl identity same|new --because …"));
    }
    if context.intake.is_set_aside() {
        let what = "this ledger is being set aside, so nothing is compared with it any more (rule S11)";
        return Err(JobError::refused("set_aside", what, "ask the daemon that begins anew"));
    }
    Ok(())
}

async fn compare_all(context: &Arc<Context>, item: Option<&ItemId>) -> Result<ReconcileReport, JobError> {
    let mut report = ReconcileReport { schema: SCHEMA, needs_someone: false, lines: Vec::new(), notes: Vec::new() };
    if !push::prepare(context).await? {
        report.notes.push("nothing is billed: no provider is configured, or its key is missing".to_owned());
        return Ok(report);
    }
    let records = rows(context, item).await?;
    if records.is_empty() {
        report.notes.push("there is nothing to compare: no period of an item is open or was closed lately".to_owned());
    }
    let mut read = stands::read_all(context, records.iter().filter(|record| !record.shared)).await;
    for record in &records {
        let finding = if record.shared {
            (None, Finding::fine(Cause::Shared, "no VM's total stands there alone (rule S10)"))
        } else {
            compare(context, record, read.remove(&record.id)).await?
        };
        report.lines.push(line(context, record, finding).await?);
    }
    // Worst first; among equals as they were.
    report.lines.sort_by_key(|line| (!line.needs_someone, line.cause == Cause::Agrees));
    report.needs_someone = report.lines.iter().any(|line| line.needs_someone);
    show_unreadable(context, &records, item);
    Ok(report)
}

/// Everything that is not closed, and the last closed periods of each item.
async fn rows(context: &Context, item: Option<&ItemId>) -> Result<Vec<UsageRecord>, JobError> {
    let now = context.now();
    let mut records = context
        .store
        .read(move |c| {
            let mut records = outbox::unfinished(c)?;
            records.extend(outbox::closed_lately(c, now)?);
            Ok::<_, JobError>(records)
        })
        .await?;
    records.retain(|record| item.is_none_or(|item| record.item == *item));
    Ok(records)
}

/// Compares one row with what was read, and has the ledger take it in where a push could start.
async fn compare(
    context: &Arc<Context>,
    record: &UsageRecord,
    read: Option<Result<Standing, ReadError>>,
) -> Result<(Option<i64>, Finding), JobError> {
    let standing = match read {
        None => return Ok((None, Finding::fine(Cause::Unreadable, "reading it ended early"))),
        Some(Err(error)) => return Ok((None, unreadable(context, record, &error))),
        Some(Ok(Standing::NotListed)) => return Ok((None, Finding::fine(Cause::Unreadable, close::UNLISTED))),
        Some(Ok(standing)) => standing,
    };
    let Some(stands) = stands::stands(standing) else {
        let why = "the provider has begun another period; the next push reads it";
        return Ok((None, Finding::fine(Cause::Unreadable, why)));
    };
    context.clear_about(UNREADABLE, record.item.as_str());
    let (total, now) = (stands.total, context.now());
    let sample_every_us = micros_of(context.settings().config.schedule.sample_every);
    let before = record.clone();
    let evidence = context.store.read(move |c| Evidence::gather(c, &before, sample_every_us, now)).await?;
    let is_taken = deliver::may_start(context, record);
    let verdict = if is_taken { Some(stands::note(context, record, stands).await?) } else { None };
    let id = record.id;
    if record.state == RecordState::Closed {
        context.store.write(move |tx| outbox::note_closed_read(tx, id, total, now)).await?;
    }
    let after = context.store.read(move |c| outbox::by_id(c, id)).await?;
    let compared = Compared { before: record, after: &after, total, verdict: verdict.as_ref(), evidence };
    Ok((Some(total), compared.judge()))
}

/// An item that is gone with its closed periods is nobody's matter any more.
fn unreadable(context: &Context, record: &UsageRecord, error: &ReadError) -> Finding {
    let finding = Finding::fine(Cause::Unreadable, error.to_string());
    if record.state == RecordState::Closed {
        return finding;
    }
    let what = format!("what stands on {} cannot be read back: {error}", record.item);
    context.raise_about(record.item.as_str(), stands::unreadable(UNREADABLE, what, error));
    Finding { needs_someone: !error.passing, hint: Some(error.refusal.hint().to_owned()), ..finding }
}

/// What is not looked at any more is not named any more.
fn show_unreadable(context: &Context, records: &[UsageRecord], item: Option<&ItemId>) {
    if item.is_none() {
        context.clear_unless(UNREADABLE, |about| records.iter().any(|record| record.item.as_str() == about));
    }
}

async fn line(
    context: &Context,
    before: &UsageRecord,
    (stands, finding): (Option<i64>, Finding),
) -> Result<ReconcileLine, JobError> {
    let id = before.id;
    let after = context.store.read(move |c| outbox::by_id(c, id)).await?;
    Ok(ReconcileLine {
        meter: after.meter.to_string(),
        item: after.item.to_string(),
        channel: after.channel.words().to_owned(),
        period_from: after.period.from.to_string(),
        period_to: after.period.to.to_string(),
        state: after.state.word().to_owned(),
        target: after.target,
        noted: before.standing,
        stands,
        cause: finding.cause,
        why: finding.why,
        held: after.held.filter(|_| after.state != RecordState::Closed).map(|(_, because)| because),
        needs_someone: finding.needs_someone,
        hint: finding.hint,
    })
}

/// How many lines of each cause there are.
fn in_words(report: &ReconcileReport) -> String {
    let mut causes: BTreeMap<&str, u32> = BTreeMap::new();
    for line in &report.lines {
        *causes.entry(line.cause.words()).or_default() += 1;
    }
    let counted: Vec<String> = causes.into_iter().map(|(words, count)| format!("{count} {words}")).collect();
    if counted.is_empty() { "nothing to compare".to_owned() } else { counted.join(", ") }
}
