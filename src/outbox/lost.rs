//! Rows that were lost with a damaged database, met so that for want of them nothing is billed twice and nothing that
//! stands is lowered. What a row still says of those that are gone is believed; what nobody can tell is listed for people.

use rusqlite::OptionalExtension;

use super::hold::{self, Held};
use super::{OutboxError, UsageRecord, carry, record, segment};
use crate::model::{Micros, Timestamp};
use crate::store::{Recovered, Tx, meta};

/// When rows of periods were lost.
const LOST: &str = "usage_records_lost_us";

/// What this room can tell of itself after a recovery. What stands is read before anything is sent (rule S5).
pub fn make_good(tx: &Tx<'_>, recovered: &Recovered) -> Result<(), OutboxError> {
    // The next one to be drawn must not be taken for a lost one, or what stands would seem to be read already.
    tx.execute_batch(
        "INSERT INTO generation (id, token, drawn_us, because)
             SELECT id, 'lost-' || id, 0, 'lost' FROM
                 (SELECT generation_id AS id FROM delivery UNION SELECT read_generation FROM usage_record)
             WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM generation)",
    )?;
    if !recovered.is_whole(&["usage_record"]) {
        meta::set(tx, LOST, &recovered.at.micros().to_string())?;
        part_from_lost_rows(tx)?;
    }
    if !recovered.is_whole(&["usage_record", "segment"]) {
        keep_segments(tx, recovered.at)?;
    }
    if !recovered.is_whole(&["usage_record", "carry"]) {
        keep_carried_in(tx, recovered.at)?;
        list_shortfalls(tx)?;
    }
    // Without its links a row is not known to be rated as it was; what several VMs add up to is never compared (rule S10).
    let links_lost = !recovered.is_whole(&["link", "item"]);
    let own_lost = !recovered.is_whole(&["usage_record", "delivery"]) || recovered.log.is_some();
    for record in record::unfinished(tx)? {
        if links_lost || record.shared && own_lost {
            hold::hold(tx, record.id, &Held::Lost, recovered.at)?;
        }
    }
    Ok(())
}

/// Usage of a row's period that is in no bucket any more, and that the row was rated with: it counts all the same.
pub fn remember(tx: &Tx<'_>, id: i64, used: Micros) -> Result<(), OutboxError> {
    tx.execute("UPDATE usage_record SET forgotten = forgotten + ?2 WHERE id = ?1", (id, used.get()))?;
    Ok(())
}

/// When a row was rated last.
pub fn rated_at(tx: &Tx<'_>, id: i64) -> Result<Timestamp, OutboxError> {
    let at = tx.query_row("SELECT rated_us FROM usage_record WHERE id = ?1", [id], |row| row.get(0))?;
    Ok(Timestamp::from_micros(at))
}

/// Whether a row takes the place of one that may have been lost, and nothing was done with it yet.
pub fn takes_a_lost_place(tx: &Tx<'_>, record: &UsageRecord) -> Result<bool, OutboxError> {
    let is_untouched = record.revision == 0 && record.standing == Some(0) && record.read_generation.is_none();
    Ok(is_untouched && at(tx)?.is_some_and(|lost| record.period.contains(lost)))
}

/// A new row of a period in which one may have been lost. What stands is then what a ledger that has forgotten it finds
/// (rule S5), and not what somebody else had put there (rule S4). Of a period that was over, it is not known what was carried
/// out of it; of a sum of several VMs, not what of it is ours.
pub(super) fn take_a_lost_place(tx: &Tx<'_>, id: i64) -> Result<(), OutboxError> {
    let record = record::by_id(tx, id)?;
    let Some(lost) = at(tx)?.filter(|lost| record.period.from <= *lost) else { return Ok(()) };
    if record.shared || record.period.to <= lost {
        return hold::hold(tx, id, &Held::Lost, lost);
    }
    tx.execute("UPDATE usage_record SET standing = 0, standing_us = ?2 WHERE id = ?1", (id, lost.micros()))?;
    Ok(())
}

fn at(tx: &Tx<'_>) -> Result<Option<Timestamp>, OutboxError> {
    Ok(meta::get(tx, LOST)?.and_then(|text| text.parse().ok()).map(Timestamp::from_micros))
}

