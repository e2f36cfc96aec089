//! Rule S2: a random mark, drawn at each start and when the wall clock jumps.

use super::OutboxError;
use crate::model::Timestamp;
use crate::store::Tx;

/// A drawn generation. Keys carry its token; a read of what stands counts only for the generation it was made in (S5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Row id.
    pub id: i64,
    /// Random, in every key.
    pub token: String,
}

/// Stores a new generation; `random` comes from the caller, so that simulations can repeat themselves.
pub fn draw(tx: &Tx<'_>, random: u64, because: &str, now: Timestamp) -> Result<Generation, OutboxError> {
    let token = format!("{random:016x}");
    tx.execute(
        "INSERT INTO generation (token, drawn_us, because) VALUES (?1, ?2, ?3)",
        (&token, now.micros(), because),
    )?;
    Ok(Generation { id: tx.last_insert_rowid(), token })
}
