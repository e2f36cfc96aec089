//! What this ledger can say for itself when the provider says something else (rule S5). Changes nothing.

use rusqlite::{Connection, OptionalExtension};

use super::delivery;
use super::generation::Break;
use super::standing::STRAGGLES_US;
use super::{OutboxError, RecordState, UsageRecord, record};
use crate::model::{Formula, ItemId, MICROS_PER_DAY, Timestamp};
use crate::store::{Tx, audit};

/// So long after its end what a closed period was billed is still compared.
const LATELY_US: i64 = 70 * MICROS_PER_DAY;
/// So many closed periods of an item.
const LATELY: usize = 2;

/// How this ledger came from what it noted last to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinceNoted {
    /// When it noted what stands on the row; `None` where it never did.
    pub at: Option<Timestamp>,
    /// The same process has run ever since, and its clock was not set: no copy can have taken its place.
    pub in_one_run: bool,
    /// It was left once without a stop being noted, or its clock was set, as happens to a copy that is brought back.
    pub left_without_stop: bool,
}

/// What lies between the last note of a row and now. Generations tell it without any clock; only a row that was never
/// noted is judged by the time since its period began.
pub fn since_noted(connection: &Connection, record: &UsageRecord) -> Result<SinceNoted, OutboxError> {
    let sql = "SELECT CASE WHEN r.standing IS NOT NULL THEN r.standing_us END, r.read_generation,
                      (SELECT max(generation_id) FROM delivery WHERE usage_record_id = r.id AND state = 'accepted')
               FROM usage_record r WHERE r.id = ?1";
    let found: Option<(Option<i64>, Option<i64>, Option<i64>)> = connection
        .prepare_cached(sql)?
        .query_row([record.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (at_us, read_in, accepted_in) = found.ok_or(OutboxError::NoSuchRecord(record.id))?;
    let noted_in = read_in.max(accepted_in);
    let sql = "SELECT because FROM generation WHERE CASE WHEN ?1 IS NULL THEN drawn_us > ?2 ELSE id > ?1 END";
    let bound = (noted_in, record.period.from.micros());
    let breaks: Vec<String> =
        connection.prepare_cached(sql)?.query_map(bound, |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(SinceNoted {
        at: at_us.map(Timestamp::from_micros),
        in_one_run: breaks.is_empty(),
        left_without_stop: breaks.iter().any(|because| because != Break::Start.word()),
    })
}

/// The most that this ledger may have caused to stand on a row.
pub fn caused(connection: &Connection, record: &UsageRecord, now: Timestamp) -> Result<i64, OutboxError> {
    let noted = record.standing.unwrap_or(0);
    Ok(match record.channel.formula() {
        Some(Formula::Sum | Formula::SumOfDays) => noted
            .saturating_add(delivery::added_by_unanswered(connection, record.id)?)
            .saturating_add(delivery::falls_since(connection, record.id, now.minus(STRAGGLES_US))?),
        Some(Formula::Last) | None => delivery::largest_possible(connection, record.id)?
            .map_or(noted, |largest| largest.saturating_add(record.adopted_elsewhere).max(noted)),
    })
}

/// Whether a meter's summary may not show yet what was answered.
pub fn lags(connection: &Connection, record: &UsageRecord, now: Timestamp) -> Result<bool, OutboxError> {
    let accepted = delivery::accepted_at(connection, record.id)?;
    Ok(record.channel.meter().is_some() && accepted.is_some_and(|at| now.since(at) < STRAGGLES_US))
}

/// The last two closed periods of each item, as far as they ended lately; oldest first.
pub fn closed_lately(connection: &Connection, now: Timestamp) -> Result<Vec<UsageRecord>, OutboxError> {
    let mut found = record::closed_since(connection, now.minus(LATELY_US))?;
    found.reverse();
    let mut seen: Vec<ItemId> = Vec::new();
    found.retain(|record| {
        seen.push(record.item.clone());
        seen.iter().filter(|item| **item == record.item).count() <= LATELY
    });
    found.reverse();
    Ok(found)
}

/// Notes that the provider says something else of a closed period than it was closed with, or not any more. Its books stay
/// as they are: what was carried or listed then is settled.
pub fn note_closed_read(tx: &Tx<'_>, id: i64, total: i64, now: Timestamp) -> Result<(), OutboxError> {
    let record = record::by_id(tx, id)?;
    let closed_with = record.standing.unwrap_or(0);
    let drift =
        (total != closed_with).then(|| format!("{total} stands now, and {closed_with} stood when it was closed"));
    if record.state != RecordState::Closed || drift == record.drift {
        return Ok(());
    }
    tx.execute("UPDATE usage_record SET drift = ?2 WHERE id = ?1", (id, &drift))?;
    let detail = serde_json::json!({"total": total, "closed_with": closed_with});
    audit::append(tx, now, "usaged", "closed.differs", record.item.as_str(), &detail)?;
    Ok(())
}
