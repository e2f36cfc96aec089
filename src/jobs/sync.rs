//! Sync: show what would be set and why; with `commit`, set it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{Months, NaiveDate};
use rusqlite::Connection;

use super::deliver::Which;
use super::{Context, JobError, push, roll_up, sample};
use crate::account;
use crate::config::Config;
use crate::model::{ItemId, Micros, Timestamp, Unit};
use crate::outbox::{self, RecordState, Segment, UsageRecord};
use crate::provider::Provider;
use crate::wire::{ClosedSegment, SCHEMA, SyncLine, SyncReport, SyncRequest};

/// Runs it.
pub async fn sync(context: &Arc<Context>, request: &SyncRequest) -> Result<SyncReport, JobError> {
    let until = request.month.as_deref().map(last_second).transpose()?;
    let item = request.subscription_item.as_deref().map(ItemId::new).transpose().map_err(|error| bad_item(&error))?;
    let bills = !matches!(context.settings().provider, Provider::None);
    sample::sample(context).await?;
    roll_up::roll_up(context).await?;
    let before = lines(context, until, item.clone()).await?;
    let may_send = before.iter().any(|line| line.record.state == RecordState::Open);
    let mut notes = notes(context, bills, before.is_empty(), until).await?;
    if !request.commit || !bills || !may_send {
        let nothing_to_send = request.commit && (!bills || !may_send);
        let lines = before.into_iter().map(|line| line.shown(None)).collect();
        return Ok(SyncReport { schema: SCHEMA, committed: request.commit, refused: nothing_to_send, lines, notes });
    }
    let which = item.clone().map_or(Which::Now, Which::Item);
    let pushed = push::push(context, "sync", which).await;
    let kept_back = kept_back(context, pushed.as_ref().err());
    let settled = match pushed {
        Ok(pushed) => pushed.settled,
        Err(error) => {
            notes.push(format!("the push failed: {error}"));
            BTreeSet::new()
        }
    };
    let was: BTreeMap<i64, i64> = before.iter().map(|line| (line.record.id, line.record.revision)).collect();
    let provider_now = context.provider_now(context.clock.read());
    let after = lines(context, until, item).await?;
    let mut refused = false;
    let lines = after.into_iter().map(|line| {
        let record = &line.record;
        // What was used since it was this row's turn is not this command's to send.
        let is_settled = settled.contains(&record.id) || !record.differs();
        refused |= record.state != RecordState::Open || !is_settled;
        let tried = Tried {
            revision_before: was.get(&record.id).copied().unwrap_or(0),
            is_settled,
            kept_back: kept_back.as_deref(),
            obstacle: obstacle(provider_now, record.timestamp_s),
        };
        line.shown(Some(&tried))
    });
    let lines = lines.collect();
    Ok(SyncReport { schema: SCHEMA, committed: true, refused, lines, notes })
}

/// What a push came to for one row.
struct Tried<'a> {
    revision_before: i64,
    /// Whether what should stand stood when it was the row's turn.
    is_settled: bool,
    /// Why no row at all was tried, where that is so.
    kept_back: Option<&'a str>,
    /// Why this one was not, if nothing else says so.
    obstacle: String,
}

/// What keeps a row that is neither held nor failing from being sent.
pub(super) fn obstacle(provider_now: Option<Timestamp>, timestamp_s: i64) -> String {
    match provider_now {
        Some(now) if now.secs() < timestamp_s => {
            let from = Timestamp::from_secs(timestamp_s);
            format!("the period has only just begun: its total is recorded at {from}, and sent from then on")
        }
        _ => "it is too near the end of the period; what is missing is carried".to_owned(),
    }
}

fn kept_back(context: &Context, failed: Option<&JobError>) -> Option<String> {
    if context.identity_changed() {
        return Some("this ledger was made on another machine, so nothing is sent (rule S11)".to_owned());
    }
    if let Some(error) = failed {
        return Some(format!("the push failed: {error}"));
    }
    let knows_time = context.provider_now(context.clock.read()).is_some();
    (!knows_time).then(|| "the provider did not tell its time, so nothing is sent (rule S6)".to_owned())
}

fn bad_item(error: &crate::model::NameError) -> JobError {
    JobError::refused("bad_id", error.to_string(), "usagectl sync shows the items")
}

/// Rule R2: a month means the period that holds its last second.
pub(super) fn last_second(month: &str) -> Result<Timestamp, JobError> {
    let bad = || JobError::refused("bad_month", format!("{month:?} is not a month"), "write it as 2026-11");
    let first = NaiveDate::parse_from_str(&format!("{month}-01"), "%Y-%m-%d").map_err(|_| bad())?;
    let next = first.checked_add_months(Months::new(1)).ok_or_else(bad)?;
    let midnight = next.and_hms_opt(0, 0, 0).ok_or_else(bad)?.and_utc();
    Ok(Timestamp::from_secs(midnight.timestamp() - 1))
}

async fn notes(
    context: &Arc<Context>,
    bills: bool,
    none: bool,
    until: Option<Timestamp>,
) -> Result<Vec<String>, JobError> {
    let mut notes = Vec::new();
    if !bills {
        notes.push("nothing is billed: no provider is configured, or its key is missing".to_owned());
    }
    if context.store.read(account::in_force).await?.is_none() {
        notes
            .push("this VM is not linked; bind it with usagectl link --customer cus_… --subscription sub_…".to_owned());
    } else if none {
        notes.push(match until {
            Some(_) => "no period of a linked item holds the last second of that month".to_owned(),
            None => "no period is open".to_owned(),
        });
    }
    Ok(notes)
}

