//! Status: everything at a glance.

use std::sync::Arc;

use rusqlite::Connection;

use super::context::limits;
use super::problems::{self, Seen};
use super::sync::shown_segment;
use super::usage::{self, Estimate, Figures, Window};
use super::{Context, JobError, Settings, look, run};
use crate::account::{self, Item};
use crate::clock::trust::Placement;
use crate::config::Schedule;
use crate::ledger;
use crate::model::{MachineIdentity, Meter, Micros, Timestamp};
use crate::outbox::{self, RecordState, UsageRecord};
use crate::provider::Provider;
use crate::wire::{
    ClockStatus, CoverageStatus, DatabaseStatus, IdentityStatus, JobStatus, LinkStatus, MeterStatus, PathsStatus,
    ProviderStatus, PushStatus, SCHEMA, Status, UnsentStatus,
};

/// What only the daemon knows.
#[derive(Debug, Clone)]
pub struct Running {
    /// When it started.
    pub since: Timestamp,
    /// Whether it runs against the embedded sandbox.
    pub sandbox: bool,
    /// When the next push is due.
    pub next_push: Option<Timestamp>,
    /// When the next comparison with the provider is due.
    pub next_reconcile: Option<Timestamp>,
    /// When the next compaction is due.
    pub next_compact: Option<Timestamp>,
    /// When the next look at customer and invoices is due.
    pub next_look: Option<Timestamp>,
    /// Where its files lie.
    pub paths: PathsStatus,
}

/// Answers it.
pub async fn status(context: &Arc<Context>, running: Running) -> Result<Status, JobError> {
    let seen = Seen::by(context);
    let (now, settings) = (seen.now, Arc::clone(&seen.settings));
    let boot_id = context.incarnation.boot_id.clone();
    let path = context.store.path().to_owned();
    let (identity, set_by_timesync) = (identity(context), context.machine.timesync_mark());
    let mut status = context
        .store
        .read(move |c| {
            let window = usage::current_window(c, now)?;
            let waiting = ledger::placement::waiting(c, &boot_id)?;
            let status = Status {
                schema: SCHEMA,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                now: now.to_string(),
                since: running.since.to_string(),
                mode: mode(&settings, running.sandbox).to_owned(),
                problems: problems::shown(c, &seen)?,
                link: link(c)?,
                paused: look::paused(c, &settings)?,
                period_from: window.span.from.to_string(),
                period_to: window.span.to.to_string(),
                meters: meters(c, &settings, &window, now)?,
                sample_every_s: settings.config.schedule.sample_every.as_secs(),
                last_sample: ledger::coverage::last_sample(c)?.map(|at| at.to_string()),
                push: push(c, running.next_push)?,
                unsent: unsent(c, &settings, now)?,
                clock: clock(&seen, !waiting.quantities.is_empty(), set_by_timesync),
                coverage: coverage(c, &window, now)?,
                database: DatabaseStatus { path: path.display().to_string(), bytes: 0, schema: schema(c)? },
                jobs: jobs(c, &running, &settings.config.schedule)?,
                provider: Some(provider(&settings)),
                identity: Some(identity),
                paths: Some(running.paths),
            };
            Ok::<_, JobError>(status)
        })
        .await?;
    status.database.bytes = bytes(context.store.path());
    Ok(status)
}

fn link(connection: &Connection) -> Result<Option<LinkStatus>, JobError> {
    let Some(link) = account::in_force(connection)? else { return Ok(None) };
    let customer = account::customer(connection, &link.customer)?;
    Ok(Some(LinkStatus {
        customer: link.customer.to_string(),
        customer_name: customer.and_then(|customer| customer.name),
        subscription: link.subscription.to_string(),
        plan: link.plan.to_string(),
        from: link.from.to_string(),
    }))
}

