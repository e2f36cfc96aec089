//! Certificate: what should stand, beside what the provider says does (rule S13).

use std::sync::Arc;

use rusqlite::Connection;

use super::sync::obstacle;
use super::{Context, JobError, close, roll_up, stands, unsent};
use crate::account;
use crate::config::Config;
use crate::model::{ItemId, Micros, Rounding, Timestamp, Unit};
use crate::outbox::{self, RecordState, UsageRecord};
use crate::provider::{ReadError, Standing};
use crate::store::Tx;
use crate::wire::DrainLine;

/// What the ledger says.
pub(super) struct Owed {
    /// Items in periods that are not closed.
    pub(super) rows: Vec<Row>,
    /// What is in none of their totals, or cannot stand.
    pub(super) missing: Vec<String>,
}

/// An item in a period.
pub(super) struct Row {
    pub(super) record: UsageRecord,
    unit: Unit,
}

/// What is certain to stand, and what is not.
pub(super) struct Certificate {
    pub(super) lines: Vec<DrainLine>,
    pub(super) missing: Vec<String>,
}

impl Certificate {
    /// Whether everything stands.
    pub(super) fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.lines.iter().all(|line| line.certified)
    }
}

/// Rates everything once more, and says at the same moment what should stand.
pub(super) fn owed(tx: &Tx<'_>, config: &Config, now: Timestamp) -> Result<Owed, JobError> {
    let mut missing = roll_up::rate_all(tx, config, now)?;
    let unit = |record: &UsageRecord| {
        config.meters.get(&record.meter).map_or_else(|| Unit::of("units"), |meter| meter.unit.clone())
    };
    let rows: Vec<Row> =
        outbox::unfinished(tx)?.into_iter().map(|record| Row { unit: unit(&record), record }).collect();
    missing.extend(unsent::unplaced(tx)?);
    missing.extend(without_a_period(tx, &rows, now)?);
    missing.extend(waiting_carries(tx)?);
    missing.extend(unsent::neither_billed_nor_carried(tx)?);
    missing.extend(credits_due(tx, config, now)?);
    Ok(Owed { rows, missing })
}

/// What was used since an item's last known period is in no total.
fn without_a_period(connection: &Connection, rows: &[Row], now: Timestamp) -> Result<Vec<String>, JobError> {
    let Some(link) = account::in_force(connection)?.filter(|link| link.from <= now) else { return Ok(Vec::new()) };
    let is_open = |item: &ItemId| {
        rows.iter()
            .map(|row| &row.record)
            .any(|record| record.item == *item && record.state == RecordState::Open && record.period.contains(now))
    };
    let items = account::items_of(connection, link.id)?.into_iter().filter(|item| !is_open(&item.item));
    let untold = |account::Item { meter, item, .. }| {
        format!("{meter}: the provider has told no current period of {item}, so what was used lately is in no total")
    };
    Ok(items.map(untold).collect())
}

fn waiting_carries(connection: &Connection) -> Result<Vec<String>, JobError> {
    let line = |carried: outbox::Carried| {
        let because = carried.held_because.map_or_else(String::new, |because| format!(": {because}"));
        let (meter, units) = (carried.meter, carried.units);
        format!("{meter}: {units} units wait for a later period, which a deleted VM does not have{because}")
    };
    Ok(outbox::waiting_carries(connection)?.into_iter().map(line).collect())
}

fn credits_due(connection: &Connection, config: &Config, now: Timestamp) -> Result<Vec<String>, JobError> {
    let mut found = Vec::new();
    for closed in outbox::closed_since(connection, roll_up::looked_back_to(config, now))? {
        let units = outbox::credit_due(connection, closed.id)?;
        if units > 0 {
            let (meter, item, to) = (&closed.meter, &closed.item, closed.period.to);
            found.push(format!("{meter}: {units} units too many were billed on {item} until {to}, a credit due"));
        }
    }
    Ok(found)
}

/// Compares what should stand with what the provider says does.
pub(super) async fn read_back(context: &Arc<Context>, owed: Owed) -> Result<Certificate, JobError> {
    let mut read = stands::read_all(context, owed.rows.iter().map(|row| &row.record)).await;
    let mut lines = Vec::new();
    for row in owed.rows {
        let stands = found(read.remove(&row.record.id));
        let why = why(context, &row.record, stands.as_ref()).await?;
        lines.push(row.shown(stands.ok(), why));
    }
    Ok(Certificate { lines, missing: owed.missing })
}

