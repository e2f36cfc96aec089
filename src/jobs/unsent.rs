//! Unsent: what `usage.db` holds that the provider does not have, a line for each.

use rusqlite::Connection;

use super::JobError;
use crate::model::Timestamp;
use crate::outbox;

/// Looks. Needs no running daemon, so that a package can ask before it goes.
pub fn unsent(connection: &Connection) -> Result<Vec<String>, JobError> {
    let mut found = Vec::new();
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
