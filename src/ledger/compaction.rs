//! Making old usage small (rules M7, M8). Totals between boundaries never change.

use rusqlite::OptionalExtension;

use super::buckets::{self, Bucket};
use super::{LedgerError, MeterId, boundaries, credits, meters};
use crate::model::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, Span, Timestamp};
use crate::store::Tx;

/// Makes hours of the minutes of a closed stretch, at most `hours_max` of them per call, and returns how many minutes
/// went into them; zero means that nothing is left to do. An hour that holds a boundary stays cut there.
pub fn compact(tx: &Tx<'_>, meter: MeterId, closed: Span, hours_max: usize) -> Result<usize, LedgerError> {
    let (mut hours, mut minutes) = (0, 0);
    let mut cursor = closed.from;
    while hours < hours_max {
        let Some(minute) = next_minute(tx, meter, Span::new(cursor, closed.to))? else { break };
        let whole = buckets::grid(minute, MICROS_PER_HOUR);
        let mut cuts = boundaries::inside(tx, whole.from, whole.to)?;
        cuts.extend([closed.from, closed.to]);
        cuts.sort_unstable();
        let hour = buckets::cell_at(minute, MICROS_PER_HOUR, &cuts);
        // What boundaries cut down to a minute or less is as small as it gets.
        if hour.micros() > MICROS_PER_MINUTE {
            minutes += join(tx, meter, hour)?;
            hours += 1;
        }
        cursor = hour.to;
    }
    Ok(minutes)
}

/// The first minute that is not part of an hour yet.
fn next_minute(tx: &Tx<'_>, meter: MeterId, within: Span) -> Result<Option<Timestamp>, LedgerError> {
    let from = tx
        .prepare_cached(
            "SELECT from_us FROM bucket
             WHERE meter_id = ?1 AND from_us >= ?2 AND from_us < ?3 AND width_us <= ?4
             ORDER BY from_us LIMIT 1",
        )?
        .query_row((meter, within.from.micros(), within.to.micros(), MICROS_PER_MINUTE), |row| row.get(0))
        .optional()?;
    Ok(from.map(Timestamp::from_micros))
}

/// Replaces the buckets inside by one.
fn join(tx: &Tx<'_>, meter: MeterId, hour: Span) -> Result<usize, LedgerError> {
    let key = (meter, hour.from.micros(), hour.to.micros());
    let quantity = tx
        .prepare_cached("SELECT sum(quantity) FROM bucket WHERE meter_id = ?1 AND from_us >= ?2 AND from_us < ?3")?
        .query_row(key, |row| row.get(0))?;
    let joined =
        tx.prepare_cached("DELETE FROM bucket WHERE meter_id = ?1 AND from_us >= ?2 AND from_us < ?3")?.execute(key)?;
    buckets::put(tx, meter, Bucket { span: hour, quantity })?;
    Ok(joined)
}

/// Makes hours by source of the credits that are older than they are kept, at most `max` per call, and returns how
/// many. `now` must be trusted time: with a credit its id is forgotten. The dedupe window is kept in any case.
pub fn prune_credits(tx: &Tx<'_>, now: Timestamp, keep_days: u32, max: usize) -> Result<usize, LedgerError> {
    let keep_days = keep_days.max(credits::DEDUPE_DAYS_MIN);
    let oldest = now.minus(i64::from(keep_days).saturating_mul(MICROS_PER_DAY));
    let mut pruned = 0;
    for meter in meters::ids(tx)? {
        for credit in old_credits(tx, meter, oldest, max.saturating_sub(pruned))? {
            prune(tx, meter, &credit)?;
            pruned += 1;
        }
    }
    Ok(pruned)
}

struct OldCredit {
    id: i64,
    source: String,
    at: Timestamp,
    quantity: i64,
    voided: bool,
}