/// What stands, or why that is not known.
fn found(read: Option<Result<Standing, ReadError>>) -> Result<i64, String> {
    match read {
        None => Err("reading it ended early".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(Standing::OtherPeriod)) => Err("the provider has begun another period".to_owned()),
        Some(Ok(Standing::NotListed)) => Err(close::UNLISTED.to_owned()),
        Some(Ok(standing)) => Ok(standing.total().unwrap_or(0)),
    }
}

/// What keeps a row from being certified; `None` where nothing does.
async fn why(
    context: &Context,
    record: &UsageRecord,
    stands: Result<&i64, &String>,
) -> Result<Option<String>, JobError> {
    let total = match stands {
        Ok(total) => *total,
        Err(error) => return Ok(Some(format!("what stands cannot be read: {error}"))),
    };
    if let Some(unsettled) = unsettled(record) {
        return Ok(Some(unsettled));
    }
    if total != record.target {
        return Ok(Some(format!("{total} stands, {} should: {}", record.target, difference(context, record, total))));
    }
    let (id, now) = (record.id, context.now());
    let may_change = context.store.read(move |c| outbox::may_change(c, id, total, now)).await?;
    let why = "an earlier request may still arrive and change it; what was given up is waited for two hours";
    Ok(may_change.then(|| why.to_owned()))
}

/// What no total could certify.
fn unsettled(record: &UsageRecord) -> Option<String> {
    if let Some((_, because)) = &record.held {
        return Some(format!("held: {because}"));
    }
    let above = record.target.saturating_sub(record.owed());
    if above > 0 {
        return Some(format!("{above} units too many stand on closed segments of its period (rule R5)"));
    }
    let why = "the period is over, and not closed before two reads agree, three minutes apart";
    (record.state != RecordState::Open).then(|| why.to_owned())
}

/// How it comes that another total stands than should.
fn difference(context: &Context, record: &UsageRecord, total: i64) -> String {
    if record.standing.is_some_and(|noted| noted != total) {
        return "it is not what was pushed, so somebody else may write to the item".to_owned();
    }
    let provider_now = context.provider_now(context.clock.read());
    record.last_error.clone().unwrap_or_else(|| obstacle(provider_now, record.timestamp_s))
}

impl Row {
    fn shown(self, stands: Option<i64>, why: Option<String>) -> DrainLine {
        let part_of_a_unit = part_of_a_unit(&self.record, &self.unit).map(|part| self.unit.decimal(part));
        let record = self.record;
        DrainLine {
            meter: record.meter.to_string(),
            item: record.item.to_string(),
            period_from: record.period.from.to_string(),
            period_to: record.period.to.to_string(),
            state: record.state.word().to_owned(),
            target: record.target,
            stands,
            certified: why.is_none(),
            why,
            part_of_a_unit,
            unit: self.unit.label,
        }
    }
}

/// What was used beyond the last whole unit, where that is rounded away (rule R3).
fn part_of_a_unit(record: &UsageRecord, unit: &Unit) -> Option<Micros> {
    if record.segment_of.is_some() {
        return None;
    }
    let included = if record.gross { 0 } else { record.included? };
    let billed = record.overage.checked_mul(unit.micros)?;
    let part = record.used.checked_sub(included)?.checked_sub(billed)?;
    (record.rounding == Rounding::Down && part > 0).then(|| Micros::new(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(certified: bool) -> DrainLine {
        DrainLine {
            meter: "api_credits".to_owned(),
            item: "si_api".to_owned(),
            period_from: String::new(),
            period_to: String::new(),
            state: "open".to_owned(),
            target: 1,
            stands: Some(1),
            certified,
            why: None,
            part_of_a_unit: None,
            unit: "credits".to_owned(),
        }
    }

    #[test]
    fn s13_one_line_or_one_thing_missing_spoils_the_certificate() {
        let whole = |lines: Vec<DrainLine>, missing: Vec<String>| Certificate { lines, missing }.is_whole();
        assert!(whole(Vec::new(), Vec::new()), "where nothing is billed, nothing is missing");
        assert!(whole(vec![line(true)], Vec::new()));
        assert!(!whole(vec![line(true), line(false)], Vec::new()));
        assert!(!whole(vec![line(true)], vec!["a carry".to_owned()]));
    }
}