fn mode(settings: &Settings, sandbox: bool) -> &'static str {
    match (sandbox, settings.provider.livemode()) {
        (true, _) => "sandbox",
        (false, Some(true)) => "live",
        (false, Some(false)) => "test",
        (false, None) if matches!(settings.provider, Provider::None) => "unbilled",
        // Its key does not tell test from live.
        (false, None) => "billed",
    }
}

fn schema(connection: &Connection) -> Result<i64, JobError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// The file with its WAL.
fn bytes(path: &std::path::Path) -> u64 {
    let wal = path.with_extension("db-wal");
    [path, &wal].into_iter().filter_map(|path| path.metadata().ok()).map(|found| found.len()).sum()
}

fn meters(
    connection: &Connection,
    settings: &Settings,
    window: &Window,
    now: Timestamp,
) -> Result<Vec<MeterStatus>, JobError> {
    let link = account::in_force(connection)?;
    let items = link.as_ref().map_or(Ok(Vec::new()), |link| account::items_of(connection, link.id))?;
    let records = outbox::unfinished(connection)?;
    let subscription = link.as_ref().map(|link| account::last_read(connection, &link.subscription)).transpose()?;
    let unbilled = subscription.flatten().and_then(|subscription| subscription.why_not_billed());
    let mut found = Vec::new();
    for meter in settings.config.meters.values() {
        let figures = usage::figures(connection, &settings.config, meter, window)?;
        let item = items.iter().find(|item| item.meter == meter.name);
        let record = records
            .iter()
            .find(|record| record.state == RecordState::Open && item.is_some_and(|item| item.item == record.item));
        let estimate = usage::estimate(meter, &figures, window, now)?;
        let mut status = meter_status(settings, meter, &figures, &estimate, item, record);
        status.not_billed_because = status.not_billed_because.or_else(|| unbilled.clone());
        if let Some(record) = record {
            status.segments = outbox::closed_segments(connection, record.id)?.iter().map(shown_segment).collect();
        }
        found.push(status);
    }
    Ok(found)
}

fn meter_status(
    settings: &Settings,
    meter: &Meter,
    figures: &Figures,
    estimate: &Estimate,
    item: Option<&Item>,
    record: Option<&UsageRecord>,
) -> MeterStatus {
    let unit = &meter.unit;
    MeterStatus {
        name: meter.name.to_string(),
        unit: unit.label.clone(),
        used: unit.number(figures.used),
        used_micros: figures.used.get(),
        included: figures.included().map(|included| unit.number(included)),
        unlimited: figures.is_unlimited(),
        overage: figures.overage,
        unlinked: (figures.unlinked > Micros::ZERO).then(|| unit.number(figures.unlinked)),
        estimate: estimate.used.map(|used| unit.number(used)),
        estimate_overage: estimate.overage,
        estimate_cost: estimate.cost.map(|cost| cost.normalize().to_string()),
        currency: estimate.cost.and(figures.currency.clone()),
        item: item.map(|item| item.item.to_string()),
        stands: record.and_then(|record| record.standing),
        segments: Vec::new(),
        not_billed_because: not_billed(settings, figures, item),
    }
}

fn not_billed(settings: &Settings, figures: &Figures, item: Option<&Item>) -> Option<String> {
    if matches!(settings.provider, Provider::None) {
        return Some("no provider is configured, or its key is missing".to_owned());
    }
    if figures.linked.is_none() {
        return Some("this VM is not linked".to_owned());
    }
    match item {
        Some(_) => None,
        None if figures.is_unlimited() => Some("unlimited in this plan".to_owned()),
        None => Some("the plan does not mention it".to_owned()),
    }
}

