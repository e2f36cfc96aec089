//! Status: everything at a glance.

use std::sync::Arc;

use rusqlite::Connection;

use super::context::limits;
use super::sync::shown_segment;
use super::usage::{self, Figures, Window};
use super::{Context, JobError, Settings, drift, look, make_good, release, roll_up, run};
use crate::account::{self, Item};
use crate::clock::trust::Placement;
use crate::ledger;
use crate::model::{Formula, Meter, Problem, Timestamp};
use crate::outbox::{self, RecordState, Unseen, UsageRecord};
use crate::provider::Provider;
use crate::rating;
use crate::store;
use crate::wire::{
    ClockStatus, CoverageStatus, DatabaseStatus, JobStatus, LinkStatus, MeterStatus, PushStatus, SCHEMA, Status,
    UnsentStatus,
};

/// A record that has been failing for this many attempts needs someone.
const MANY_ATTEMPTS: u32 = 8;

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
}

/// Answers it.
pub async fn status(context: &Arc<Context>, running: Running) -> Result<Status, JobError> {
    let reading = context.clock.read();
    let now = context.utc(reading);
    let placement = context.placement(reading, None);
    let settings = context.settings();
    let problems = context.problems();
    let boot_id = context.incarnation.boot_id.clone();
    let path = context.store.path().to_owned();
    let mut status = context
        .store
        .read(move |c| {
            let window = usage::current_window(c, now)?;
            let waiting = ledger::placement::waiting(c, &boot_id)?;
            let mut problems = problems;
            problems.extend(stored_problems(c, &settings, now)?);
            problems.extend(set_aside(c, &path)?);
            problems.extend(store::recovered(c, &path)?.as_ref().map(make_good::problem));
            let status = Status {
                schema: SCHEMA,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                now: now.to_string(),
                since: running.since.to_string(),
                mode: mode(&settings, running.sandbox).to_owned(),
                problems,
                link: link(c)?,
                paused: look::paused(c, &settings)?,
                period_from: window.span.from.to_string(),
                period_to: window.span.to.to_string(),
                meters: meters(c, &settings, &window, now)?,
                sample_every_s: settings.config.schedule.sample_every.as_secs(),
                last_sample: ledger::coverage::last_sample(c)?.map(|at| at.to_string()),
                push: push(c, running.next_push)?,
                unsent: unsent(c, &settings, now)?,
                clock: clock(&placement, !waiting.quantities.is_empty()),
                coverage: coverage(c, &window, now)?,
                database: DatabaseStatus { path: path.display().to_string(), bytes: 0, schema: schema(c)? },
                jobs: jobs(c, &running)?,
            };
            Ok::<_, JobError>(status)
        })
        .await?;
    status.database.bytes = bytes(context.store.path());
    status.problems.extend(clock_problem(&status.clock));
    // Worst first; within one severity in the order they were found.
    status.problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
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

/// A ledger that was set aside, for as long as it lies there: nothing disappears silently.
fn set_aside(connection: &Connection, path: &std::path::Path) -> Result<Option<Problem>, JobError> {
    let before = store::set_aside_before(connection, path)?;
    Ok(before.map(|before| {
        let what =
            format!("an earlier ledger of this disk lies beside usage.db as {}: {}", before.name, before.because);
        Problem::note("ledger_set_aside", what, "delete it once nobody needs it any more")
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
        let since = link.as_ref().map_or(window.span.from, |link| link.from);
        let mut status = meter_status(settings, meter, &figures, item, record, window, since, now)?;
        status.not_billed_because = status.not_billed_because.or_else(|| unbilled.clone());
        if let Some(record) = record {
            status.segments = outbox::closed_segments(connection, record.id)?.iter().map(shown_segment).collect();
        }
        found.push(status);
    }
    Ok(found)
}

#[expect(clippy::too_many_arguments, reason = "it only puts side by side what was looked up")]
fn meter_status(
    settings: &Settings,
    meter: &Meter,
    figures: &Figures,
    item: Option<&Item>,
    record: Option<&UsageRecord>,
    window: &Window,
    since: Timestamp,
    now: Timestamp,
) -> Result<MeterStatus, JobError> {
    let unit = &meter.unit;
    let estimate = rating::estimate(figures.used, window.span, since, now);
    let estimate_overage = match (estimate, figures.allowance) {
        (Some(estimate), Some(allowance)) => rating::overage(estimate, allowance, unit, meter.report, meter.rounding)?,
        _ => None,
    };
    let price = figures.unit_amount;
    let cost = estimate_overage.zip(price).and_then(|(units, price)| rating::cost(units, price));
    Ok(MeterStatus {
        name: meter.name.to_string(),
        unit: unit.label.clone(),
        used: unit.number(figures.used),
        used_micros: figures.used.get(),
        included: figures.included().map(|included| unit.number(included)),
        unlimited: figures.is_unlimited(),
        overage: figures.overage,
        estimate: estimate.map(|estimate| unit.number(estimate)),
        estimate_overage,
        estimate_cost: cost.map(|cost| cost.normalize().to_string()),
        currency: cost.and(figures.currency.clone()),
        item: item.map(|item| item.item.to_string()),
        stands: record.and_then(|record| record.standing),
        segments: Vec::new(),
        not_billed_because: not_billed(settings, figures, item),
    })
}

fn not_billed(settings: &Settings, figures: &Figures, item: Option<&Item>) -> Option<String> {
    if matches!(settings.provider, Provider::None) {
        return Some("no provider is configured, or its key is missing".to_owned());
    }
    if !figures.linked {
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

fn clock(placement: &Placement, waiting: bool) -> ClockStatus {
    match placement {
        Placement::Known { by, wall_ahead_us, .. } => {
            ClockStatus { trusted_by: by.word().to_owned(), ahead_s: wall_ahead_us.map(|us| us.div_euclid(1_000_000)) }
        }
        Placement::Waiting => {
            let word = if waiting { "nobody" } else { "nobody yet" };
            ClockStatus { trusted_by: word.to_owned(), ahead_s: None }
        }
    }
}

fn clock_problem(clock: &ClockStatus) -> Option<Problem> {
    let ahead = clock.ahead_s?;
    Some(Problem::needs_someone(
        "clock_wrong",
        format!(
            "this machine's clock is {} seconds {} the provider's",
            ahead.abs(),
            if ahead > 0 { "ahead of" } else { "behind" }
        ),
        "usage is placed by the provider's time meanwhile; correct the clock: timedatectl set-ntp true",
    ))
}

fn coverage(connection: &Connection, window: &Window, now: Timestamp) -> Result<CoverageStatus, JobError> {
    let (observed_bp, gaps) = usage::observed(connection, window, now)?;
    Ok(CoverageStatus { observed_bp, gaps: u32::try_from(gaps.len()).unwrap_or(u32::MAX) })
}

fn jobs(connection: &Connection, running: &Running) -> Result<Vec<JobStatus>, JobError> {
    let runs = run::runs(connection)?;
    Ok([
        ("push", running.next_push),
        ("look", running.next_look),
        ("reconcile", running.next_reconcile),
        ("compact", running.next_compact),
    ]
    .into_iter()
    .map(|(name, next)| {
        let last = runs.iter().find(|run| run.job == name);
        JobStatus {
            name: name.to_owned(),
            last_at: last.map(|run| run.started.to_string()),
            last_because: last.map(|run| run.because.clone()),
            last_result: last.and_then(|run| run.result.clone()),
            next_at: next.map(|next| next.to_string()),
        }
    })
    .collect())
}

/// What needs someone, as the database tells it: so it survives a restart.
fn stored_problems(connection: &Connection, settings: &Settings, now: Timestamp) -> Result<Vec<Problem>, JobError> {
    let mut problems = Vec::new();
    problems.extend(unbilled(connection, settings)?);
    problems.extend(subscription_problem(connection, now)?);
    problems.extend(look::problems(connection, settings)?);
    for record in outbox::unfinished(connection)? {
        problems.extend(record_problem(&record, settings, now));
    }
    problems.extend(closed_differing(connection, now)?);
    for stretch in outbox::unseen(connection)? {
        problems.push(unseen_problem(connection, settings, &stretch)?);
    }
    for carried in outbox::waiting_carries(connection)? {
        let because = carried.held_because.unwrap_or_else(|| "no period has taken it yet".to_owned());
        problems.push(Problem::note(
            "carry_waits",
            format!("{} units of {} wait to be carried: {because}", carried.units, carried.meter),
            "usagectl sync --month YYYY-MM shows the period they come from",
        ));
    }
    let since = roll_up::looked_back_to(&settings.config, now);
    for closed in outbox::closed_since(connection, since)? {
        let due = outbox::credit_due(connection, closed.id)?;
        if due > 0 {
            problems.push(Problem::needs_someone(
                "credit_due",
                format!("{due} units too many were billed on {} until {}", closed.item, closed.period.to),
                "give the customer a credit note for them",
            ));
        }
        problems.extend(closed_problems(&closed));
    }
    for imbalance in outbox::imbalances(connection, since)? {
        problems.push(Problem::needs_someone(
            "books_do_not_balance",
            format!(
                "usage record {}: {} accounted for, {} owed (rule R7)",
                imbalance.record, imbalance.accounted, imbalance.owed
            ),
            "please report this with the output of usagectl sync --month",
        ));
    }
    Ok(problems)
}

/// The next step of a VM that only measures.
fn unbilled(connection: &Connection, settings: &Settings) -> Result<Option<Problem>, JobError> {
    if matches!(settings.provider, Provider::None) {
        let what = "nothing is billed: no provider is configured, or its key is missing; usage is measured";
        let hint = "set provider.kind in usaged.toml and give it a key (man usaged), then: sudo systemctl restart usaged, and \
                    sudo usagectl link --customer cus_… --subscription sub_…";
        return Ok(Some(Problem::note("no_provider", what, hint)));
    }
    let linked = account::in_force(connection)?.is_some();
    let what = "nothing is billed: this VM is not linked to a subscription; usage is measured";
    let hint = "usagectl link --customer cus_… --subscription sub_…";
    Ok((!linked).then(|| Problem::note("not_linked", what, hint)))
}

/// What the provider said of the subscription that is linked, where that is more than "active".
fn subscription_problem(connection: &Connection, now: Timestamp) -> Result<Option<Problem>, JobError> {
    let Some(link) = account::in_force(connection)? else { return Ok(None) };
    let Some(read) = account::last_read(connection, &link.subscription)? else { return Ok(None) };
    let id = &read.id;
    if let Some(why) = read.why_not_billed() {
        return Ok(Some(if read.is_over() {
            let hint = "link the customer's next subscription: usagectl link …; one that is to end at once is best canceled \
                        with invoice_now=true, or the usage it has not invoiced yet is dropped";
            Problem::needs_someone("subscription_ended", format!("{why}: what is used now is not billed"), hint)
        } else {
            let hint = "nothing to do here; usage is measured, and billed from the next period on that is";
            Problem::note("not_billed_now", format!("{why}: what is used now is not billed"), hint)
        }));
    }
    Ok(match (&*read.status, read.ends.filter(|ends| now < *ends)) {
        (status @ ("past_due" | "unpaid"), _) => {
            let hint = "usage goes on its invoices all the same; the provider's dashboard shows which are not paid";
            Some(Problem::note("payment_overdue", format!("the subscription {id} is {status}"), hint))
        }
        (_, Some(ends)) => {
            let hint =
                "what is used until then goes on its last invoice; to end it before, cancel with invoice_now=true";
            Some(Problem::note("subscription_ends", format!("the subscription {id} ends at {ends}"), hint))
        }
        _ => None,
    })
}

/// What was used while periods came and went unseen.
fn unseen_problem(connection: &Connection, settings: &Settings, stretch: &Unseen) -> Result<Problem, JobError> {
    let (item, span) = (&stretch.item, stretch.span);
    let used = match settings.config.meters.get(&stretch.meter) {
        Some(meter) => {
            let used = ledger::buckets::used(connection, ledger::meters::id(connection, &meter.name)?, span)?;
            format!("{} {} of {}", meter.unit.number(used), meter.unit.label, meter.name)
        }
        None => format!("usage of {}", stretch.meter),
    };
    let between = format!("between {} and {}", span.from, span.to);
    Ok(match &stretch.because {
        Some(because) => Problem::note(
            "not_billed_then",
            format!("{because} {between}: {used} in it are not billed"),
            format!("usagectl release {item} --overwrite --because … takes this away"),
        ),
        None => Problem::needs_someone(
            "periods_unknown",
            format!(
                "neither the provider nor its calendar tells the periods of {item} {between}: {used} in them are not billed"
            ),
            format!("compare with the invoices; usagectl release {item} --overwrite --because … leaves it at that"),
        ),
    })
}

/// Why units are not carried, where nothing else says it.
const MAY_STAND_LATER: &str = "they may be among the units that were taken over in a later period";

/// What a closed period leaves to people.
fn closed_problems(closed: &UsageRecord) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (item, to) = (&closed.item, closed.period.to);
    let why = closed.held.as_ref().map(|(_, because)| because).or(closed.drift.as_ref()).map(String::as_str);
    let why = why.or(closed.may_stand_later.then_some(MAY_STAND_LATER));
    let because = why.map_or_else(String::new, |why| format!(": {why}"));
    if closed.held_units > 0 {
        let what = format!("{} units on {item} until {to} were neither billed nor carried{because}", closed.held_units);
        problems.push(Problem::needs_someone("units_held", what, "bill them by hand, or leave them"));
    }
    let stood = closed.standing.unwrap_or(0);
    if stood > 0 && closed.held.as_ref().is_some_and(|(code, _)| code == "item_missing") {
        let what = format!("whether {stood} units that stood on {item} until {to} were billed is not known{because}");
        problems.push(Problem::needs_someone("billing_unknown", what, "look for them on the customer's invoices"));
    }
    problems
}

/// The provider says something else of a closed period than it was closed with.
fn closed_differing(connection: &Connection, now: Timestamp) -> Result<Vec<Problem>, JobError> {
    let problem = |closed: UsageRecord| {
        let drift = closed.drift.filter(|_| closed.held_units == 0)?;
        let what = format!("{} until {}: {drift}", closed.item, closed.period.to);
        Some(Problem::needs_someone("closed_period_differs", what, drift::SETTLED))
    };
    Ok(outbox::closed_lately(connection, now)?.into_iter().filter_map(problem).collect())
}

/// Units that stand above what should, and that nothing we send takes away.
fn cannot_fall(record: &UsageRecord) -> Option<String> {
    let (to_absorb, beside) = (record.to_absorb(), record.beside_target());
    let (units, why) = match (to_absorb, record.channel.formula()) {
        (0, _) => (beside, "they are at another timestamp than this VM's, and its own total leaves them alone"),
        (_, Some(Formula::SumOfDays)) => (to_absorb, "the provider takes no events for days so long ago"),
        _ => (to_absorb, "the provider takes no event below zero"),
    };
    (units > 0).then(|| format!("{units} units too many stand on {}: {why}", record.item))
}

fn record_problem(record: &UsageRecord, settings: &Settings, now: Timestamp) -> Option<Problem> {
    let item = &record.item;
    if let Some((_, because)) = record.held.as_ref().filter(|(code, _)| code == "subscription_ended") {
        let (target, stood) = (record.target, record.standing.unwrap_or(0));
        return Some(Problem::needs_someone(
            "ended_with_usage",
            format!("{target} units should be billed on {item}, of which {stood} stood: {because}"),
            "nothing to do yet; what its last invoice lacks is listed once that was read",
        ));
    }
    if let Some((code, because)) = &record.held {
        let hint = if outbox::is_of_a_change(code) {
            format!("usagectl sync shows the figures; then {}", release::link_again(record))
        } else if release::is_about_figures(code) {
            let way_out = release::way_out(item, code);
            format!("usagectl reconcile --item {item} shows the figures; then {way_out}")
        } else {
            release::way_out(item, code)
        };
        let what = format!("{item} is held: {because}");
        return Some(Problem::needs_someone(&format!("held_{code}"), what, hint));
    }
    let deadline = record.last_send(limits(&settings.config.provider));
    if record.is_near_deadline(limits(&settings.config.provider), now) {
        return Some(Problem::needs_someone(
            "deadline_near",
            format!(
                "{} units for {item} are not sent, and can be billed in this period only until {deadline}",
                record.target
            ),
            "usagectl sync --commit tries now and says why; what misses the deadline is carried into the next period",
        ));
    }
    if record.attempts >= MANY_ATTEMPTS {
        let error = record.last_error.as_deref().unwrap_or("no answer");
        return Some(Problem::needs_someone(
            "push_failing",
            format!("setting {item} has failed {} times: {error}", record.attempts),
            "usagectl doctor looks at key, network and provider",
        ));
    }
    if let Some(what) = cannot_fall(record) {
        let hint = "later usage of this period absorbs them; what is left at its end is listed as a credit due";
        return Some(Problem::note("cannot_fall", what, hint));
    }
    let drift = record.drift.as_ref()?;
    if record.channel.formula() == Some(Formula::Sum) {
        return Some(Problem::needs_someone(
            "accepted_not_counted",
            format!("{item}: accepted, not counted: {drift}"),
            "see the meter's errors in the provider's dashboard; accepted events are not sent again, and what is not \
             counted when the period is closed is held",
        ));
    }
    let hint = "it was set again; see whether somebody else writes to the item";
    Some(Problem::note("drift", format!("{item}: {drift}"), hint))
}
