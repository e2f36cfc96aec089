//! Rule R5: one period billed on more than one item, or at more than one price.
//!
//! What stands on a closed segment is taken off the target of the last one. Where the old amount reaches the provider by
//! the same record or meter as the new one, there is only one segment: its row goes on, on the new item or at the new price.

use rusqlite::Connection;
use serde_json::json;

use super::{NewRecord, OutboxError, UsageRecord, record};
use crate::model::{ItemId, Span, Timestamp};
use crate::store::{Tx, audit};

/// Closes the segment of `old`: what stands on it stays, and the row of `last` bills the rest of the period.
pub fn close_segment(tx: &Tx<'_>, old: i64, last: i64, stands: i64, now: Timestamp) -> Result<(), OutboxError> {
    let record = record::by_id(tx, old)?;
    // Units that were brought into the period, or taken over in it, belong to the period and not to the segment.
    tx.execute("UPDATE carry SET to_record = ?2 WHERE to_record = ?1", (old, last))?;
    tx.execute(
        "UPDATE usage_record SET adopted = adopted + ?2, target = target + ?2 WHERE id = ?1",
        (last, record.adopted),
    )?;
    tx.execute(
        "UPDATE usage_record SET segment_of = ?2, standing = ?3, overage = ?3, target = ?3, carried_in = 0, adopted = 0,
                adopted_elsewhere = 0, probing_from = NULL, differs_since_us = NULL, next_attempt_us = NULL, attempts = 0
         WHERE id = ?1",
        (old, last, stands),
    )?;
    tx.execute("UPDATE usage_record SET segment_of = ?2 WHERE segment_of = ?1", (old, last))?;
    take_items(tx, &record.item, old, last)?;
    let detail = json!({"stands": stands, "period_from": record.period.from, "goes_on": last});
    audit::append(tx, now, "usaged", "segment.closed", record.item.as_str(), &detail)?;
    Ok(())
}

/// Goes on with a row on another item or at another price. `billed` units are on an invoice or preview at the old one.
pub fn go_on(tx: &Tx<'_>, id: i64, new: &NewRecord, billed: i64, now: Timestamp) -> Result<(), OutboxError> {
    let old = record::by_id(tx, id)?;
    let unit_amount = new.unit_amount.map(|amount| amount.to_string());
    tx.execute(
        "UPDATE usage_record SET item = ?2, price = ?3, unit_amount = ?4, subscription = ?5, billed_before = billed_before + ?6
         WHERE id = ?1",
        (id, new.item.as_str(), new.price.as_str(), unit_amount, new.subscription.as_str(), billed),
    )?;
    if billed > 0 {
        // A segment of its own begins: its record lies after the swap, and what stands on it is read anew.
        let timestamp_s = record::timestamp_s(new.period.from.secs(), new.item_created_s).max(now.secs() + 1);
        tx.execute(
            "UPDATE usage_record SET timestamp_s = ?2, standing = NULL, read_generation = NULL WHERE id = ?1",
            (id, timestamp_s),
        )?;
    }
    tx.execute(
        "UPDATE usage_record SET held_code = NULL, held_because = NULL WHERE id = ?1 AND held_code = 'segment_changed'",
        [id],
    )?;
    if old.item != new.item {
        take_items(tx, &old.item, id, id)?;
    }
    let detail = json!({"from_item": old.item, "from_price": old.price, "price": new.price, "billed_before": billed});
    audit::append(tx, now, "usaged", "segment.goes_on", new.item.as_str(), &detail)?;
    Ok(())
}

fn take_items(tx: &Tx<'_>, item: &ItemId, old: i64, last: i64) -> Result<(), OutboxError> {
    tx.execute("INSERT OR IGNORE INTO segment_item (usage_record_id, item) VALUES (?1, ?2)", (last, item.as_str()))?;
    tx.execute(
        "INSERT OR IGNORE INTO segment_item (usage_record_id, item)
         SELECT ?2, item FROM segment_item WHERE usage_record_id = ?1",
        (old, last),
    )?;
    Ok(())
}

/// Earlier items whose links bill on this row.
pub fn earlier_items(connection: &Connection, id: i64) -> Result<Vec<ItemId>, OutboxError> {
    let mut statement = connection.prepare_cached("SELECT item FROM segment_item WHERE usage_record_id = ?1")?;
    let mut rows = statement.query([id])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(ItemId::new(row.get::<_, String>(0)?)?);
    }
    Ok(items)
}

/// Whether another row bills what this item was used for in the period that begins then.
pub fn is_continued(connection: &Connection, item: &ItemId, period: Span) -> Result<bool, OutboxError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM segment_item s JOIN usage_record r ON r.id = s.usage_record_id
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
    let sql = "SELECT ifnull(sum(ifnull(standing, 0) + held_units), 0) FROM usage_record WHERE segment_of = ?1";
    let stands: i64 = tx.prepare_cached(sql)?.query_row([record.id], |row| row.get(0))?;
    let closed_segments = record.billed_before.saturating_add(stands);
    if closed_segments == record.closed_segments {
        return Ok(record.clone());
    }
    tx.execute("UPDATE usage_record SET closed_segments = ?2 WHERE id = ?1", (record.id, closed_segments))?;
    Ok(UsageRecord { closed_segments, ..record.clone() })
}
