//! Usage: what was used in a period, what of it is included, and how much of the time was watched.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Months, NaiveDate};
use rusqlite::Connection;
use rust_decimal::Decimal;

use super::sync::last_second;
use super::{Context, JobError};
use crate::account::{self, Link};
use crate::config::Config;
use crate::ledger;
use crate::model::{Meter, Micros, Span, Timestamp};
use crate::outbox;
use crate::rating::{self, Allowance};
use crate::wire::{GapLine, MeterUsage, SCHEMA, UsageReport};

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
    pub(super) linked: bool,
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

/// Answers it. `month` is `YYYY-MM`; default the current period.
pub async fn usage(context: &Arc<Context>, month: Option<&str>) -> Result<UsageReport, JobError> {
    let until = month.map(last_second).transpose()?;
    let now = context.now();
    let settings = context.settings();
    let boot_id = context.incarnation.boot_id.clone();
    context
        .store
        .read(move |c| {
            let window = match until {
                Some(until) => window_holding(c, until)?,
                None => current_window(c, now)?,
            };
            let waiting = ledger::placement::waiting(c, &boot_id)?;
            let mut meters = Vec::new();
            for meter in settings.config.meters.values() {
                let id = ledger::meters::id(c, &meter.name)?;
                let waits = waiting.quantities.iter().find(|(found, _)| *found == id);
                let waits = waits.map_or(Micros::ZERO, |(_, quantity)| *quantity);
                meters.push(line(meter, &figures(c, &settings.config, meter, &window)?, waits));
            }
            let (observed_bp, gaps) = observed(c, &window, now)?;
            Ok(UsageReport {
                schema: SCHEMA,
                period_from: window.span.from.to_string(),
                period_to: window.span.to.to_string(),
                period_kind: if window.is_providers { "provider" } else { "calendar month" }.to_owned(),
                meters,
                observed_bp,
                gaps,
            })
        })
        .await
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
    }
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
    let last = links.iter().rfind(|link| link.span().overlap(window.span).is_some());
    let allowance = last.and_then(|link| allowance(config, link, meter));
    let overage = match allowance {
        Some(allowance) => rating::overage(linked, allowance, &meter.unit, meter.report, meter.rounding)?,
        None => None,
    };
    let plan = last.and_then(|link| config.plans.get(&link.plan));
    Ok(Figures {
        used,
        allowance,
        overage,
        unlinked: used.checked_sub(linked).unwrap_or(Micros::ZERO),
        unit_amount: plan.and_then(|plan| plan.meters.get(&meter.name)).and_then(|terms| terms.unit_amount),
        currency: plan.map(|plan| plan.currency.clone()),
        linked: last.is_some(),
    })
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
