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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::testing::{at, attempted, by, in_store, new};
    use crate::outbox::{Break, draw, ensure};

    const NOW: (u32, u32) = (5, 0);

    fn now() -> At {
        At { now: at(NOW.0, NOW.1), provider_now: at(NOW.0, NOW.1) }
    }

    fn of(channel: &Channel, item: &str, price: &str) -> NewRecord {
        let period = Span::new(at(1, 0), at(30, 0));
        NewRecord { item: item.parse().unwrap(), price: price.parse().unwrap(), ..new(channel.clone(), period) }
    }

    fn row(tx: &Tx<'_>, channel: &Channel, item: &str) -> i64 {
        ensure(tx, &of(channel, item, "price_1")).unwrap()
    }

    fn set(tx: &Tx<'_>, id: i64, what: &str) {
        tx.execute(&format!("UPDATE usage_record SET {what} WHERE id = ?1"), [id]).unwrap();
    }

    fn all(tx: &Tx<'_>) -> Vec<i64> {
        record::unfinished(tx).unwrap().iter().map(|row| row.id).collect()
    }

    #[test]
    fn r5_a_closed_segment_keeps_what_stands_and_gives_up_what_is_the_periods() {
        in_store(|tx| {
            let (before, old, last) = (
                ensure(tx, &new(Channel::UsageRecords, Span::new(at(1, 0).minus(1_000_000), at(1, 0)))).unwrap(),
                row(tx, &Channel::UsageRecords, "si_2"),
                row(tx, &Channel::UsageRecords, "si_3"),
            );
            set(
                tx,
                old,
                "adopted = 2, forgotten = 30, adopted_by_usage = 1, target = 9, standing = 9, held_code = 'x'",
            );
            tx.execute("INSERT INTO carry (from_record, to_record, units, at_us) VALUES (?1, ?2, 3, 0)", [before, old])
                .unwrap();
            close_segment(tx, old, last, 7, at(5, 0)).unwrap();
            let (old, last) = (record::by_id(tx, old).unwrap(), record::by_id(tx, last).unwrap());
            assert_eq!(
                (old.segment_of, old.standing, old.target, old.adopted, old.held),
                (Some(last.id), Some(7), 7, 0, None)
            );
            assert_eq!((last.adopted, last.forgotten, last.adopted_by_usage, last.target), (2, 30, 1, 2));
            let carried: i64 = tx.query_row("SELECT to_record FROM carry", [], |row| row.get(0)).unwrap();
            assert_eq!(carried, last.id, "what was carried in goes on");
        });
    }

    #[test]
    fn r5_what_is_under_way_at_a_change_is_given_up_where_it_would_count_nowhere_or_elsewhere() {
        for (channel, anew, given_up) in [
            (Channel::UsageRecords, true, true),
            (Channel::UsageRecords, false, false),
            (by(Formula::Last), false, true),
            (by(Formula::Sum), true, true),
        ] {
            in_store(move |tx| {
                draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let id = row(tx, &channel, "si_1");
                set(tx, id, "read_generation = 1");
                attempted(tx, id, 1, 4, "unknown", at(4, 0), None);
                go_on(tx, GoesOn { row: id, billed: 0, anew }, &of(&channel, "si_1", "price_2"), now()).unwrap();
                let state: String = tx.query_row("SELECT state FROM delivery", [], |row| row.get(0)).unwrap();
                assert_eq!(state == "abandoned", given_up, "{channel:?} {anew}: {state}");
                assert_eq!(record::by_id(tx, id).unwrap().read_generation.is_none(), given_up, "{channel:?} {anew}");
            });
        }
    }

    #[test]
    fn r5_a_row_that_goes_on_is_on_the_new_price_and_keeps_what_was_billed_at_the_old() {
        for (channel, floor) in [(Channel::UsageRecords, 0), (by(Formula::Last), 0), (by(Formula::Sum), 4)] {
            in_store(move |tx| {
                let id = row(tx, &channel, "si_1");
                set(tx, id, "held_code = 'segment_changed', held_because = 'x', standing = 4");
                go_on(tx, GoesOn { row: id, billed: 4, anew: true }, &of(&channel, "si_2", "price_2"), now()).unwrap();
                let found = record::by_id(tx, id).unwrap();
                assert_eq!(
                    (found.item.as_str(), found.price.as_str(), found.held.is_some()),
                    ("si_2", "price_2", false)
                );
                assert_eq!(found.floor, floor, "{channel:?}");
                let is_record = channel == Channel::UsageRecords;
                assert_eq!((found.standing.is_none(), found.begins_anew), (is_record, !is_record), "{channel:?}");
                let before = billed_before(tx, id).unwrap();
                assert_eq!(before.iter().map(|one| (one.item.as_str(), one.units)).collect::<Vec<_>>(), [("si_1", 4)]);
            });
        }
    }

    #[test]
    fn r5_a_blank_row_of_the_new_item_is_absorbed_with_what_the_period_had_on_it() {
        // Another item, another period, and one on which something was done are left alone.
        for (item, what, is_absorbed) in [
            ("si_2", "forgotten = 5", true),
            ("si_3", "forgotten = 5", false),
            ("si_2", "forgotten = 5, revision = 1", false),
            ("si_2", "forgotten = 5, period_from_s = period_from_s + 1", false),
        ] {
            in_store(move |tx| {
                let (id, blank) = (row(tx, &Channel::UsageRecords, "si_1"), row(tx, &Channel::UsageRecords, item));
                set(tx, blank, what);
                absorb(tx, id, &of(&Channel::UsageRecords, "si_2", "price_2")).unwrap();
                assert_eq!(all(tx) == [id], is_absorbed, "{item}: {what}");
                assert_eq!(record::by_id(tx, id).unwrap().forgotten, if is_absorbed { 5 } else { 0 }, "{item}: {what}");
            });
        }
        in_store(|tx| {
            let id = row(tx, &Channel::UsageRecords, "si_1");
            absorb(tx, id, &of(&Channel::UsageRecords, "si_1", "price_2")).unwrap();
            assert_eq!(all(tx), [id], "never itself");
        });
    }

    #[test]
    fn r5_items_that_are_billed_together_are_kept_once_each() {
        in_store(|tx| {
            let id = row(tx, &Channel::UsageRecords, "si_1");
            let together = |item: &str| {
                bill_together(tx, id, &of(&Channel::UsageRecords, item, "price_2"), at(5, 0)).unwrap();
                earlier_items(tx, id).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
            };
            assert_eq!(together("si_1"), [""; 0], "its own item is no earlier one");
            assert_eq!(together("si_2"), ["si_2"]);
            assert_eq!(together("si_2"), ["si_2"]);
            assert_eq!(billed_before(tx, id).unwrap().len(), 1);
            assert_eq!(together("si_3"), ["si_2", "si_3"]);
        });
    }

    #[test]
    fn r5_an_item_is_continued_where_another_row_bills_its_period() {
        in_store(|tx| {
            let (id, period) = (row(tx, &Channel::UsageRecords, "si_1"), Span::new(at(1, 0), at(30, 0)));
            let item = |name: &str| name.parse::<ItemId>().unwrap();
            let continued = |name: &str| is_continued(tx, &item(name), period).unwrap();
            assert!(!continued("si_1") && !continued("si_2"));
            bill_together(tx, id, &of(&Channel::UsageRecords, "si_2", "price_2"), at(5, 0)).unwrap();
            assert!(!continued("si_1") && continued("si_2"));
            let last = row(tx, &Channel::UsageRecords, "si_3");
            close_segment(tx, id, last, 0, at(5, 0)).unwrap();
            assert!(continued("si_1") && !continued("si_3"));
            let later = Span::new(at(2, 0), at(30, 0));
            assert!(!is_continued(tx, &item("si_1"), later).unwrap(), "of this period only");
        });
    }
}
