//! Usage: what was used in a period, what of it is included, and how much of the time was watched.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Months, NaiveDate};
use rusqlite::Connection;
use rust_decimal::Decimal;

use super::sync::last_second;
use super::{Context, JobError, slices};
use crate::account::{self, Link};
use crate::config::Config;
use crate::ledger;
use crate::model::{Meter, MeterName, Micros, Report, Span, Timestamp, decimal_places, nearest};
use crate::outbox;
use crate::rating::{self, Allowance};
use crate::wire::{GapLine, MeterUsage, SCHEMA, UsageReport, UsageRequest};

/// So many gaps are told.
const GAPS_MAX: usize = 1_000;

/// A period to look at.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) span: Span,
    /// Whether it is the provider's (rule R2), or a UTC calendar month for display.
    pub(super) is_providers: bool,
}

/// What a meter comes to in a window.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pub(super) used: Micros,
    /// `None` where no plan states one.
    pub(super) allowance: Option<Allowance>,
    pub(super) overage: Option<i64>,
    pub(super) unlinked: Micros,
    /// In whole currency units.
    pub(super) unit_amount: Option<Decimal>,
    pub(super) currency: Option<String>,
    /// From the first link in the window to the end of the last.
    pub(super) linked: Option<Span>,
}

/// What a meter comes to at the window's end, if it goes on like this.
#[derive(Debug, Clone, Default)]
pub(super) struct Estimate {
    pub(super) used: Option<Micros>,
    pub(super) overage: Option<i64>,
    /// Of the overage what lies above the included amount: all of it, unless the unreduced total is told.
    pub(super) above: Option<i64>,
    /// In whole currency units; `None` where no price is known.
    pub(super) cost: Option<Decimal>,
}

impl Figures {
    pub(super) fn included(&self) -> Option<Micros> {
        match self.allowance {
            Some(Allowance::Included(included)) => Some(included),
            _ => None,
        }
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.allowance == Some(Allowance::Unlimited)
    }
}

/// Answers it: of one meter or of all, in a period or from one time to another, as a whole and piece by piece.
pub async fn usage(context: &Arc<Context>, request: &UsageRequest) -> Result<UsageReport, JobError> {
    let until = request.month.as_deref().map(last_second).transpose()?;
    let (request, now, settings) = (request.clone(), context.now(), context.settings());
    let boot_id = context.incarnation.boot_id.clone();
    let read = move |c: &Connection| {
        let meters = asked_for(&settings.config, request.meter.as_deref())?;
        let ids: Vec<_> = meters.iter().map(|meter| ledger::meters::id(c, &meter.name)).collect::<Result<_, _>>()?;
        let range = slices::range(c, &ids, &request, now)?;
        let window = match (range, until) {
            (Some(span), _) => Window { span, is_providers: false },
            (None, Some(until)) => window_holding(c, until)?,
            (None, None) => current_window(c, now)?,
        };
        let waiting = ledger::placement::waiting(c, &boot_id)?;
        let mut lines = Vec::new();
        for (meter, id) in meters.iter().zip(&ids) {
            let figures = figures(c, &settings.config, meter, &window)?;
            let waits = waiting.quantities.iter().find(|(found, _)| found == id);
            let mut line = line(meter, &figures, waits.map_or(Micros::ZERO, |(_, quantity)| *quantity));
            if range.is_some() {
                // What is included is included in a period, and in no other stretch of time.
                (line.included, line.unlimited, line.overage) = (None, false, None);
            } else {
                foresee(&mut line, meter, &figures, &estimate(meter, &figures, &window, now)?);
            }
            lines.push(line);
        }
        let (observed_bp, mut gaps) = observed(c, &window, now)?;
        gaps.drain(..gaps.len().saturating_sub(GAPS_MAX));
        let slices = match request.by {
            Some(by) => slices::slices(c, &meters, &ids, window.span, by, now)?,
            None => Vec::new(),
        };
        let kind = match (range, window.is_providers) {
            (Some(_), _) => "range",
            (None, true) => "provider",
            (None, false) => "calendar month",
        };
        Ok(UsageReport {
            schema: SCHEMA,
            period_from: window.span.from.to_string(),
            period_to: window.span.to.to_string(),
            period_kind: kind.to_owned(),
            meters: lines,
            observed_bp,
            gaps,
            by: request.by,
            slices,
        })
    };
    context.store.read(read).await
}

