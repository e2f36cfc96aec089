//! Rule R7: the books balance.

use rusqlite::Connection;

use super::{OutboxError, UsageRecord, carry, record};
use crate::model::Timestamp;

/// A closed period whose two sides differ. There must never be one; it is an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imbalance {
    /// Which row.
    pub record: i64,
    /// Stands + carried out + held.
    pub accounted: i64,
    /// Overage + carried in + adopted + credits due, without what closed segments have.
    pub owed: i64,
}

/// All imbalances of periods closed since.
pub fn imbalances(connection: &Connection, since: Timestamp) -> Result<Vec<Imbalance>, OutboxError> {
    let mut found = Vec::new();
    for closed in record::closed_since(connection, since)? {
        found.extend(imbalance(connection, &closed)?);
    }
    Ok(found)
}

fn imbalance(connection: &Connection, closed: &UsageRecord) -> Result<Option<Imbalance>, OutboxError> {
    let carried_out = carry::carried_out(connection, closed.id)?;
    let carried_in = carry::carried_in(connection, closed.id)?;
    let credit_due = carry::credit_due(connection, closed.id)?;
    let accounted = closed.standing.unwrap_or(0) + carried_out + closed.held_units;
    let owed = closed.overage + carried_in + closed.adopted - closed.closed_segments + credit_due;
    Ok((accounted != owed).then_some(Imbalance { record: closed.id, accounted, owed }))
}
