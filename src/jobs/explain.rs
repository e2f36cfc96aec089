//! Explain: from the billed number down to the minutes. The sums are computed anew, and one that differs is an alarm.

use std::sync::Arc;

use rusqlite::Connection;

use super::sync::{last_second, shown_segment};
use super::usage::{self, Window};
use super::{Context, JobError, roll_up, sample};
use crate::account::{self, Item, Link};
use crate::config::Config;
use crate::ledger;
use crate::model::{MICROS_PER_DAY, Meter, MeterName, Micros, Problem, Span, Timestamp};
use crate::outbox::{self, UsageRecord};
use crate::wire::{
    Bill, BillTerm, CarryLine, DayLine, ExplainReport, ExplainRequest, PushLine, Recomputed, SCHEMA, SourceLine,
};

/// So many requests are shown.
const PUSHES: u32 = 20;

const DIFFERS: &str = "sums_differ";

/// Answers it.
pub async fn explain(context: &Arc<Context>, request: &ExplainRequest) -> Result<ExplainReport, JobError> {
    let until = request.month.as_deref().map(last_second).transpose()?;
    let meter = request
        .meter
        .as_deref()
        .map(MeterName::new)
        .transpose()
        .map_err(|error| JobError::refused("bad_meter", error.to_string(), "usagectl usage shows the meters"))?;
    // What is rated and what is in the minutes is of the same moment then.
    sample::sample(context).await?;
    roll_up::roll_up(context).await?;
    let (now, settings) = (context.now(), context.settings());
    let bills = context.store.read(move |c| bills(c, &settings.config, until, meter.as_ref(), now)).await?;
    for bill in &bills {
        // An item has several periods: one that agrees says nothing of another.
        let about = format!("{}/{}", bill.item, bill.period_from);
        if bill.agrees {
            context.clear_about(DIFFERS, &about);
        } else {
            context.raise_about(&about, differs(bill));
        }
    }
    Ok(ExplainReport { schema: SCHEMA, now: now.to_string(), bills })
}

fn differs(bill: &Bill) -> Problem {
    Problem::needs_someone(
        DIFFERS,
        format!(
            "{} of {} from {} on is billed otherwise than its minutes add up to",
            bill.meter, bill.item, bill.period_from
        ),
        "usagectl explain shows both sums; please report it with that",
    )
}

fn bills(
    connection: &Connection,
    config: &Config,
    until: Option<Timestamp>,
    meter: Option<&MeterName>,
    now: Timestamp,
) -> Result<Vec<Bill>, JobError> {
    let mut records = outbox::unfinished(connection)?;
    if let Some(until) = until {
        records.extend(outbox::closed_since(connection, until)?);
        records.retain(|record| record.period.contains(until));
    }
    records.retain(|record| record.segment_of.is_none() && meter.is_none_or(|meter| *meter == record.meter));
    records.sort_by(|a, b| (&a.meter, a.period.from, a.id).cmp(&(&b.meter, b.period.from, b.id)));
    let looker = Looker { connection, config, links: roll_up::linked_items(connection)?, now };
    // One whose meter is not configured any more has no unit to be told in.
    let known = records.iter().filter_map(|record| Some((record, config.meters.get(&record.meter)?)));
    known.map(|(record, meter)| looker.bill(record, meter)).collect()
}

/// Looks everything up at one moment.
struct Looker<'a> {
    connection: &'a Connection,
    config: &'a Config,
    links: Vec<(Link, Vec<Item>)>,
    now: Timestamp,
}

