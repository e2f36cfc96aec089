//! Roll up, rate, enqueue: from buckets to what should stand, in one transaction.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{Context, JobError};
use crate::account::{self, Item, Link};
use crate::config::Config;
use crate::ledger::{self, LedgerError};
use crate::model::{
    Formula, Included, ItemId, MICROS_PER_DAY, Meter, MeterName, Micros, Problem, Report, Rounding, Span, Timestamp,
};
use crate::outbox::{self, Rated, RecordState, UsageRecord};
use crate::rating::{self, Allowance, InForce};
use crate::store::Tx;

/// Closed periods are looked at for at least this long.
const LOOK_BACK_DAYS: u32 = 400;

const NOT_READY: &str = "plan_not_ready";

/// Brings the targets of periods that are not closed in line with what was used: after every sample, so that `status`
/// shows what is unsent, and since when. Closed periods change too seldom to be summed up that often.
pub async fn roll_up_open(context: &Context) -> Result<(), JobError> {
    let settings = context.settings();
    let now = context.now();
    context.store.write(move |tx| rate_unfinished(tx, &settings.config, now)).await?;
    Ok(())
}

/// Brings every target in line with what was used. Safe at any moment.
pub async fn roll_up(context: &Context) -> Result<(), JobError> {
    let settings = context.settings();
    let now = context.now();
    let unrated = context.store.write(move |tx| rate_all(tx, &settings.config, now)).await?;
    match unrated.first() {
        Some(first) => context.raise(Problem::needs_someone(
            NOT_READY,
            first.clone(),
            "complete the plan in usaged.toml, then: systemctl reload usaged",
        )),
        None => context.clear(NOT_READY),
    }
    Ok(())
}

/// Closed periods that ended since then are rated again and checked: for as long as a single credit can be taken back.
pub(super) fn looked_back_to(config: &Config, now: Timestamp) -> Timestamp {
    let days = config.intake.keep_credits_days.max(LOOK_BACK_DAYS);
    now.minus(i64::from(days).saturating_mul(MICROS_PER_DAY))
}

/// Returns why rows could not be rated; those keep their last target.
pub(super) fn rate_all(tx: &Tx<'_>, config: &Config, now: Timestamp) -> Result<Vec<String>, JobError> {
    let links = linked_items(tx)?;
    let mut unrated = Vec::new();
    let since = looked_back_to(config, now);
    // Closed periods first, oldest first: what they hand on is part of the next one's target.
    for closed in outbox::closed_since(tx, since)? {
        rate_one(tx, config, &links, &closed, now, &mut unrated)?;
        let rated = outbox::by_id(tx, closed.id)?;
        outbox::settle_closed(tx, &rated, now)?;
    }
    unrated.extend(rate_unfinished(tx, config, now)?);
    Ok(unrated)
}

fn rate_unfinished(tx: &Tx<'_>, config: &Config, now: Timestamp) -> Result<Vec<String>, JobError> {
    let links = linked_items(tx)?;
    let mut unrated = Vec::new();
    for record in outbox::unfinished(tx)? {
        rate_one(tx, config, &links, &record, now, &mut unrated)?;
    }
    Ok(unrated)
}