/// The meter that was named, or every one.
fn asked_for<'a>(config: &'a Config, named: Option<&str>) -> Result<Vec<&'a Meter>, JobError> {
    let Some(named) = named else { return Ok(config.meters.values().collect()) };
    if let Some(meter) = config.meters.values().find(|meter| meter.name.as_str() == named) {
        return Ok(vec![meter]);
    }
    let named: String = named.chars().take(80).collect();
    let known: Vec<_> = config.meters.keys().map(MeterName::as_str).collect();
    let hint = match nearest(&named, known.iter().copied()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(JobError::refused("bad_meter", format!("there is no meter {named:?}"), hint))
}

fn line(meter: &Meter, figures: &Figures, waiting: Micros) -> MeterUsage {
    MeterUsage {
        name: meter.name.to_string(),
        unit: meter.unit.label.clone(),
        used: meter.unit.number(figures.used),
        used_micros: figures.used.get(),
        included: figures.included().map(|included| meter.unit.number(included)),
        unlimited: figures.is_unlimited(),
        overage: figures.overage,
        waiting_for_clock: meter.unit.number(waiting),
        unlinked: meter.unit.number(figures.unlinked),
        estimate: None,
        estimate_overage: None,
        estimate_cost: None,
        currency: None,
    }
}

fn foresee(line: &mut MeterUsage, meter: &Meter, figures: &Figures, estimate: &Estimate) {
    line.estimate = estimate.used.map(|used| meter.unit.number(used));
    line.estimate_overage = estimate.overage;
    line.estimate_cost = estimate.cost.map(|cost| cost.normalize().to_string());
    line.currency = estimate.cost.and(figures.currency.clone());
}

/// The provider's period that holds now, else this UTC month.
pub(super) fn current_window(connection: &Connection, now: Timestamp) -> Result<Window, JobError> {
    window_holding(connection, now)
}

/// The provider's period that holds a moment, else its UTC month (rule R2).
fn window_holding(connection: &Connection, at: Timestamp) -> Result<Window, JobError> {
    let mut records = outbox::unfinished(connection)?;
    records.extend(outbox::closed_since(connection, at)?);
    match records.iter().find(|record| record.period.contains(at)) {
        Some(record) => Ok(Window { span: record.period, is_providers: true }),
        None => Ok(Window { span: utc_month(at), is_providers: false }),
    }
}

/// The UTC month that holds a moment.
#[must_use]
pub fn utc_month(at: Timestamp) -> Span {
    let begin = |date: NaiveDate| {
        date.and_hms_opt(0, 0, 0).map(|midnight| Timestamp::from_secs(midnight.and_utc().timestamp()))
    };
    let month = DateTime::from_timestamp(at.secs(), 0).and_then(|time| {
        let first = NaiveDate::from_ymd_opt(time.year(), time.month(), 1)?;
        Some(Span::new(begin(first)?, begin(first.checked_add_months(Months::new(1))?)?))
    });
    // Only a clock far outside of history has no month.
    month.unwrap_or(Span::new(at, at))
}

/// Looks a meter up in a window. Allowance and overage are by the link that is in force at its end.
pub(super) fn figures(
    connection: &Connection,
    config: &Config,
    meter: &Meter,
    window: &Window,
) -> Result<Figures, JobError> {
    let id = ledger::meters::id(connection, &meter.name)?;
    let used = ledger::buckets::used(connection, id, window.span)?;
    let links = account::all(connection)?;
    let mut linked = Micros::ZERO;
    for link in &links {
        if let Some(span) = link.span().overlap(window.span) {
            linked = linked
                .checked_add(ledger::buckets::used(connection, id, span)?)
                .ok_or(rating::RatingError::TooLarge)?;
        }
    }
    let mut in_window = links.iter().filter(|link| link.span().overlap(window.span).is_some());
    let first = in_window.clone().next();
    let last = in_window.next_back();
    let allowance = last.and_then(|link| allowance(config, link, meter));
    let overage = match allowance {
        Some(allowance) => rating::overage(linked, allowance, &meter.unit, meter.report, meter.rounding)?,
        None => None,
    };
    let (unit_amount, currency) = match last {
        Some(link) => price(connection, config, link, meter)?.unzip(),
        None => (None, None),
    };
    Ok(Figures {
        used,
        allowance,
        overage,
        unlinked: used.checked_sub(linked).unwrap_or(Micros::ZERO),
        unit_amount,
        currency,
        linked: first.zip(last).map(|(first, last)| Span::new(first.span().from, last.span().to)),
    })
}