/// A row with what is needed to show it.
struct Line {
    record: UsageRecord,
    unit: Unit,
    carried_out: i64,
    credit_due: i64,
    segments: Vec<Segment>,
}

async fn lines(context: &Context, until: Option<Timestamp>, item: Option<ItemId>) -> Result<Vec<Line>, JobError> {
    let settings = context.settings();
    context.store.read(move |c| read_lines(c, &settings.config, until, item.as_ref())).await
}

fn read_lines(
    connection: &Connection,
    config: &Config,
    until: Option<Timestamp>,
    item: Option<&ItemId>,
) -> Result<Vec<Line>, JobError> {
    let records = match until {
        None => outbox::unfinished(connection)?,
        Some(until) => {
            let mut all = outbox::closed_since(connection, until)?;
            all.extend(outbox::unfinished(connection)?);
            all.retain(|record| record.period.contains(until));
            all
        }
    };
    let wanted = records.into_iter().filter(|record| item.is_none_or(|item| record.item == *item));
    wanted
        .map(|record| {
            Ok(Line {
                unit: config.meters.get(&record.meter).map_or_else(|| Unit::of("units"), |meter| meter.unit.clone()),
                carried_out: outbox::carried_out(connection, record.id)?,
                credit_due: outbox::credit_due(connection, record.id)?,
                segments: outbox::closed_segments(connection, record.id)?,
                record,
            })
        })
        .collect()
}

/// A closed segment, as it is shown.
pub(super) fn shown_segment(segment: &Segment) -> ClosedSegment {
    ClosedSegment { item: segment.item.to_string(), price: segment.price.to_string(), units: segment.units }
}

impl Line {
    /// `tried` is `None` where it was only asked what would be sent.
    fn shown(self, tried: Option<&Tried<'_>>) -> SyncLine {
        let (action, why) = self.action(tried);
        let record = self.record;
        SyncLine {
            meter: record.meter.to_string(),
            item: record.item.to_string(),
            period_from: record.period.from.to_string(),
            period_to: record.period.to.to_string(),
            timestamp: Timestamp::from_secs(record.timestamp_s).to_string(),
            state: if record.segment_of.is_some() { "superseded" } else { record.state.word() }.to_owned(),
            used: self.unit.decimal(Micros::new(record.used)),
            included: record
                .included
                .map_or_else(|| "unlimited".to_owned(), |included| self.unit.decimal(Micros::new(included))),
            unit: self.unit.label.clone(),
            overage: record.overage,
            carried_in: record.carried_in,
            adopted: record.adopted,
            closed_segments: record.closed_segments,
            segments: self.segments.iter().map(shown_segment).collect(),
            target: record.target,
            stands: record.standing,
            carried_out: self.carried_out,
            credit_due: self.credit_due,
            action: action.to_owned(),
            why,
        }
    }

    fn action(&self, tried: Option<&Tried<'_>>) -> (&'static str, String) {
        let record = &self.record;
        if record.segment_of.is_some() {
            let stands = record.standing.unwrap_or(0);
            return ("closed", format!("{stands} stand on this segment; the rest of the period is billed elsewhere"));
        }
        match (record.state, &record.held, tried) {
            (RecordState::Closed, ..) => ("closed", self.closed()),
            (RecordState::Ending, ..) => {
                ("closed", "the period is over; what stands is being read until two reads agree".to_owned())
            }
            (RecordState::Open, Some((_, because)), _) => ("held", because.clone()),
            (RecordState::Open, None, None) if record.differs() => ("would set", self.difference()),
            (RecordState::Open, None, Some(tried)) if !tried.is_settled => {
                let said = tried.kept_back.or(record.last_error.as_deref());
                ("waiting", said.unwrap_or(&tried.obstacle).to_owned())
            }
            (RecordState::Open, None, tried) => {
                let is_set = tried.is_some_and(|tried| tried.revision_before < record.revision);
                let stands = record.standing.unwrap_or(0);
                let since = if record.differs() { "; what was used since is sent next time" } else { "" };
                if is_set {
                    ("set", format!("{stands} stands now{since}"))
                } else {
                    ("unchanged", format!("{stands} stands already{since}"))
                }
            }
        }
    }

    fn difference(&self) -> String {
        match self.record.standing {
            Some(stands) => format!("{stands} stands, {} should", self.record.target),
            None => format!("what stands was not read yet, {} should", self.record.target),
        }
    }

    fn closed(&self) -> String {
        let stands = self.record.standing.unwrap_or(0);
        match (self.carried_out, self.record.held_units) {
            (0, 0) => format!("{stands} stood when the period was closed"),
            (0, held) => format!("{stands} stood when the period was closed, {held} are held"),
            (carried, _) => format!("{stands} stood when the period was closed, {carried} were carried on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_total_from_being_sent_is_named() {
        let begun = Timestamp::parse("2026-11-05T12:00:01Z").unwrap();
        let at = |seconds: i64| Some(begun.plus(seconds * 1_000_000));
        assert!(
            obstacle(at(-1), begun.secs()).contains("only just begun: its total is recorded at 2026-11-05T12:00:01Z")
        );
        assert!(obstacle(at(0), begun.secs()).contains("end of the period"));
    }
}
