//! What a ledger says of its account after rows were lost with a damaged database.

use rusqlite::Connection;

use super::{AccountError, identity, links};
use crate::store::{Recovered, Tx, meta};

/// Links were lost, and none is left.
const LINKS_LOST: &str = "links_lost";

/// A ledger that does not know any more whose it is waits for somebody to say so (rule S11), and one that was linked is not
/// linked by itself again.
pub fn make_good(tx: &Tx<'_>, recovered: &Recovered) -> Result<(), AccountError> {
    tx.execute_batch("DELETE FROM item WHERE link_id NOT IN (SELECT id FROM link)")?;
    let is_linked = links::latest(tx)?.is_some();
    if is_linked && !recovered.is_whole(&["meta"]) {
        identity::forget(tx)?;
    }
    if !is_linked && !recovered.is_whole(&["link"]) {
        meta::set(tx, LINKS_LOST, &recovered.name)?;
    }
    Ok(())
}

/// The damaged file that held the links of a ledger that has none.
pub fn lost_links(connection: &Connection) -> Result<Option<String>, AccountError> {
    Ok(meta::get(connection, LINKS_LOST)?)
}
