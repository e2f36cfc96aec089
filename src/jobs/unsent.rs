//! Unsent: what `usage.db` holds that the provider does not have, a line for each.

use rusqlite::Connection;

use super::JobError;
use crate::account;
use crate::ledger::placement;
use crate::model::Timestamp;
use crate::outbox;

/// Looks. Needs no running daemon, so that a package can ask before it goes.
pub fn unsent(connection: &Connection) -> Result<Vec<String>, JobError> {
    let mut found = Vec::new();
    // Until it is known when it was used, it is in no total; and what no link was in force for is never billed (rule R1).
    if account::in_force(connection)?.is_some() {
        for meter in placement::unplaced(connection)? {
            found.push(format!("{meter}: what was used lately waits until the clock is trusted (rule M5)"));
        }
    }
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
    for closed in outbox::closed_since(connection, Timestamp::from_secs(0))? {
        if closed.held_units > 0 {
            let (meter, units, item) = (&closed.meter, closed.held_units, &closed.item);
            found.push(format!("{meter}: {units} units on {item} were neither billed nor carried"));
        }
    }
    Ok(found)
}
