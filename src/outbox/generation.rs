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

/// Why a generation begins: what this ledger knows may not be the newest there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The agent started, and the one before had noted that it stopped.
    Start,
    /// The agent started, and the one before had noted no stop: it was killed, or this is a copy of a running ledger.
    StartWithoutStop,
    /// The wall clock was set, as after a restored snapshot.
    ClockJump,
}

impl Break {
    /// The word in the table.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::StartWithoutStop => "start, no stop was noted",
            Self::ClockJump => "wall clock jumped",
        }
    }
}

/// Stores a new generation; `random` comes from the caller, so that simulations can repeat themselves.
pub fn draw(tx: &Tx<'_>, random: u64, because: Break, now: Timestamp) -> Result<Generation, OutboxError> {
    let token = format!("{random:016x}");
    tx.execute(
        "INSERT INTO generation (token, drawn_us, because) VALUES (?1, ?2, ?3)",
        (&token, now.micros(), because.word()),
    )?;
    Ok(Generation { id: tx.last_insert_rowid(), token })
}
