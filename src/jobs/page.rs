//! What the usage page shows beside status and alerts: usage over time, what was sent, and the periods that are over.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Months, NaiveDate};
use rusqlite::Connection;

use super::explain::{push, utc_days};
use super::usage::{self, Window};
use super::{Context, JobError, portal};
use crate::config::Config;
use crate::ledger;
use crate::model::{MICROS_PER_HOUR, Meter, Span, Timestamp};
use crate::outbox;
use crate::wire::{Bar, MeterChart, PageReport, PastPeriod, SentLine, UsageRequest};

/// So many requests are shown.
const SENT: u32 = 20;
const HOURS: i64 = 24;
/// So many months are looked back on.
const MONTHS: u32 = 12;

/// Answers it.
pub async fn page(context: &Arc<Context>) -> Result<PageReport, JobError> {
    let (now, settings) = (context.now(), context.settings());
    let (charts, gaps, sent) = context
        .store
        .read(move |c| {
            let window = usage::current_window(c, now)?;
            let (_, gaps) = usage::observed(c, &window, now)?;
            Ok::<_, JobError>((charts(c, &settings.config, window.span, now)?, gaps, sent(c, now)?))
        })
        .await?;
    let (past, no_portal) = (past(context, now).await?, portal::no_portal(context).await?);
    Ok(PageReport { charts, gaps, sent, past, no_portal })
}

fn charts(c: &Connection, config: &Config, period: Span, now: Timestamp) -> Result<Vec<MeterChart>, JobError> {
    let watched = |span| Ok((span, usage::observed(c, &Window { span, is_providers: false }, now)?.0));
    let days = utc_days(period, now).map(watched).collect::<Result<Vec<_>, JobError>>()?;
    let hours = hours(now).map(watched).collect::<Result<Vec<_>, JobError>>()?;
    let chart = |meter: &Meter| {
        Ok(MeterChart {
            meter: meter.name.to_string(),
            unit: meter.unit.label.clone(),
            days: bars(c, meter, &days)?,
            hours: bars(c, meter, &hours)?,
        })
    };
    config.meters.values().map(chart).collect()
}

fn bars(c: &Connection, meter: &Meter, spans: &[(Span, u32)]) -> Result<Vec<Bar>, JobError> {
    let id = ledger::meters::id(c, &meter.name)?;
    let bar = |(span, observed_bp): &(Span, u32)| {
        let used = ledger::buckets::used(c, id, *span)?;
        Ok(Bar {
            from: span.from.to_string(),
            used: meter.unit.number(used),
            used_micros: used.get(),
            observed_bp: *observed_bp,
        })
    };
    spans.iter().map(bar).collect()
}

/// The last hours, oldest first, the one that is going on cut at now.
fn hours(now: Timestamp) -> impl Iterator<Item = Span> {
    let this = now.minus(now.micros().rem_euclid(MICROS_PER_HOUR));
    (0..HOURS).rev().map(move |ago| {
        let from = this.minus(ago * MICROS_PER_HOUR);
        Span::new(from, from.plus(MICROS_PER_HOUR))
    })
}

/// Of every row that is not closed, and of those that were within the days shown.
fn sent(c: &Connection, now: Timestamp) -> Result<Vec<SentLine>, JobError> {
    let mut records = outbox::unfinished(c)?;
    records.extend(outbox::closed_since(c, now.minus(31 * 24 * MICROS_PER_HOUR))?);
    let mut found = Vec::new();
    for record in &records {
        let of = outbox::newest_of(c, record.id, SENT)?;
        found.extend(of.into_iter().map(|delivery| (delivery.first_sent, record, delivery)));
    }
    found.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let line = |(_, record, delivery): (Timestamp, &outbox::UsageRecord, outbox::Delivery)| SentLine {
        meter: record.meter.to_string(),
        push: push(delivery),
    };
    Ok(found.into_iter().take(usize::try_from(SENT).unwrap_or(usize::MAX)).map(line).collect())
}

/// A month stands for the period that holds its last second (rule R2), so a long period is met more than once. One of which
/// nothing is known is left out.
async fn past(context: &Arc<Context>, now: Timestamp) -> Result<Vec<PastPeriod>, JobError> {
    let mut found: Vec<PastPeriod> = Vec::new();
    for month in months(now) {
        let wanted = UsageRequest { month: Some(month.clone()), ..UsageRequest::default() };
        let usage = usage::usage(context, &wanted).await?;
        let is_over = Timestamp::parse(&usage.period_to).is_ok_and(|to| to <= now);
        let is_known = usage.observed_bp > 0 || usage.meters.iter().any(|meter| meter.used_micros != 0);
        let is_new = found.last().is_none_or(|last| last.usage.period_from != usage.period_from);
        if is_over && is_known && is_new {
            found.push(PastPeriod { month, usage });
        }
    }
    Ok(found)
}

/// This month and those before it, newest first, as they are asked for.
fn months(now: Timestamp) -> Vec<String> {
    let first =
        DateTime::from_timestamp(now.secs(), 0).and_then(|time| NaiveDate::from_ymd_opt(time.year(), time.month(), 1));
    let month = |ago| first?.checked_sub_months(Months::new(ago)).map(|month| month.format("%Y-%m").to_string());
    (0..=MONTHS).filter_map(month).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::testing::at;

    #[test]
    fn the_last_day_is_shown_by_the_hour_and_ends_with_the_one_that_goes_on() {
        let now = at("2026-11-05T12").plus(90_000_000);
        let hours: Vec<Span> = hours(now).collect();
        assert_eq!((hours.len(), hours[0].from), (24, at("2026-11-04T13")));
        assert_eq!((hours[23].from, hours[23].to), (at("2026-11-05T12"), at("2026-11-05T13")));
        assert!(hours.windows(2).all(|pair| pair[0].to == pair[1].from));
    }

    #[test]
    fn a_year_of_months_is_looked_back_on() {
        let months = months(at("2026-01-31T23"));
        assert_eq!((months.len(), &*months[0], &*months[1], &*months[12]), (13, "2026-01", "2025-12", "2025-01"));
    }
}
