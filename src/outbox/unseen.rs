//! Stretches in which periods of an item came and went that no row knows: what was used in them is billed nowhere. They
//! stand until their periods are known, or somebody has looked at them.

use rusqlite::{Connection, Row};

use super::OutboxError;
use crate::model::{ItemId, MeterName, Span, Timestamp};
use crate::store::Tx;

/// A stretch between two known periods of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// Of which item.
    pub item: ItemId,
    /// From the end of one known period to the start of another.
    pub span: Span,
    /// The link that bills on the item: its row id.
    pub link: i64,
    /// For which meter.
    pub meter: MeterName,
    /// Whether its periods are billed, as far as known.
    pub billable: bool,
    /// Why it is not billed, where there were no periods to be found.
    pub because: Option<String>,
}

/// Remembers a stretch. One that is known stays as it is.
pub fn note_unseen(tx: &Tx<'_>, found: &Unseen, now: Timestamp) -> Result<(), OutboxError> {
    tx.execute(
        "INSERT INTO unseen (item, from_s, to_s, link, meter, billable, seen_us, because)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        (
            found.item.as_str(),
            found.span.from.secs(),
            found.span.to.secs(),
            found.link,
            found.meter.as_str(),
            found.billable,
            now.micros(),
            &found.because,
        ),
    )?;
    Ok(())
}

/// Its periods have rows now, or somebody has settled it.
pub fn forget_unseen(tx: &Tx<'_>, known: &Unseen) -> Result<(), OutboxError> {
    tx.execute("DELETE FROM unseen WHERE item = ?1 AND from_s = ?2", (known.item.as_str(), known.span.from.secs()))?;
    Ok(())
}

/// All that are known, oldest first.
pub fn unseen(connection: &Connection) -> Result<Vec<Unseen>, OutboxError> {
    let sql = "SELECT item, from_s, to_s, link, meter, billable, because FROM unseen ORDER BY from_s, item";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], raw)?;
    rows.map(|row| {
        let (item, meter, found) = row?;
        Ok(Unseen {
            item: ItemId::new(item)?,
            span: found.0,
            link: found.1,
            meter: MeterName::new(meter)?,
            billable: found.2,
            because: found.3,
        })
    })
    .collect()
}

type Raw = (String, String, (Span, i64, bool, Option<String>));

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let span = Span::new(Timestamp::from_secs(row.get(1)?), Timestamp::from_secs(row.get(2)?));
    Ok((row.get(0)?, row.get(4)?, (span, row.get(3)?, row.get(5)?, row.get(6)?)))
}