fn rate_one(
    tx: &Tx<'_>,
    config: &Config,
    links: &[(Link, Vec<Item>)],
    record: &UsageRecord,
    now: Timestamp,
    unrated: &mut Vec<String>,
) -> Result<(), JobError> {
    let record = &outbox::sum_segments(tx, record)?;
    if record.segment_of.is_some() {
        return Ok(());
    }
    match rate(tx, config, links, record, now) {
        Ok(rating) => {
            let carried_in = outbox::carried_in(tx, record.id)?;
            if rating.overage != record.overage || carried_in != record.carried_in {
                let (over, meter) = (rating.overage, &record.meter);
                tracing::debug!(target: "usaged::flow", "rolled up {meter}: {over} over, {carried_in} carried in");
            }
            let rated = Rated {
                plan: rating.plan,
                gross: rating.gross,
                rounding: rating.rounding,
                used: rating.used.get(),
                included: rating.included.map(Micros::get),
                overage: rating.overage,
                carried_in,
                by_forgotten: rating.by_forgotten,
                unit_micros: rating.unit_micros,
                spare: rating.spare.map(Micros::get),
                forgettable: rating.forgettable.get(),
            };
            outbox::save_rating(tx, record.id, &rated, now)?;
            let adopted = record.adopted.saturating_sub(record.adopted_by_usage).saturating_add(rated.by_forgotten);
            if record.channel.formula() == Some(Formula::SumOfDays) && record.state != RecordState::Closed {
                let moved = carried_in.saturating_add(adopted).saturating_sub(record.closed_segments);
                outbox::save_days(tx, record.id, &rating.days, moved, now)?;
            }
        }
        Err(JobError::Refused { code: NOT_READY, what, .. }) => unrated.push(what),
        // A sum that does not fit is this row's trouble alone: the others are still billed.
        Err(error) if is_about_the_sum(&error) => {
            unrated.push(format!("{} on {} cannot be rated: {error}", record.meter, record.item));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Told from a database in trouble, which may have rolled the whole transaction back: then nothing more may be written.
fn is_about_the_sum(error: &JobError) -> bool {
    match error {
        JobError::Ledger(LedgerError::Store(store)) => !store.is_passing(),
        JobError::Ledger(_) | JobError::Rating(_) => true,
        _ => false,
    }
}

/// What a period comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    /// By which plan.
    pub plan: String,
    /// Whether the unreduced total is reported.
    pub gross: bool,
    /// How the overage was rounded.
    pub rounding: Rounding,
    /// Usage of the links that bill on this item.
    pub used: Micros,
    /// What is included; `None` is unlimited.
    pub included: Option<Micros>,
    /// Billed units above it.
    pub overage: i64,
    /// Rule S5: billed units that usage this ledger forgot comes to, on top of these.
    pub by_forgotten: i64,
    /// Millionths of the base unit in a billed unit.
    pub unit_micros: i64,
    /// By how much less usage would come to as many units; below zero while the allowance is not used up.
    pub spare: Option<Micros>,
    /// Rule S5: as much usage may be forgotten.
    pub forgettable: Micros,
    /// Rule S8: of the overage, by UTC day, where the channel has days.
    pub days: BTreeMap<i64, i64>,
}

/// All links with their items, oldest first.
pub(super) fn linked_items(connection: &Connection) -> Result<Vec<(Link, Vec<Item>)>, JobError> {
    let links = account::all(connection)?;
    links
        .into_iter()
        .map(|link| {
            let items = account::items_of(connection, link.id)?;
            Ok((link, items))
        })
        .collect()
}

/// Rates one row from the ledger. [`JobError::Refused`] says why it cannot be rated.
pub fn rate(
    connection: &Connection,
    config: &Config,
    links: &[(Link, Vec<Item>)],
    record: &UsageRecord,
    now: Timestamp,
) -> Result<Rating, JobError> {
    let Some(meter) = config.meters.get(&record.meter) else {
        return Err(not_ready(format!("the meter {} is billed and not configured", record.meter)));
    };
    let earlier = outbox::earlier_items(connection, record.id)?;
    let billing = billing(links, record, &earlier);
    let used = used_by(connection, &meter.name, &billing, record.period)?;
    let deciding: Vec<&Link> = links
        .iter()
        .filter(|(link, items)| {
            link.customer == record.customer && (bills(items, record, &earlier) || has_no_end(config, link, meter))
        })
        .map(|(link, _)| link)
        .collect();
    // P's own terms: what held when it closed stays, whatever is configured later (rule R6). So they do where its links are
    // lost: without one nothing would be included.
    let terms = if record.state == RecordState::Closed || deciding.is_empty() {
        closed_terms(record)
    } else {
        let (plan, allowance) = allowance(config, meter, &deciding, record)?;
        Terms { plan, allowance, report: meter.report, rounding: meter.rounding }
    };
    let over = |used| rating::overage(used, terms.allowance, &meter.unit, terms.report, terms.rounding);
    let overage = over(used)?;
    // What was forgotten was used in this period, so that the allowance and a begun unit count once with it (rule S5).
    let all = used.checked_add(Micros::new(record.forgotten)).ok_or(rating::RatingError::TooLarge)?;
    let by_forgotten = over(all)?.unwrap_or(0).saturating_sub(overage.unwrap_or(0));
    let spare = rating::spare(all, terms.allowance, &meter.unit, terms.report, terms.rounding)?;
    let forgettable = forgettable(connection, meter, &billing, record, now)?;
    let mut days = BTreeMap::new();
    if record.channel.formula() == Some(Formula::SumOfDays) && record.state != RecordState::Closed {
        // A day's share: the rounded running overage at its end, less that at its start.
        let (mut running, mut billed) = (Micros::ZERO, 0);
        for day in days_of(record.period, now) {
            let part = used_by(connection, &meter.name, &billing, day)?;
            running = running.checked_add(part).ok_or(rating::RatingError::TooLarge)?;
            let until = over(running)?.unwrap_or(0);
            days.insert(day.from.secs(), until.saturating_sub(billed));
            billed = until;
        }
    }
    Ok(Rating {
        plan: terms.plan,
        gross: terms.report == Report::Gross,
        rounding: terms.rounding,
        used,
        included: match terms.allowance {
            Allowance::Included(micros) => Some(micros),
            Allowance::Unlimited => None,
        },
        overage: overage.unwrap_or(0),
        by_forgotten,
        unit_micros: meter.unit.micros,
        spare,
        forgettable,
        days,
    })
}

/// The UTC days of a period that have begun.
fn days_of(period: Span, now: Timestamp) -> impl Iterator<Item = Span> {
    let end = period.to.min(now.plus(1));
    std::iter::successors(Some(period.from), |from| Some(from.plus(MICROS_PER_DAY)))
        .take_while(move |from| *from < end)
        .map(move |from| Span::new(from, from.plus(MICROS_PER_DAY).min(period.to)))
}

/// By what a period is rated.
struct Terms {
    plan: String,
    allowance: Allowance,
    report: Report,
    rounding: Rounding,
}

fn closed_terms(record: &UsageRecord) -> Terms {
    Terms {
        plan: record.plan.clone(),
        allowance: record.included.map_or(Allowance::Unlimited, |included| Allowance::Included(Micros::new(included))),
        report: if record.gross { Report::Gross } else { Report::Overage },
        rounding: record.rounding,
    }
}

/// What the ledger has of a row's usage in a part of its period.
pub(super) fn used_in(
    connection: &Connection,
    links: &[(Link, Vec<Item>)],
    record: &UsageRecord,
    part: Span,
) -> Result<Micros, JobError> {
    let earlier = outbox::earlier_items(connection, record.id)?;
    used_by(connection, &record.meter, &billing(links, record, &earlier), part)
}

/// What the ledger has now of a row's usage.
pub(super) fn used_now(
    connection: &Connection,
    links: &[(Link, Vec<Item>)],
    record: &UsageRecord,
) -> Result<Micros, JobError> {
    match used_in(connection, links, record, record.period) {
        Err(JobError::Ledger(LedgerError::NoMeter { .. })) => Ok(Micros::ZERO),
        used => used,
    }
}

/// The links that bill on a row.
fn billing<'l>(links: &'l [(Link, Vec<Item>)], record: &UsageRecord, earlier: &[ItemId]) -> Vec<&'l Link> {
    let bills = |(link, items): &&(Link, Vec<Item>)| link.customer == record.customer && bills(items, record, earlier);
    links.iter().filter(bills).map(|(link, _)| link).collect()
}