/// Old by place and by arrival: what was handed in late is remembered as long as anything else.
fn old_credits(tx: &Tx<'_>, meter: MeterId, oldest: Timestamp, max: usize) -> Result<Vec<OldCredit>, LedgerError> {
    let mut rows = tx.prepare_cached(
        "SELECT id, source, at_us, quantity, EXISTS (SELECT 1 FROM void WHERE credit_id = credit.id) FROM credit
         WHERE meter_id = ?1 AND at_us < ?2 AND arrived_us < ?2 ORDER BY at_us LIMIT ?3",
    )?;
    let rows = rows.query_map((meter, oldest.micros(), i64::try_from(max).unwrap_or(i64::MAX)), |row| {
        Ok(OldCredit {
            id: row.get(0)?,
            source: row.get(1)?,
            at: Timestamp::from_micros(row.get(2)?),
            quantity: row.get(3)?,
            voided: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn prune(tx: &Tx<'_>, meter: MeterId, credit: &OldCredit) -> Result<(), LedgerError> {
    if credit.voided {
        tx.prepare_cached("DELETE FROM void WHERE credit_id = ?1")?.execute([credit.id])?;
    } else {
        let hour = buckets::grid(credit.at, MICROS_PER_HOUR).from;
        tx.prepare_cached(
            "INSERT INTO credit_hour (meter_id, source, from_us, quantity, records) VALUES (?1, ?2, ?3, ?4, 1)
             ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity, records = records + 1",
        )?
        .execute((meter, &credit.source, hour.micros(), credit.quantity))?;
    }
    tx.prepare_cached("DELETE FROM credit WHERE id = ?1")?.execute([credit.id])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, in_ledger, meter, rows, total};
    use super::*;
    use crate::model::{Micros, Source};

    const T0: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn hours(tx: &Tx<'_>) -> MeterId {
        meters::ensure(tx, &meter("compute_hours", Source::Uptime)).unwrap()
    }

    fn span(from: i64, to: i64) -> Span {
        Span::new(at(T0 + from), at(T0 + to))
    }

    #[test]
    fn m7_minutes_become_hours_that_stay_cut_at_boundaries() {
        in_ledger(|tx| {
            let id = hours(tx);
            boundaries::note(tx, at(T0 + 1_830), "period").unwrap();
            boundaries::note(tx, at(T0 + 7_170), "period").unwrap();
            buckets::add(tx, id, span(0, 7_200), Micros::new(7_200)).unwrap();
            let minutes = compact(tx, id, span(0, 7_200), 99).unwrap();
            assert_eq!(minutes, 121);
            let expected = [(0, 1_830), (1_830, 1_770), (3_600, 3_570), (7_170, 30)];
            assert_eq!(rows(tx, id), expected.map(|(from, width)| (T0 + from, width, width)));
            assert_eq!(compact(tx, id, span(0, 7_200), 99).unwrap(), 0);
        });
    }

    #[test]
    fn m7_only_the_closed_stretch_is_touched_and_only_so_much_per_call() {
        in_ledger(|tx| {
            let id = hours(tx);
            buckets::add(tx, id, span(0, 5 * 3_600), Micros::new(5 * 3_600)).unwrap();
            assert_eq!(compact(tx, id, span(3_600, 4 * 3_600), 2).unwrap(), 120);
            assert_eq!(compact(tx, id, span(3_600, 4 * 3_600), 2).unwrap(), 60);
            assert_eq!(compact(tx, id, span(3_600, 4 * 3_600), 2).unwrap(), 0);
            assert_eq!(rows(tx, id).len(), 60 + 3 + 60);
            assert_eq!(total(tx, id), Micros::new(5 * 3_600));
        });
    }

    #[test]
    fn m7_minutes_beside_a_stretch_that_ends_within_the_hour_stay_minutes() {
        in_ledger(|tx| {
            let id = hours(tx);
            buckets::add(tx, id, span(0, 300), Micros::new(300)).unwrap();
            assert_eq!(compact(tx, id, span(60, 240), 9).unwrap(), 3);
            assert_eq!(rows(tx, id), [(T0, 60, 60), (T0 + 60, 180, 180), (T0 + 240, 60, 60)]);
        });
    }

    #[test]
    fn m7_a_minute_between_two_boundaries_is_as_small_as_it_gets() {
        in_ledger(|tx| {
            let id = hours(tx);
            boundaries::note(tx, at(T0 + 60), "period").unwrap();
            boundaries::note(tx, at(T0 + 120), "period").unwrap();
            buckets::add(tx, id, span(0, 180), Micros::new(180)).unwrap();
            assert_eq!(compact(tx, id, span(60, 120), 9).unwrap(), 0, "there is nothing left to do");
        });
    }

    #[test]
    fn m7_usage_that_comes_late_joins_its_hour() {
        in_ledger(|tx| {
            let id = hours(tx);
            buckets::add(tx, id, span(0, 3_600), Micros::new(60)).unwrap();
            compact(tx, id, span(0, 3_600), 1).unwrap();
            buckets::add(tx, id, span(120, 240), Micros::new(9)).unwrap();
            assert_eq!(rows(tx, id), [(T0, 3_600, 69)]);
        });
    }

    fn credit(tx: &Tx<'_>, meter: MeterId, key: &str, at_s: i64, arrived_s: i64) {
        tx.execute(
            "INSERT INTO credit (meter_id, source, key, quantity, at_us, arrived_us, uid)
             VALUES (?1, 'shop', ?2, 5, ?3, ?4, 0)",
            (meter, key, at(at_s).micros(), at(arrived_s).micros()),
        )
        .unwrap();
    }

    #[test]
    fn m8_old_credits_become_hours_by_source_and_young_ids_stay() {
        in_ledger(|tx| {
            let id = hours(tx);
            let old = T0 - 401 * DAY;
            credit(tx, id, "old-1", old, old);
            credit(tx, id, "old-2", old + 1, old + 1);
            credit(tx, id, "voided", old + 2, old + 2);
            credit(tx, id, "handed in late", old, T0 - 399 * DAY);
            tx.execute("INSERT INTO void SELECT id, 0, 0, 'x' FROM credit WHERE key = 'voided'", []).unwrap();
            assert_eq!(prune_credits(tx, at(T0), 400, 2).unwrap(), 2);
            assert_eq!(prune_credits(tx, at(T0), 400, 2).unwrap(), 1);
            assert_eq!(prune_credits(tx, at(T0), 400, 2).unwrap(), 0);
            let left: String = tx.query_row("SELECT group_concat(key) FROM credit", [], |row| row.get(0)).unwrap();
            assert_eq!(left, "handed in late");
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let sum: (i64, i64) =
                tx.query_row("SELECT sum(quantity), sum(records) FROM credit_hour", [], read).unwrap();
            assert_eq!(sum, (10, 2));
        });
    }

    #[test]
    fn m8_no_setting_forgets_an_id_within_the_dedupe_window() {
        in_ledger(|tx| {
            let id = hours(tx);
            credit(tx, id, "young", T0 - 34 * DAY, T0 - 34 * DAY);
            assert_eq!(prune_credits(tx, at(T0), 0, 10).unwrap(), 0);
        });
    }
}