/// A later row must not be taken for a lost one by its id. Units on their way to a lost row may be billed there.
fn part_from_lost_rows(tx: &Tx<'_>) -> Result<(), OutboxError> {
    tx.execute_batch(
        "DELETE FROM delivery WHERE usage_record_id NOT IN (SELECT id FROM usage_record);
         DELETE FROM day_share WHERE usage_record_id NOT IN (SELECT id FROM usage_record);
         DELETE FROM segment WHERE usage_record_id NOT IN (SELECT id FROM usage_record);
         DELETE FROM credit_due WHERE record NOT IN (SELECT id FROM usage_record);
         DELETE FROM carry WHERE from_record NOT IN (SELECT id FROM usage_record);",
    )?;
    tx.execute(
        "UPDATE usage_record SET drift = ?1, held_units = held_units +
             (SELECT sum(units) FROM carry WHERE from_record = usage_record.id
                  AND to_record NOT IN (SELECT id FROM usage_record))
         WHERE id IN (SELECT from_record FROM carry WHERE to_record NOT IN (SELECT id FROM usage_record))",
        [MAY_BE_BILLED],
    )?;
    tx.execute_batch("DELETE FROM carry WHERE to_record NOT IN (SELECT id FROM usage_record)")?;
    // A closed segment without the row that bills the rest of its period.
    tx.execute(
        "UPDATE usage_record SET segment_of = NULL, held_code = ?1, held_because = ?2
         WHERE segment_of NOT IN (SELECT id FROM usage_record)",
        (Held::Lost.code(), Held::Lost.because()),
    )?;
    Ok(())
}

const MAY_BE_BILLED: &str =
    "where they were carried to was lost with the damage to usage.db, so they may be billed already";

/// What was billed on segments that are gone is still known as their sum, and not billed again (rule R5).
fn keep_segments(tx: &Tx<'_>, now: Timestamp) -> Result<(), OutboxError> {
    for record in all(tx)?.into_iter().filter(|record| record.segment_of.is_none()) {
        let known = segment::closed_segments(tx, record.id)?;
        let units = known.iter().fold(0_i64, |sum, segment| sum.saturating_add(segment.units));
        let gone = record.closed_segments.saturating_sub(units.saturating_sub(record.floor));
        if gone > 0 {
            segment::keep(tx, record.id, &record.item, &record.price, gone, now)?;
        }
    }
    Ok(())
}

/// What was carried into a row is known as a sum, too. It came out of an earlier row that lacks it; where none does, it is
/// taken over.
fn keep_carried_in(tx: &Tx<'_>, now: Timestamp) -> Result<(), OutboxError> {
    let records = all(tx)?;
    for record in &records {
        let mut gone = record.carried_in.saturating_sub(carry::carried_in(tx, record.id)?);
        let earlier = records.iter().filter(|earlier| {
            earlier.customer == record.customer
                && earlier.meter == record.meter
                && earlier.period.to <= record.period.from
        });
        for earlier in earlier {
            let units = shortfall(tx, earlier)?.min(gone);
            if units > 0 {
                let sql = "INSERT INTO carry (from_record, to_record, units, at_us) VALUES (?1, ?2, ?3, ?4)";
                tx.execute(sql, (earlier.id, record.id, units, now.micros()))?;
                gone = gone.saturating_sub(units);
            }
        }
        if gone > 0 {
            tx.execute("UPDATE usage_record SET adopted = adopted + ?2 WHERE id = ?1", (record.id, gone))?;
        }
    }
    Ok(())
}

/// What a closed row lacks now, although its books balanced, was carried to where nothing tells any more.
fn list_shortfalls(tx: &Tx<'_>) -> Result<(), OutboxError> {
    for record in all(tx)? {
        let units = shortfall(tx, &record)?;
        if units > 0 {
            let sql = "UPDATE usage_record SET held_units = held_units + ?2, drift = ?3 WHERE id = ?1";
            tx.execute(sql, (record.id, units, MAY_BE_BILLED))?;
        }
    }
    Ok(())
}

