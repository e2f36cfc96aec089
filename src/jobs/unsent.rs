//! Unsent: what `usage.db` holds that the provider does not have, a line for each.

use rusqlite::Connection;

use super::JobError;
use crate::account;
use crate::ledger::placement;
use crate::model::Timestamp;
use crate::outbox::{self, UsageRecord};

/// Looks. Needs no running daemon, so that a package can ask before it goes.
pub fn unsent(connection: &Connection) -> Result<Vec<String>, JobError> {
    let mut found = unplaced(connection)?;
    for record in outbox::unfinished(connection)? {
        if record.differs() {
            let stands = record.standing.map_or_else(|| "an unknown amount".to_owned(), |units| units.to_string());
            let (item, meter, target) = (&record.item, &record.meter, record.target);
            found.push(format!("{meter}: {target} should stand on {item}, and {stands} does"));
        }
    }
    for carried in outbox::waiting_carries(connection)? {
        found.push(format!("{}: {} units wait to be carried into a later period", carried.meter, carried.units));
    }
    found.extend(neither_billed_nor_carried(connection)?);
    Ok(found)
}

/// Until it is known when it was used, it is in no total; and what no link was in force for is never billed (rule R1).
pub(super) fn unplaced(connection: &Connection) -> Result<Vec<String>, JobError> {
    if account::in_force(connection)?.is_none() {
        return Ok(Vec::new());
    }
    let meters = placement::unplaced(connection)?.into_iter();
    Ok(meters
        .map(|meter| format!("{meter}: what was used lately waits until the clock is trusted (rule M5)"))
        .collect())
}

/// What closed periods list, and what was used in periods that nobody knows.
pub(super) fn neither_billed_nor_carried(connection: &Connection) -> Result<Vec<String>, JobError> {
    let mut closed = outbox::closed_since(connection, Timestamp::from_secs(0))?;
    closed.retain(|closed| closed.held_units > 0);
    let unseen = outbox::unseen(connection)?.into_iter().filter(|stretch| stretch.because.is_none());
    let unseen = unseen.map(|stretch| {
        let (meter, item, span) = (stretch.meter, stretch.item, stretch.span);
        format!("{meter}: the periods of {item} between {} and {} are not known, and not billed", span.from, span.to)
    });
    let line = |closed: UsageRecord| {
        let (meter, units, item) = (closed.meter, closed.held_units, closed.item);
        format!("{meter}: {units} units on {item} were neither billed nor carried")
    };
    Ok(closed.into_iter().map(line).chain(unseen).collect())
}
