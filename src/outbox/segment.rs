//! Rule R5: one period billed on more than one item, or at more than one price.
//!
//! What stands on a closed segment is taken off the target of the last one. Where the old amount reaches the provider by
//! the same record or meter as the new one, there is only one row: it goes on, on the new item or at the new price, and
//! what is billed at the old one already is kept beside it.

use rusqlite::Connection;
use serde_json::json;

use super::delivery::{self, DeliveryState};
use super::{At, NewRecord, OutboxError, UsageRecord, record};
use crate::model::{Channel, Formula, ItemId, PriceId, Span, Timestamp};
use crate::store::{Tx, audit};

/// A part of a row's period that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// On which item.
    pub item: ItemId,
    /// At which price.
    pub price: PriceId,
    /// Units that stand on it, or are billed at its price, and not on the row again.
    pub units: i64,
}

/// How a row goes on after a change of item or price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoesOn {
    /// Its row.
    pub row: i64,
    /// Units that an invoice or its preview bills at the old price.
    pub billed: i64,
    /// Whether the provider begins to count anew: what was sent before does not count at the new price.
    pub anew: bool,
}

/// Closes the segment of `old`: what stands on it stays, and the row of `last` bills the rest of the period.
pub fn close_segment(tx: &Tx<'_>, old: i64, last: i64, stands: i64, now: Timestamp) -> Result<(), OutboxError> {
    let record = record::by_id(tx, old)?;
    // An item that is billed on once more opens its own segment again.
    tx.execute(
        "UPDATE usage_record SET segment_of = NULL, held_units = 0, read_generation = NULL
         WHERE id = ?1 AND segment_of IS NOT NULL",
        [last],
    )?;
    release(tx, last)?;
    take_units(tx, &record, last)?;
    tx.execute(
        "UPDATE usage_record SET segment_of = ?2, standing = ?3, overage = ?3, target = ?3, carried_in = 0, adopted = 0,
                forgotten = 0, adopted_by_usage = 0,
                closed_segments = 0, differs_since_us = NULL, next_attempt_us = NULL, attempts = 0, last_error = NULL,
                held_code = NULL, held_because = NULL
         WHERE id = ?1",
        (old, last, stands),
    )?;
    tx.execute("UPDATE usage_record SET segment_of = ?2 WHERE segment_of = ?1", (old, last))?;
    // Where the two were billed together for a while, that is over.
    tx.execute(
        "DELETE FROM segment WHERE usage_record_id = ?1 AND billed = 0
         AND item = (SELECT item FROM usage_record WHERE id = ?2)",
        (old, last),
    )?;
    let detail = json!({"stands": stands, "period_from": record.period.from, "goes_on": last});
    audit::append(tx, now, "usaged", "segment.closed", record.item.as_str(), &detail)?;
    Ok(())
}

/// Units that were brought into the period, or taken over in it, belong to the period and not to the segment.
fn take_units(tx: &Tx<'_>, old: &UsageRecord, last: i64) -> Result<(), OutboxError> {
    tx.execute("UPDATE carry SET to_record = ?2 WHERE to_record = ?1", (old.id, last))?;
    tx.execute(
        "UPDATE usage_record SET adopted = adopted + ?2, target = target + ?2, forgotten = forgotten + ?3,
                adopted_by_usage = adopted_by_usage + ?4
         WHERE id = ?1",
        (last, old.adopted, old.forgotten, old.adopted_by_usage),
    )?;
    Ok(())
}