/// What a unit above the included amount costs, in whole units of which currency: as the item's price was read, else as
/// the plan says. `None` where that is not known, or where a part of the period is billed at another price.
fn price(
    connection: &Connection,
    config: &Config,
    link: &Link,
    meter: &Meter,
) -> Result<Option<(Decimal, String)>, JobError> {
    let item = account::items_of(connection, link.id)?.into_iter().find(|item| item.meter == meter.name);
    if let Some(item) = item {
        let records = outbox::unfinished(connection)?;
        for record in records.iter().filter(|record| record.item == item.item && record.segment_of.is_none()) {
            if outbox::closed_segments(connection, record.id)?.iter().any(|closed| closed.price != item.price) {
                return Ok(None);
            }
        }
        if let Some(smallest) = item.unit_amount {
            let whole = smallest.checked_mul(Decimal::new(1, decimal_places(&item.currency)));
            return Ok(whole.map(|amount| (amount.normalize(), item.currency)));
        }
    }
    // A price of tiers has no such amount: the operator's word is all there is.
    let Some(plan) = config.plans.get(&link.plan) else { return Ok(None) };
    let amount = plan.meters.get(&meter.name).and_then(|terms| terms.unit_amount);
    Ok(amount.map(|amount| (amount, plan.currency.clone())))
}

/// Carries a window's usage on to its end. What was used before the link is not billed, and says nothing of the rate at
/// which it goes on: it is left out of the rate and added again.
pub(super) fn estimate(
    meter: &Meter,
    figures: &Figures,
    window: &Window,
    now: Timestamp,
) -> Result<Estimate, JobError> {
    let linked = figures.linked.filter(|linked| linked.contains(now));
    let aside = linked.map_or(Micros::ZERO, |_| figures.unlinked);
    let grows = figures.used.checked_sub(aside).unwrap_or(figures.used);
    let since = linked.map_or(window.span.from, |linked| linked.from);
    let Some(at_end) = rating::estimate(grows, window.span, since, now) else { return Ok(Estimate::default()) };
    let Some(allowance) = figures.allowance.filter(|_| linked.is_some()) else {
        return Ok(Estimate { used: at_end.checked_add(aside), ..Estimate::default() });
    };
    let units = |report| rating::overage(at_end, allowance, &meter.unit, report, meter.rounding);
    // A total that is told unreduced costs what lies above the first tier, which is free.
    let above = units(Report::Overage)?;
    let cost = above.zip(figures.unit_amount).and_then(|(units, price)| rating::cost(units, price));
    Ok(Estimate { used: at_end.checked_add(aside), overage: units(meter.report)?, above, cost })
}

/// For display: by the plan in force at the end. What is billed is rated by [`super::rate`].
fn allowance(config: &Config, link: &Link, meter: &Meter) -> Option<Allowance> {
    let included = config.plans.get(&link.plan)?.meters.get(&meter.name)?.included?;
    rating::whole_allowance(included, &meter.unit).ok()
}

/// Share of the window so far that was observed, and its gaps.
pub(super) fn observed(
    connection: &Connection,
    window: &Window,
    now: Timestamp,
) -> Result<(u32, Vec<GapLine>), JobError> {
    let span = Span::new(window.span.from, window.span.to.min(now.max(window.span.from)));
    let coverage = ledger::coverage::of(connection, span)?;
    let gaps = coverage.gaps.iter().map(|gap| GapLine {
        from: gap.span.from.to_string(),
        to: gap.span.to.to_string(),
        reason: gap.reason.word().to_owned(),
    });
    let share = (i128::from(coverage.observed_us) * 10_000).checked_div(i128::from(span.micros())).unwrap_or(0);
    Ok((u32::try_from(share).unwrap_or(0).min(10_000), gaps.collect()))
}
