//! Whose ledger this is (rule S11). A copied disk must not bill beside its original.

use rusqlite::Connection;
use serde_json::json;

use super::AccountError;
use crate::model::{MachineIdentity, Timestamp};
use crate::store::{Tx, audit, meta};

const MACHINE_ID: &str = "machine_id";
const PRODUCT_UUID: &str = "product_uuid";
const SINCE: &str = "identity_since";

/// What the stored identity says about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// This ledger was made here, or nothing can be said because the machine is not known by anything.
    Same,
    /// Never linked, so it takes the machine's identity by itself.
    Taken,
    /// Linked on another machine: nothing is pushed until somebody says what happened.
    Changed {
        /// The identity in the ledger.
        stored: MachineIdentity,
    },
}

/// Compares, and lets a ledger that was never linked take a new identity.
pub fn judge_identity(tx: &Tx<'_>, machine: &MachineIdentity, now: Timestamp) -> Result<Identity, AccountError> {
    let stored = stored(tx)?;
    if machine.may_be(&stored) {
        let is_first = stored.is_unknown();
        // What was not known before is known from now on.
        store(tx, &stored.or(machine.clone()))?;
        return Ok(if is_first && !machine.is_unknown() { Identity::Taken } else { Identity::Same });
    }
    if was_linked(tx)? {
        return Ok(Identity::Changed { stored });
    }
    store(tx, machine)?;
    meta::set(tx, SINCE, &now.micros().to_string())?;
    Ok(Identity::Taken)
}

/// Since when this ledger is this machine's, where it was another's before: what that one used is not this one's.
pub fn identity_since(connection: &Connection) -> Result<Option<Timestamp>, AccountError> {
    let stored = meta::get(connection, SINCE)?;
    Ok(stored.and_then(|text| text.parse().ok()).map(Timestamp::from_micros))
}

/// The operator's word that the VM moved and this is still the same one.
pub fn accept_identity(
    tx: &Tx<'_>,
    machine: &MachineIdentity,
    because: &str,
    actor: &str,
    now: Timestamp,
) -> Result<(), AccountError> {
    let detail = json!({"was": stored(tx)?.to_string(), "because": because});
    store(tx, machine)?;
    audit::append(tx, now, actor, "identity.same", &machine.to_string(), &detail)?;
    Ok(())
}

/// Whose ledger this is was lost with a damaged database: no machine is known to be that one.
pub(super) fn forget(tx: &Tx<'_>) -> Result<(), AccountError> {
    if stored(tx)?.is_unknown() {
        meta::set(tx, MACHINE_ID, "lost with the damage to usage.db")?;
    }
    Ok(())
}

fn stored(connection: &Connection) -> Result<MachineIdentity, AccountError> {
    let machine_id = meta::get(connection, MACHINE_ID)?;
    Ok(MachineIdentity { machine_id, product_uuid: meta::get(connection, PRODUCT_UUID)? })
}

fn store(tx: &Tx<'_>, identity: &MachineIdentity) -> Result<(), AccountError> {
    for (key, value) in [(MACHINE_ID, &identity.machine_id), (PRODUCT_UUID, &identity.product_uuid)] {
        match value {
            Some(value) => meta::set(tx, key, value)?,
            None => meta::remove(tx, key)?,
        }
    }
    Ok(())
}

fn was_linked(connection: &Connection) -> Result<bool, AccountError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM link)", [], |row| row.get(0))?)
}