/// Goes on with a row on another item or at another price.
pub fn go_on(tx: &Tx<'_>, on: GoesOn, new: &NewRecord, at: At) -> Result<(), OutboxError> {
    let GoesOn { row: id, billed, anew } = on;
    let old = record::by_id(tx, id)?;
    absorb(tx, id, new)?;
    keep(tx, id, &old.item, &old.price, billed, at.now)?;
    let unit_amount = new.unit_amount.map(|amount| amount.to_string());
    tx.execute(
        "UPDATE usage_record SET item = ?2, price = ?3, unit_amount = ?4, subscription = ?5, channel = ?6 WHERE id = ?1",
        (
            id,
            new.item.as_str(),
            new.price.as_str(),
            unit_amount,
            new.subscription.as_str(),
            json!(new.channel).to_string(),
        ),
    )?;
    if new.channel.formula() == Some(Formula::Sum) {
        tx.execute("UPDATE usage_record SET floor = floor + ?2 WHERE id = ?1", (id, billed))?;
    }
    if anew || new.channel.meter().is_some() {
        give_up_in_flight(tx, id, at.now)?;
    }
    if anew {
        begin_anew(tx, id, new, at)?;
    }
    release(tx, id)?;
    let detail = json!({
        "from_item": old.item, "from_price": old.price, "price": new.price, "billed_before": billed, "anew": anew,
    });
    audit::append(tx, at.now, "usaged", "segment.goes_on", new.item.as_str(), &detail)?;
    Ok(())
}

/// While it cannot be told how a row goes on, it bills what is used by way of the new item as well, and is held.
pub fn bill_together(tx: &Tx<'_>, id: i64, new: &NewRecord, now: Timestamp) -> Result<(), OutboxError> {
    absorb(tx, id, new)?;
    let is_known = earlier_items(tx, id)?.contains(&new.item) || record::by_id(tx, id)?.item == new.item;
    if is_known { Ok(()) } else { keep(tx, id, &new.item, &new.price, 0, now) }
}

pub(super) fn keep(
    tx: &Tx<'_>,
    id: i64,
    item: &ItemId,
    price: &PriceId,
    billed: i64,
    until: Timestamp,
) -> Result<(), OutboxError> {
    tx.execute(
        "INSERT INTO segment (usage_record_id, item, price, billed, until_us) VALUES (?1, ?2, ?3, ?4, ?5)",
        (id, item.as_str(), price.as_str(), billed, until.micros()),
    )?;
    Ok(())
}

/// A row of the new item that was held before anything was sent for it.
fn absorb(tx: &Tx<'_>, id: i64, new: &NewRecord) -> Result<(), OutboxError> {
    let held = record::unfinished(tx)?
        .into_iter()
        .find(|row| row.id != id && row.item == new.item && row.period.from == new.period.from && row.is_blank());
    let Some(held) = held else { return Ok(()) };
    take_units(tx, &held, id)?;
    tx.execute("UPDATE segment SET usage_record_id = ?2 WHERE usage_record_id = ?1", (held.id, id))?;
    tx.execute("UPDATE usage_record SET segment_of = ?2 WHERE segment_of = ?1", (held.id, id))?;
    tx.execute("DELETE FROM day_share WHERE usage_record_id = ?1", [held.id])?;
    tx.execute("DELETE FROM usage_record WHERE id = ?1", [held.id])?;
    Ok(())
}

/// Sent again, it would be put where nothing is billed any more.
fn give_up_in_flight(tx: &Tx<'_>, id: i64, now: Timestamp) -> Result<(), OutboxError> {
    if let Some(pending) = delivery::in_flight(tx, id)? {
        delivery::set_state(tx, &pending, DeliveryState::Abandoned, now, Some("item or price changed since"))?;
        tx.execute("UPDATE usage_record SET read_generation = NULL WHERE id = ?1", [id])?;
    }
    Ok(())
}

/// What was sent before the change does not count at the new price.
fn begin_anew(tx: &Tx<'_>, id: i64, new: &NewRecord, at: At) -> Result<(), OutboxError> {
    if new.channel == Channel::UsageRecords {
        // A record of its own, after the change: what stands on it is read anew.
        let timestamp_s = record::timestamp_s(new.period.from.secs(), new.item_created_s)
            .max(at.provider_now.secs().saturating_add(1));
        tx.execute(
            "UPDATE usage_record SET timestamp_s = ?2, standing = NULL, adopted_elsewhere = 0, probing_from = NULL
             WHERE id = ?1",
            (id, timestamp_s),
        )?;
    } else {
        tx.execute("UPDATE usage_record SET begins_anew = 1 WHERE id = ?1", [id])?;
    }
    tx.execute("UPDATE usage_record SET read_generation = NULL WHERE id = ?1", [id])?;
    Ok(())
}