/// Whether a link's items bill on this row: on its item, or on an earlier one of its period (rule R5).
fn bills(items: &[Item], record: &UsageRecord, earlier: &[ItemId]) -> bool {
    let is_of_row = |item: &ItemId| *item == record.item || earlier.contains(item);
    items.iter().any(|item| item.meter == record.meter && is_of_row(&item.item))
}

/// A plan without an end has no item for the meter, and decides about the period all the same (rule R4).
fn has_no_end(config: &Config, link: &Link, meter: &Meter) -> bool {
    let terms = config.plans.get(&link.plan).and_then(|plan| plan.meters.get(&meter.name));
    terms.is_some_and(|terms| terms.included == Some(Included::Unlimited))
}

/// Rule R1: usage counts where a link that bills on this item was in force.
fn used_by(connection: &Connection, meter: &MeterName, billing: &[&Link], stretch: Span) -> Result<Micros, JobError> {
    let id = ledger::meters::id(connection, meter)?;
    let mut used = Micros::ZERO;
    for link in billing {
        if let Some(span) = link.span().overlap(stretch) {
            let part = ledger::buckets::used(connection, id, span)?;
            used = used.checked_add(part).ok_or(rating::RatingError::TooLarge)?;
        }
    }
    Ok(used)
}

/// Rule S5: what the machine can have used of an open period while this ledger was not kept (rule M6). Nothing of what
/// applications push, nor where units of an earlier period may have been carried into this one.
fn forgettable(
    connection: &Connection,
    meter: &Meter,
    billing: &[&Link],
    record: &UsageRecord,
    now: Timestamp,
) -> Result<Micros, JobError> {
    if record.state != RecordState::Open || outbox::follows_unsettled(connection, record)? {
        return Ok(Micros::ZERO);
    }
    let id = ledger::meters::id(connection, &meter.name)?;
    let so_far = Span::new(record.period.from, record.period.to.min(now).max(record.period.from));
    let mut absent_us = 0_i64;
    for span in billing.iter().filter_map(|link| link.span().overlap(so_far)) {
        absent_us = absent_us.saturating_add(ledger::coverage::absent_us(connection, span)?);
    }
    Ok(ledger::samples::possible(connection, id, &meter.source, absent_us)?)
}

