//! The append-only record of what changed something at the provider, or in the account data.

use serde_json::Value;

use super::{StoreError, Tx};
use crate::model::Timestamp;

/// Appends one line. `actor` is `usaged` or `uid:N`; `subject` what it happened to.
pub fn append(
    tx: &Tx<'_>,
    now: Timestamp,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &Value,
) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO audit (at_us, actor, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((now.micros(), actor, action, subject, detail.to_string()))?;
    Ok(())
}