/// What was held because of the change is not held any more.
fn release(tx: &Tx<'_>, id: i64) -> Result<(), OutboxError> {
    tx.execute(
        "UPDATE usage_record SET held_code = NULL, held_because = NULL
         WHERE id = ?1 AND held_code IN ('segment_changed', 'item_missing')",
        [id],
    )?;
    Ok(())
}

/// What was billed on a row before it went on, oldest first.
pub fn billed_before(connection: &Connection, id: i64) -> Result<Vec<Segment>, OutboxError> {
    read(connection, "SELECT item, price, billed FROM segment WHERE usage_record_id = ?1 ORDER BY id", id)
}

/// Every closed segment of a row's period, oldest first.
pub fn closed_segments(connection: &Connection, id: i64) -> Result<Vec<Segment>, OutboxError> {
    let mut found = Vec::new();
    for closed in rows_of(connection, id)? {
        let before = billed_before(connection, closed.id)?;
        // Increments stand on the meter for the whole period, whatever price each was billed at.
        let units = closed.standing.unwrap_or(0).saturating_add(closed.held_units).saturating_sub(closed.floor);
        found.extend(before);
        found.push(Segment { item: closed.item, price: closed.price, units });
    }
    found.extend(billed_before(connection, id)?);
    Ok(found)
}

/// Rows whose segment is closed, and that bill together with this one.
fn rows_of(connection: &Connection, id: i64) -> Result<Vec<UsageRecord>, OutboxError> {
    let mut statement = connection.prepare_cached("SELECT id FROM usage_record WHERE segment_of = ?1 ORDER BY id")?;
    let ids: Vec<i64> = statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.into_iter().map(|id| record::by_id(connection, id)).collect()
}

fn read(connection: &Connection, sql: &str, id: i64) -> Result<Vec<Segment>, OutboxError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Segment {
            item: ItemId::new(row.get::<_, String>(0)?)?,
            price: PriceId::new(row.get::<_, String>(1)?)?,
            units: row.get(2)?,
        });
    }
    Ok(found)
}

/// Earlier items whose links bill on this row.
pub fn earlier_items(connection: &Connection, id: i64) -> Result<Vec<ItemId>, OutboxError> {
    let sql = "SELECT item FROM segment WHERE usage_record_id = ?1
               UNION SELECT item FROM usage_record WHERE segment_of = ?1
               UNION SELECT s.item FROM segment s JOIN usage_record r ON r.id = s.usage_record_id WHERE r.segment_of = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(ItemId::new(row.get::<_, String>(0)?)?);
    }
    Ok(items)
}

/// Whether another row bills what this item was used for in the period that begins then.
pub fn is_continued(connection: &Connection, item: &ItemId, period: Span) -> Result<bool, OutboxError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM usage_record
                              WHERE item = ?1 AND period_from_s = ?2 AND segment_of IS NOT NULL)
                   OR EXISTS (SELECT 1 FROM segment s JOIN usage_record r ON r.id = s.usage_record_id
                              WHERE s.item = ?1 AND r.item <> ?1 AND r.period_from_s = ?2)";
    Ok(connection.prepare_cached(sql)?.query_row((item.as_str(), period.from.secs()), |row| row.get(0))?)
}

/// Brings what closed segments have in line with what stands on them. A closed segment itself owes what stands on it.
pub fn sum_segments(tx: &Tx<'_>, record: &UsageRecord) -> Result<UsageRecord, OutboxError> {
    if record.segment_of.is_some() {
        tx.execute(
            "UPDATE usage_record SET overage = ifnull(standing, 0) + held_units, target = ifnull(standing, 0) + held_units
             WHERE id = ?1",
            [record.id],
        )?;
        return record::by_id(tx, record.id);
    }
    let segments = closed_segments(tx, record.id)?;
    let units = segments.iter().fold(0_i64, |sum, segment| sum.saturating_add(segment.units));
    // What increments on this very meter bill at earlier prices is part of what stands here.
    let closed_segments = units.saturating_sub(record.floor);
    if closed_segments == record.closed_segments {
        return Ok(record.clone());
    }
    tx.execute("UPDATE usage_record SET closed_segments = ?2 WHERE id = ?1", (record.id, closed_segments))?;
    Ok(UsageRecord { closed_segments, ..record.clone() })
}
