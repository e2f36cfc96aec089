//! Whose ledger this is (rule S11). A copied disk must not bill beside its original.

use rusqlite::Connection;
use serde_json::json;

use super::AccountError;
use crate::model::Timestamp;
use crate::store::{Tx, audit, meta};

const KEY: &str = "machine_id";

/// What the stored identity says about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// This ledger was made here, or nothing can be said because the machine has no id.
    Same,
    /// Never linked, so it takes the machine's identity by itself.
    Taken,
    /// Linked on another machine: nothing is pushed until somebody says what happened.
    Changed {
        /// The machine id in the ledger.
        stored: String,
    },
}

/// Compares, and lets a ledger that was never linked take a new identity.
pub fn judge_identity(tx: &Tx<'_>, machine_id: Option<&str>) -> Result<Identity, AccountError> {
    let Some(machine_id) = machine_id else { return Ok(Identity::Same) };
    match meta::get(tx, KEY)? {
        Some(stored) if stored == machine_id => Ok(Identity::Same),
        Some(stored) if was_linked(tx)? => Ok(Identity::Changed { stored }),
        _ => {
            meta::set(tx, KEY, machine_id)?;
            Ok(Identity::Taken)
        }
    }
}

/// The operator's word that the VM moved and this is still the same one.
pub fn accept_identity(
    tx: &Tx<'_>,
    machine_id: &str,
    because: &str,
    actor: &str,
    now: Timestamp,
) -> Result<(), AccountError> {
    let stored = meta::get(tx, KEY)?;
    meta::set(tx, KEY, machine_id)?;
    let detail = json!({"was": stored, "because": because});
    audit::append(tx, now, actor, "identity.same", machine_id, &detail)?;
    Ok(())
}

fn was_linked(connection: &Connection) -> Result<bool, AccountError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM link)", [], |row| row.get(0))?)
}