impl Looker<'_> {
    fn bill(&self, record: &UsageRecord, meter: &Meter) -> Result<Bill, JobError> {
        let c = self.connection;
        let recomputed = self.recomputed(record)?;
        let window = Window { span: record.period, is_providers: true };
        let (_, gaps) = usage::observed(c, &window, self.now)?;
        let id = ledger::meters::id(c, &meter.name)?;
        let carries = outbox::moves_of(c, record.id)?;
        Ok(Bill {
            meter: meter.name.to_string(),
            unit: meter.unit.label.clone(),
            customer: record.customer.to_string(),
            subscription: record.subscription.to_string(),
            item: record.item.to_string(),
            period_from: record.period.from.to_string(),
            period_to: record.period.to.to_string(),
            state: record.state.word().to_owned(),
            plan: record.plan.clone(),
            stands: record.standing,
            target: record.target,
            invoice: self.invoice(record)?,
            terms: terms(record),
            used_micros: record.used,
            used: meter.unit.number(Micros::new(record.used)),
            included: record.included.map(|included| meter.unit.number(Micros::new(included))),
            report: if record.gross { "gross" } else { "overage" }.to_owned(),
            rounding: record.rounding.word().to_owned(),
            agrees: recomputed.is_none(),
            recomputed,
            segments: outbox::closed_segments(c, record.id)?.iter().map(shown_segment).collect(),
            days: self.days(record, meter)?,
            gaps,
            sources: ledger::credits::by_source(c, id, record.period)?
                .into_iter()
                .map(|one| SourceLine {
                    source: one.source,
                    records: one.records,
                    quantity: meter.unit.number(one.quantity),
                })
                .collect(),
            carries: carries.iter().map(carry).collect(),
            pushes: outbox::newest_of(c, record.id, PUSHES)?.into_iter().map(push).collect(),
            held: record.held.as_ref().map(|(_, because)| because.clone()),
        })
    }

    /// The invoice that was made when the period ended.
    fn invoice(&self, record: &UsageRecord) -> Result<Option<String>, JobError> {
        let made = Span::new(record.period.to, record.period.to.plus(MICROS_PER_DAY));
        let invoices = account::invoices_of(self.connection, &record.subscription)?;
        let found = invoices.iter().rfind(|invoice| made.contains(invoice.created));
        Ok(found.map(|invoice| format!("{}, {}", invoice.name(), invoice.status)))
    }

    /// What the minutes come to, where that is not what is billed.
    fn recomputed(&self, record: &UsageRecord) -> Result<Option<Recomputed>, JobError> {
        let found = match roll_up::rate(self.connection, self.config, &self.links, record, self.now) {
            Ok(rating) => Recomputed { used_micros: rating.used.get(), overage: rating.overage },
            // A plan that is not complete any more: the usage is compared all the same.
            Err(JobError::Refused { .. }) => Recomputed {
                used_micros: roll_up::used_in(self.connection, &self.links, record, record.period)?.get(),
                overage: record.overage,
            },
            Err(error) => return Err(error),
        };
        let billed = Recomputed { used_micros: record.used, overage: record.overage };
        Ok((found != billed).then_some(found))
    }

    fn days(&self, record: &UsageRecord, meter: &Meter) -> Result<Vec<DayLine>, JobError> {
        utc_days(record.period, self.now)
            .map(|span| {
                let used = roll_up::used_in(self.connection, &self.links, record, span)?;
                let (observed_bp, _) =
                    usage::observed(self.connection, &Window { span, is_providers: false }, self.now)?;
                Ok(DayLine {
                    day: span.from.to_string().chars().take(10).collect(),
                    used: meter.unit.number(used),
                    used_micros: used.get(),
                    observed_bp,
                })
            })
            .collect()
    }
}

/// The UTC days of a period that have begun, the first and the last cut by its ends.
pub(super) fn utc_days(period: Span, now: Timestamp) -> impl Iterator<Item = Span> {
    let end = period.to.min(now.plus(1));
    let next = |at: Timestamp| at.minus(at.micros().rem_euclid(MICROS_PER_DAY)).plus(MICROS_PER_DAY);
    std::iter::successors(Some(period.from), move |from| Some(next(*from)))
        .take_while(move |from| *from < end)
        .map(move |from| Span::new(from, next(from).min(period.to)))
}

/// What the target is the sum of; what is nothing is left out but for the first.
fn terms(record: &UsageRecord) -> Vec<BillTerm> {
    let first = if record.gross { "used, in whole units" } else { "above what is included, in whole units" };
    let rest = [
        ("carried from earlier periods", record.carried_in),
        ("taken over from what stood already", record.adopted),
        ("billed on other items or at earlier prices", record.closed_segments.saturating_neg()),
    ];
    let sum = rest.iter().fold(record.overage, |sum, (_, units)| sum.saturating_add(*units));
    let less = ("not below what cannot be lowered", record.target.saturating_sub(sum));
    let rest = rest.into_iter().chain([less]).filter(|(_, units)| *units != 0);
    std::iter::once((first, record.overage))
        .chain(rest)
        .map(|(what, units)| BillTerm { what: what.to_owned(), units })
        .collect()
}

fn carry(moved: &outbox::CarryMove) -> CarryLine {
    let month = |span: Span| format!("{} to {}", span.from, span.to);
    CarryLine { units: moved.units, from: month(moved.from), into: moved.into.map(month) }
}

pub(super) fn push(delivery: outbox::Delivery) -> PushLine {
    PushLine {
        at: delivery.first_sent.to_string(),
        quantity: delivery.quantity,
        day: delivery.day_s.map(|day| Timestamp::from_secs(day).to_string().chars().take(10).collect()),
        outcome: delivery.state.word().to_owned(),
        key: delivery.key(),
        request_id: delivery.request_id,
    }
}