fn allowance(
    config: &Config,
    meter: &Meter,
    billing: &[&Link],
    record: &UsageRecord,
) -> Result<(String, Allowance), JobError> {
    let mut plans = Vec::new();
    let mut plan = String::new();
    for link in billing {
        let Some(span) = link.span().overlap(record.period) else { continue };
        plans.push(InForce { span, included: included(config, link, meter)? });
        plan = link.plan.to_string();
    }
    let found = rating::allowance(&plans, config.allowance, record.period, &meter.unit)?;
    Ok((plan, found.unwrap_or(Allowance::Included(Micros::ZERO))))
}

fn included(config: &Config, link: &Link, meter: &Meter) -> Result<Included, JobError> {
    let Some(plan) = config.plans.get(&link.plan) else {
        return Err(not_ready(format!("the plan {} is linked and not configured", link.plan)));
    };
    plan.meters.get(&meter.name).and_then(|terms| terms.included).ok_or_else(|| {
        let what = "does not state how much it includes of";
        not_ready(format!("the plan {} {what} {}; nothing more is sent for it", plan.name, meter.name))
    })
}

/// Never a zero in place of an amount nobody stated: the last target stays until the plan is ready.
fn not_ready(what: String) -> JobError {
    JobError::refused(NOT_READY, what, "complete the plan in usaged.toml, then: systemctl reload usaged")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{self, Environment, Paths, Reading};

    #[test]
    fn m9_a_closed_period_is_looked_at_as_long_as_its_credits_can_be_taken_back() {
        let nowhere = PathBuf::from("/nonexistent");
        let paths =
            Paths { state: nowhere.clone(), runtime: nowhere.clone(), config: nowhere, reading: Reading::Never };
        let mut config = config::load(&paths, &Environment::default()).unwrap().config;
        let day = |day: i64| Timestamp::from_secs(day * 86_400);
        for (keep_credits_days, looked_back_days) in [(35, 400), (400, 400), (1_000, 1_000)] {
            config.intake.keep_credits_days = keep_credits_days;
            assert_eq!(looked_back_to(&config, day(20_000)), day(20_000 - looked_back_days));
        }
    }
}