fn push(connection: &Connection, next: Option<Timestamp>) -> Result<PushStatus, JobError> {
    let last = outbox::last_sent(connection)?;
    let what = match &last {
        Some(last) => Some(format!("{} to {}", outbox::by_id(connection, last.usage_record_id)?.item, last.quantity)),
        None => None,
    };
    Ok(PushStatus {
        last_at: last.as_ref().map(|last| last.settled.unwrap_or(last.first_sent).to_string()),
        last_outcome: last.as_ref().map(|last| last.state.word().to_owned()),
        last_what: what,
        last_request_id: last.and_then(|last| last.request_id),
        last_accepted_at: outbox::last_accepted_at(connection)?.map(|at| at.to_string()),
        next_at: next.map(|next| next.to_string()),
    })
}

fn unsent(connection: &Connection, settings: &Settings, now: Timestamp) -> Result<Vec<UnsentStatus>, JobError> {
    let limits = limits(&settings.config.provider);
    let records = outbox::unfinished(connection)?;
    let waits = |record: &&UsageRecord| record.differs() || record.held.is_some();
    Ok(records
        .iter()
        .filter(waits)
        .map(|record| {
            let (state, why) = match (&record.held, record.attempts) {
                (Some((_, because)), _) => ("held", Some(because.clone())),
                (None, _) if !record.takes_totals() => ("waiting", Some(OVER.to_owned())),
                (None, 0) => ("waiting", None),
                (None, _) => ("retrying", record.last_error.clone()),
            };
            UnsentStatus {
                meter: record.meter.to_string(),
                item: record.item.to_string(),
                target: record.target,
                stands: record.standing,
                age_s: record.differs_since.map_or(0, |since| now.since(since).div_euclid(1_000_000).max(0)),
                deadline: record.last_send(limits).to_string(),
                attempts: i64::from(record.attempts),
                next_attempt: record.next_attempt.map(|at| at.to_string()),
                state: state.to_owned(),
                why,
            }
        })
        .collect())
}

/// A total that missed its period.
const OVER: &str = "its period is over; what was not billed in it is carried, or listed, once two reads of it agree";

fn provider(settings: &Settings) -> ProviderStatus {
    let kind = settings.config.provider.kind.word().to_owned();
    ProviderStatus { kind, key: settings.provider.key_kind().map(str::to_owned) }
}

fn identity(context: &Context) -> IdentityStatus {
    let MachineIdentity { machine_id, product_uuid } = context.identity();
    IdentityStatus { machine_id, product_uuid, boot_id: context.incarnation.boot_id.clone() }
}

fn clock(seen: &Seen, waiting: bool, set_by_timesync: bool) -> ClockStatus {
    let trusted_by = match &seen.placement {
        Placement::Known { by, .. } => by.word(),
        Placement::Waiting if waiting => "nobody",
        Placement::Waiting => "nobody yet",
    };
    ClockStatus { trusted_by: trusted_by.to_owned(), ahead_s: seen.ahead_s(), set_by_timesync: Some(set_by_timesync) }
}

fn coverage(connection: &Connection, window: &Window, now: Timestamp) -> Result<CoverageStatus, JobError> {
    let (observed_bp, gaps) = usage::observed(connection, window, now)?;
    Ok(CoverageStatus { observed_bp, gaps: u32::try_from(gaps.len()).unwrap_or(u32::MAX) })
}

fn jobs(connection: &Connection, running: &Running, schedule: &Schedule) -> Result<Vec<JobStatus>, JobError> {
    let runs = run::runs(connection)?;
    Ok([
        ("push", running.next_push, &schedule.push),
        ("look", running.next_look, &schedule.look),
        ("reconcile", running.next_reconcile, &schedule.reconcile),
        ("compact", running.next_compact, &schedule.compact),
    ]
    .into_iter()
    .map(|(name, next, due)| {
        let last = runs.iter().find(|run| run.job == name);
        JobStatus {
            name: name.to_owned(),
            last_at: last.map(|run| run.started.to_string()),
            last_because: last.map(|run| run.because.clone()),
            last_result: last.and_then(|run| run.result.clone()),
            next_at: next.map(|next| next.to_string()),
            schedule: Some(due.clone()),
        }
    })
    .collect())
}