fn shortfall(tx: &Tx<'_>, record: &UsageRecord) -> Result<i64, OutboxError> {
    if record.state != record::RecordState::Closed {
        return Ok(0);
    }
    let sql = "SELECT held_units FROM usage_record WHERE id = ?1";
    let held: i64 = tx.query_row(sql, [record.id], |row| row.get(0)).optional()?.unwrap_or(0);
    let told = record.standing.unwrap_or(0).saturating_add(held).saturating_add(carry::carried_out(tx, record.id)?);
    Ok(record.owed().saturating_sub(told).max(0))
}

/// All rows, closed or not, oldest period first.
pub fn all(tx: &Tx<'_>) -> Result<Vec<UsageRecord>, OutboxError> {
    let mut records = record::closed_since(tx, Timestamp::from_micros(0))?;
    records.extend(record::unfinished(tx)?);
    records.sort_by_key(|record| (record.period.from, record.id));
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, MICROS_PER_DAY, Span};
    use crate::outbox::testing::{at, in_store, new};
    use crate::outbox::{Break, NewRecord, draw, ensure};
    use crate::store::Salvaged;

    /// A recovery on the tenth that lost rows of these tables.
    fn without(tables: &[&str]) -> Recovered {
        let torn = |table: &&str| Salvaged { table: (*table).to_owned(), read: 1, missing: Some(1) };
        let tables = tables.iter().map(torn).collect();
        Recovered { at: at(10, 0), name: "usage.db.damaged".to_owned(), found: Vec::new(), tables, log: None }
    }

    fn row(tx: &Tx<'_>, from: u32, to: u32) -> i64 {
        ensure(tx, &new(Channel::UsageRecords, Span::new(at(from, 0), at(to, 0)))).unwrap()
    }

    /// A closed row that owed ten units.
    fn closed(tx: &Tx<'_>, from: u32, to: u32, standing: i64) -> i64 {
        let id = row(tx, from, to);
        let sql = "UPDATE usage_record SET state = 'closed', overage = 10, target = 10, standing = ?2 WHERE id = ?1";
        tx.execute(sql, (id, standing)).unwrap();
        id
    }

    fn set(tx: &Tx<'_>, id: i64, what: &str) {
        tx.execute(&format!("UPDATE usage_record SET {what} WHERE id = ?1"), [id]).unwrap();
    }

    fn carry(tx: &Tx<'_>, from: i64, to: i64, units: i64) {
        let sql = "INSERT INTO carry (from_record, to_record, units, at_us) VALUES (?1, ?2, ?3, 0)";
        tx.execute(sql, (from, to, units)).unwrap();
    }

    fn ask(tx: &Tx<'_>, sql: &str) -> i64 {
        tx.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn held(tx: &Tx<'_>, id: i64) -> Option<String> {
        record::by_id(tx, id).unwrap().held.map(|(code, _)| code)
    }

    /// Held units, and why they are.
    fn listed(tx: &Tx<'_>, id: i64) -> (i64, bool) {
        let UsageRecord { held_units, drift, .. } = record::by_id(tx, id).unwrap();
        (held_units, drift.is_some())
    }

    #[test]
    fn s5_a_generation_that_was_lost_is_never_drawn_again() {
        in_store(|tx| {
            let id = row(tx, 1, 20);
            tx.execute_batch("PRAGMA defer_foreign_keys = ON").unwrap();
            set(tx, id, "read_generation = 7");
            make_good(tx, &without(&["generation"])).unwrap();
            let drawn = draw(tx, 1, Break::Start, at(10, 0)).unwrap();
            assert!(drawn.id > 7, "{drawn:?}");
        });
    }

    #[test]
    fn s5_only_where_rows_of_periods_were_lost_does_a_new_one_take_their_place() {
        for (torn, takes) in [("usage_record", true), ("delivery", false), ("carry", false)] {
            in_store(move |tx| {
                make_good(tx, &without(&[torn])).unwrap();
                let id = row(tx, 1, 20);
                let record = record::by_id(tx, id).unwrap();
                assert_eq!(takes_a_lost_place(tx, &record).unwrap(), takes, "{torn}");
                assert_eq!(record.standing, takes.then_some(0), "{torn}");
            });
        }
    }

    #[test]
    fn s5_a_new_row_takes_a_lost_place_only_in_the_period_of_the_damage_and_while_it_is_untouched() {
        in_store(|tx| {
            make_good(tx, &without(&["usage_record"])).unwrap();
            let (during, after) = (row(tx, 1, 20), row(tx, 11, 21));
            let takes = |id| takes_a_lost_place(tx, &record::by_id(tx, id).unwrap()).unwrap();
            assert!(takes(during));
            assert!(!takes(after), "nothing of it was lost");
            assert_eq!(record::by_id(tx, after).unwrap().standing, None);
            draw(tx, 1, Break::Start, at(10, 0)).unwrap();
            for (touched, back) in [
                ("revision = 1", "revision = 0"),
                ("standing = 3", "standing = 0"),
                ("read_generation = 1", "read_generation = NULL"),
            ] {
                set(tx, during, touched);
                assert!(!takes(during), "{touched}");
                set(tx, during, back);
                assert!(takes(during), "{back}");
            }
        });
    }

    #[test]
    fn s5_a_lost_period_that_was_over_and_a_shared_one_are_held() {
        in_store(|tx| {
            make_good(tx, &without(&["usage_record"])).unwrap();
            let over = row(tx, 1, 10);
            assert_eq!(held(tx, over).as_deref(), Some("ledger_damaged"), "it ended with the damage");
            let shared = NewRecord { shared: true, ..new(Channel::UsageRecords, Span::new(at(2, 0), at(20, 0))) };
            let shared = ensure(tx, &shared).unwrap();
            assert_eq!(held(tx, shared).as_deref(), Some("ledger_damaged"));
            let beginning = row(tx, 10, 21);
            assert_eq!(held(tx, beginning), None);
            assert_eq!(record::by_id(tx, beginning).unwrap().standing, Some(0), "it began with the damage");
        });
    }

    #[test]
    fn s5_s10_rows_are_held_without_their_links_and_shared_ones_without_what_was_sent() {
        let shared_is_held_without = ["usage_record", "delivery"];
        for (torn, is_own_held) in [("link", true), ("item", true), ("usage_record", false), ("delivery", false)] {
            in_store(move |tx| {
                let (own, shared) = (row(tx, 1, 20), row(tx, 2, 20));
                set(tx, shared, "shared = 1");
                make_good(tx, &without(&[torn])).unwrap();
                assert_eq!(held(tx, own).is_some(), is_own_held, "{torn}");
                let is_shared_held = is_own_held || shared_is_held_without.contains(&torn);
                assert_eq!(held(tx, shared).is_some(), is_shared_held, "{torn}");
            });
        }
        in_store(|tx| {
            let (own, shared) = (row(tx, 1, 20), row(tx, 2, 20));
            set(tx, shared, "shared = 1");
            make_good(tx, &without(&["sample"])).unwrap();
            assert_eq!((held(tx, own), held(tx, shared)), (None, None), "usage alone was lost");
            make_good(tx, &Recovered { log: Some("it was cut".to_owned()), ..without(&[]) }).unwrap();
            assert_eq!((held(tx, own), held(tx, shared).as_deref()), (None, Some("ledger_damaged")));
        });
    }

    #[test]
    fn r5_segments_that_are_gone_are_kept_as_their_sum() {
        // What the row says of them, its floor, and the segments that are left.
        for (closed_segments, floor, left, kept) in
            [(5, 0, 0, 5), (5, 0, 2, 3), (5, 0, 5, 0), (0, 4, 4, 0), (3, 4, 5, 2)]
        {
            in_store(move |tx| {
                let id = row(tx, 1, 20);
                set(tx, id, &format!("closed_segments = {closed_segments}, floor = {floor}"));
                if left > 0 {
                    let record = record::by_id(tx, id).unwrap();
                    segment::keep(tx, id, &record.item, &record.price, left, at(5, 0)).unwrap();
                }
                make_good(tx, &without(&["segment"])).unwrap();
                let billed = ask(tx, "SELECT ifnull(sum(billed), 0) FROM segment");
                assert_eq!(billed, left + kept, "{closed_segments} {floor} {left}");
                assert_eq!(ask(tx, "SELECT count(*) FROM segment"), i64::from(left > 0) + i64::from(kept > 0));
            });
        }
    }

    #[test]
    fn r6_what_was_carried_in_comes_out_of_earlier_rows_that_lack_it_and_is_else_taken_over() {
        in_store(|tx| {
            let (first, second) = (closed(tx, 1, 3, 8), closed(tx, 3, 5, 7));
            let last = row(tx, 5, 20);
            // Two and three are lacking, of which one is told still; seven came in.
            carry(tx, second, last, 1);
            set(tx, last, "carried_in = 7");
            make_good(tx, &without(&["carry"])).unwrap();
            let carried =
                |from| ask(tx, &format!("SELECT ifnull(sum(units), 0) FROM carry WHERE from_record = {from}"));
            assert_eq!((carried(first), carried(second)), (2, 3));
            assert_eq!(record::by_id(tx, last).unwrap().adopted, 2);
            assert_eq!((listed(tx, first), listed(tx, second)), ((0, false), (0, false)));
        });
    }

    #[test]
    fn r6_nothing_comes_out_of_another_meters_row_or_a_later_one() {
        for (what, is_earlier) in [("meter = 'other'", true), ("customer = 'cus_2'", true), ("plan = ''", false)] {
            in_store(move |tx| {
                let lacking = if is_earlier { closed(tx, 1, 3, 8) } else { closed(tx, 20, 22, 8) };
                set(tx, lacking, what);
                let last = row(tx, 5, 20);
                set(tx, last, "carried_in = 2");
                make_good(tx, &without(&["carry"])).unwrap();
                assert_eq!(ask(tx, "SELECT count(*) FROM carry"), 0, "{what}");
                assert_eq!(record::by_id(tx, last).unwrap().adopted, 2, "{what}");
                assert_eq!(listed(tx, lacking), (2, true), "{what}");
            });
        }
    }

    #[test]
    fn r6_what_a_closed_row_lacks_is_listed_and_an_open_one_lacks_nothing() {
        in_store(|tx| {
            let (lacking, whole, open) = (closed(tx, 1, 3, 4), closed(tx, 3, 5, 10), row(tx, 5, 20));
            set(tx, open, "overage = 9, target = 9");
            make_good(tx, &without(&["carry"])).unwrap();
            assert_eq!(listed(tx, lacking), (6, true));
            assert_eq!(listed(tx, whole), (0, false));
            assert_eq!(listed(tx, open), (0, false));
        });
    }

    #[test]
    fn r6_units_on_their_way_to_a_lost_row_are_listed() {
        in_store(|tx| {
            let (from, to) = (closed(tx, 1, 3, 8), row(tx, 3, 20));
            tx.execute_batch("PRAGMA defer_foreign_keys = ON").unwrap();
            carry(tx, from, to, 2);
            tx.execute("DELETE FROM usage_record WHERE id = ?1", [to]).unwrap();
            make_good(tx, &without(&["usage_record"])).unwrap();
            assert_eq!(ask(tx, "SELECT count(*) FROM carry"), 0);
            assert_eq!(listed(tx, from), (2, true));
            assert_eq!(held(tx, from), None);
        });
    }

    #[test]
    fn r5_a_closed_segment_without_its_last_one_is_held() {
        in_store(|tx| {
            let (old, last) = (row(tx, 1, 20), row(tx, 2, 20));
            tx.execute_batch("PRAGMA defer_foreign_keys = ON").unwrap();
            set(tx, old, &format!("segment_of = {last}"));
            tx.execute("DELETE FROM usage_record WHERE id = ?1", [last]).unwrap();
            make_good(tx, &without(&["usage_record"])).unwrap();
            assert_eq!(held(tx, old).as_deref(), Some("ledger_damaged"));
            assert_eq!(record::by_id(tx, old).unwrap().segment_of, None);
        });
    }

    #[test]
    fn rows_are_told_oldest_period_first() {
        in_store(|tx| {
            let (late, early) = (row(tx, 5, 20), closed(tx, 1, 3, 4));
            let found: Vec<i64> = all(tx).unwrap().iter().map(|record| record.id).collect();
            assert_eq!(found, [early, late]);
            remember(tx, late, Micros::new(3)).unwrap();
            remember(tx, late, Micros::new(4)).unwrap();
            assert_eq!(record::by_id(tx, late).unwrap().forgotten, 7);
            set(tx, late, "rated_us = 86400000000");
            assert_eq!(rated_at(tx, late).unwrap(), Timestamp::from_micros(MICROS_PER_DAY));
        });
    }
}
