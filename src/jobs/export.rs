//! What the ledger and the outbox hold, in pages.

use std::sync::Arc;

use rusqlite::Connection;

use super::{Context, JobError};
use crate::config::Config;
use crate::ledger::export::{self, Place, Recorded, Used};
use crate::model::{MeterName, Span, Timestamp};
use crate::outbox::{self, Sent};
use crate::wire::{CreditRow, DeliveryRow, ExportPage, ExportRow, ExportWhat, SCHEMA, UsageRow};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// What.
    pub what: ExportWhat,
    /// From when to when.
    pub span: Span,
    /// Of which meter; all where none is named.
    pub meter: Option<MeterName>,
    /// Where the page before ended: three numbers; none on the first one.
    pub after: Option<(i64, i64, i64)>,
    /// Rows of a page.
    pub most: usize,
}

/// A page.
pub async fn export(context: &Arc<Context>, wanted: Export) -> Result<ExportPage, JobError> {
    let settings = context.settings();
    context.store.read(move |c| page(c, &settings.config, &wanted)).await
}

fn page(connection: &Connection, config: &Config, wanted: &Export) -> Result<ExportPage, JobError> {
    let (meter, span, most) = (wanted.meter.as_ref(), wanted.span, wanted.most);
    let (of, at_us, row) = wanted.after.unwrap_or_default();
    let after = Place { meter: of, at_us, row };
    let (total, waiting) = match wanted.after {
        None => sums(connection, wanted)?,
        Some(_) => (None, None),
    };
    let (rows, ends): (Vec<ExportRow>, Vec<Place>) = match wanted.what {
        ExportWhat::Usage => {
            let rows = export::buckets(connection, meter, span, after, most)?;
            rows.into_iter().map(|(end, used)| (ExportRow::Usage(usage(config, used)), end)).unzip()
        }
        ExportWhat::Credits => {
            let rows = export::credits(connection, meter, span, after, most)?;
            rows.into_iter().map(|(end, recorded)| (ExportRow::Credit(credit(recorded)), end)).unzip()
        }
        ExportWhat::Deliveries => {
            let rows = outbox::deliveries(connection, meter, span, after.row, most)?;
            let end = |sent: &Sent| Place { row: sent.id, ..Place::default() };
            rows.into_iter()
                .map(|sent| (end(&sent), sent))
                .map(|(end, sent)| (ExportRow::Delivery(delivery(sent)), end))
                .unzip()
        }
    };
    let next = ends.last().filter(|_| rows.len() >= most).map(|end| format!("{}.{}.{}", end.meter, end.at_us, end.row));
    Ok(ExportPage { schema: SCHEMA, what: wanted.what, total, waiting, rows, next })
}

fn sums(connection: &Connection, wanted: &Export) -> Result<(Option<u64>, Option<u64>), JobError> {
    let (meter, span) = (wanted.meter.as_ref(), wanted.span);
    Ok(match wanted.what {
        ExportWhat::Usage => (Some(export::buckets_in(connection, meter, span)?), None),
        ExportWhat::Credits => {
            (Some(export::credits_in(connection, meter, span)?), Some(export::credits_waiting(connection, meter)?))
        }
        ExportWhat::Deliveries => (Some(outbox::deliveries_in(connection, meter, span)?), None),
    })
}

fn usage(config: &Config, used: Used) -> UsageRow {
    let unit = config.meters.values().find(|meter| meter.name.as_str() == used.meter).map(|meter| &meter.unit);
    UsageRow {
        from: used.span.from.to_string(),
        to: used.span.to.to_string(),
        used: unit.map(|unit| unit.number(used.quantity)),
        unit: unit.map(|unit| unit.label.clone()),
        used_micros: used.quantity.get(),
        meter: used.meter,
    }
}

fn credit(recorded: Recorded) -> CreditRow {
    let (voided_at, voided_because) = recorded.voided.unzip();
    CreditRow {
        meter: recorded.meter,
        source: recorded.source,
        id: recorded.id,
        quantity: recorded.quantity.to_string(),
        at: recorded.at.to_string(),
        recorded_at: recorded.arrived.to_string(),
        uid: recorded.uid,
        voided_at: voided_at.map(|at| at.to_string()),
        voided_because,
    }
}

fn delivery(sent: Sent) -> DeliveryRow {
    DeliveryRow {
        meter: sent.meter,
        item: sent.item,
        customer: sent.customer,
        subscription: sent.subscription,
        period_from: sent.period.from.to_string(),
        period_to: sent.period.to.to_string(),
        day: sent.day_s.map(|day| Timestamp::from_secs(day).to_string().chars().take(10).collect()),
        quantity: sent.quantity,
        at: sent.first_sent.to_string(),
        outcome: sent.state,
        settled_at: sent.settled.map(|at| at.to_string()),
        http_status: sent.http_status,
        request_id: sent.request_id,
        key: sent.key,
        error: sent.error,
    }
}
