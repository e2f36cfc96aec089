//! What was used when: minutes while a period is open, hours once it is closed.
//!
//! Buckets of a meter never overlap. A bucket is a minute (later an hour) of UTC cut at the boundaries, so none spans a
//! boundary, and the sum between two boundaries is exact.

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::share::share;
use super::{LedgerError, MeterId, boundaries, slices};
use crate::model::{MICROS_PER_DAY, MICROS_PER_MINUTE, Micros, Span, Timestamp};
use crate::store::Tx;

const PUT: &str = "INSERT INTO bucket (meter_id, from_us, width_us, quantity) VALUES (?1, ?2, ?3, ?4)";

/// No machine runs that long between two readings: whoever says so has a spoiled row before them.
const LONGEST_US: i64 = 100 * 366 * MICROS_PER_DAY;

/// A stored bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    pub span: Span,
    pub quantity: i64,
}

/// Spreads a quantity evenly over a stretch of time, exactly: the parts add up to it (rule M7). A stretch without
/// length is a moment, and all of it lands there. A negative quantity takes back.
pub fn add(tx: &Tx<'_>, meter: MeterId, span: Span, quantity: Micros) -> Result<(), LedgerError> {
    let total_us = span.micros();
    if total_us > LONGEST_US {
        return Err(LedgerError::Impossible { span });
    }
    let last = span.to.max(span.from);
    let cuts = boundaries::inside(tx, grid(span.from, MICROS_PER_MINUTE).from, grid(last, MICROS_PER_MINUTE).to)?;
    let mut pouring = Pouring::into(tx, meter)?;
    let mut cursor = span.from;
    let mut poured = 0;
    loop {
        let cell = cell_at(cursor, MICROS_PER_MINUTE, &cuts);
        let so_far = share(quantity.get(), cell.to.since(span.from), total_us);
        pouring.pour(cell, so_far.saturating_sub(poured))?;
        poured = so_far;
        cursor = cell.to;
        if cursor >= last {
            return Ok(());
        }
    }
}

/// Adds to cells of a meter, one after another.
struct Pouring<'t> {
    meter: MeterId,
    /// Where the meter's last bucket ends: what lies behind it needs not be looked for.
    end_us: i64,
    add: CachedStatement<'t>,
    put: CachedStatement<'t>,
}

impl<'t> Pouring<'t> {
    fn into(tx: &'t Tx<'_>, meter: MeterId) -> Result<Self, LedgerError> {
        let last = "SELECT from_us + width_us FROM bucket WHERE meter_id = ?1 ORDER BY from_us DESC LIMIT 1";
        let end_us = tx.prepare_cached(last)?.query_row([meter], |row| row.get(0)).optional()?;
        let add = tx.prepare_cached(
            "UPDATE bucket SET quantity = quantity + ?3
             WHERE meter_id = ?1 AND from_us + width_us > ?2
               AND from_us = (SELECT max(from_us) FROM bucket WHERE meter_id = ?1 AND from_us <= ?2)",
        )?;
        Ok(Self { meter, end_us: end_us.unwrap_or(i64::MIN), add, put: tx.prepare_cached(PUT)? })
    }

    /// Adds to the bucket that holds the cell, which in a compacted period is an hour, or makes one.
    fn pour(&mut self, cell: Span, quantity: i64) -> Result<(), LedgerError> {
        if quantity == 0 {
            return Ok(());
        }
        let from_us = cell.from.micros();
        if from_us < self.end_us && self.add.execute((self.meter, from_us, quantity))? > 0 {
            return Ok(());
        }
        self.put.execute((self.meter, from_us, cell.micros(), quantity))?;
        Ok(())
    }
}

/// What was used in a stretch of time. Exact where it begins and ends at boundaries, as periods, links and segments
/// do; an end inside a bucket takes the bucket's part by time, which is good for display only.
pub fn used(conn: &Connection, meter: MeterId, span: Span) -> Result<Micros, LedgerError> {
    if span.micros() == 0 {
        return Ok(Micros::ZERO);
    }
    let whole: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(quantity), 0) FROM bucket
             WHERE meter_id = ?1 AND from_us >= ?2 AND from_us < ?3 AND from_us + width_us <= ?3",
        )?
        .query_row((meter, span.from.micros(), span.to.micros()), |row| row.get(0))?;
    let first = covering(conn, meter, span.from)?;
    let last = covering(conn, meter, span.to.minus(1))?.filter(|last| Some(*last) != first);
    let mut parts = [first, last].into_iter().flatten().map(|bucket| Micros::new(part_inside(bucket, span)));
    let sum = parts.try_fold(Micros::new(whole), Micros::checked_add);
    sum.ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX).into())
}

/// What was used between each two neighbouring moments of `cuts`, which are in order: what [`used`] says of each, in one
/// pass over the buckets.
pub fn used_between(conn: &Connection, meter: MeterId, cuts: &[Timestamp]) -> Result<Vec<Micros>, LedgerError> {
    let (Some(first), Some(last)) = (cuts.first(), cuts.last()) else { return Ok(Vec::new()) };
    let mut rows = conn.prepare_cached(
        "SELECT from_us, width_us, quantity FROM bucket
         WHERE meter_id = ?1 AND from_us < ?3
           AND from_us >= coalesce((SELECT max(from_us) FROM bucket WHERE meter_id = ?1 AND from_us <= ?2), ?2)
         ORDER BY from_us",
    )?;
    let rows = rows.query_map((meter, first.micros(), last.micros()), |row| {
        let from = Timestamp::from_micros(row.get(0)?);
        Ok((Span::new(from, from.plus(row.get(1)?)), row.get::<_, i64>(2)?))
    })?;
    let sums = slices::pour(cuts, rows, |span, quantity, within| match within {
        _ if within == span => *quantity,
        _ => part_inside(Bucket { span, quantity: *quantity }, within),
    })?;
    Ok(sums.into_iter().map(Micros::new).collect())
}

/// When the first bucket begins.
pub fn first(conn: &Connection, meter: MeterId) -> Result<Option<Timestamp>, LedgerError> {
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(from_us) FROM bucket WHERE meter_id = ?1")?
        .query_row([meter], |row| row.get(0))?;
    Ok(first.map(Timestamp::from_micros))
}

/// The part of a bucket that lies in the stretch; nothing where the bucket lies inside it whole.
fn part_inside(bucket: Bucket, span: Span) -> i64 {
    let within = bucket.span.overlap(span);
    within.filter(|within| *within != bucket.span).map_or(0, |within| {
        let upto = |at: Timestamp| share(bucket.quantity, at.since(bucket.span.from), bucket.span.micros());
        upto(within.to).saturating_sub(upto(within.from))
    })
}

/// The bucket that holds a moment.
pub(super) fn covering(conn: &Connection, meter: MeterId, at: Timestamp) -> Result<Option<Bucket>, LedgerError> {
    let last = conn
        .prepare_cached(
            "SELECT from_us, width_us, quantity FROM bucket
             WHERE meter_id = ?1 AND from_us <= ?2 ORDER BY from_us DESC LIMIT 1",
        )?
        .query_row((meter, at.micros()), |row| {
            let from = Timestamp::from_micros(row.get(0)?);
            Ok(Bucket { span: Span::new(from, from.plus(row.get(1)?)), quantity: row.get(2)? })
        })
        .optional()?;
    Ok(last.filter(|bucket| bucket.span.contains(at)))
}

/// Stores a bucket where there is none.
pub(super) fn put(tx: &Tx<'_>, meter: MeterId, bucket: Bucket) -> Result<(), LedgerError> {
    tx.prepare_cached(PUT)?.execute((meter, bucket.span.from.micros(), bucket.span.micros(), bucket.quantity))?;
    Ok(())
}

/// The minute or hour of UTC that holds a moment.
pub(super) fn grid(at: Timestamp, width_us: i64) -> Span {
    let from = at.minus(at.micros().rem_euclid(width_us));
    Span::new(from, from.plus(width_us))
}

/// The minute or hour that holds a moment, cut at the boundaries, which are sorted.
pub(super) fn cell_at(at: Timestamp, width_us: i64, boundaries: &[Timestamp]) -> Span {
    let whole = grid(at, width_us);
    let (before, after) = boundaries.split_at(boundaries.partition_point(|boundary| *boundary <= at));
    let from = before.last().map_or(whole.from, |boundary| whole.from.max(*boundary));
    let to = after.first().map_or(whole.to, |boundary| whole.to.min(*boundary));
    Span::new(from, to)
}

#[cfg(test)]
mod tests {
    use super::super::meters;
    use super::super::testing::{at, in_ledger, meter, rows, total};
    use super::*;
    use crate::model::Source;

    fn hours(tx: &Tx<'_>) -> MeterId {
        meters::ensure(tx, &meter("compute_hours", Source::Uptime)).unwrap()
    }

    #[test]
    fn m7_a_stretch_is_spread_over_its_minutes_and_adds_up() {
        in_ledger(|tx| {
            let id = hours(tx);
            add(tx, id, Span::new(at(90), at(210)), Micros::new(100)).unwrap();
            assert_eq!(rows(tx, id), [(60, 60, 25), (120, 60, 50), (180, 60, 25)]);
        });
    }

    #[test]
    fn a_stretch_that_no_machine_ran_is_refused_and_not_poured_for_years() {
        in_ledger(|tx| {
            let id = hours(tx);
            let span = Span::new(Timestamp::from_micros(i64::MIN), at(0));
            let refused = add(tx, id, span, Micros::new(100)).unwrap_err();
            assert!(matches!(refused, LedgerError::Impossible { .. }), "{refused}");
            assert_eq!(rows(tx, id), []);
        });
    }

    #[test]
    fn a_moment_lands_in_its_minute() {
        in_ledger(|tx| {
            let id = hours(tx);
            add(tx, id, Span::new(at(61), at(61)), Micros::new(7)).unwrap();
            add(tx, id, Span::new(at(119), at(119)), Micros::new(-3)).unwrap();
            assert_eq!(rows(tx, id), [(60, 60, 4)]);
        });
    }

    #[test]
    fn m7_no_bucket_spans_a_boundary_that_is_known() {
        in_ledger(|tx| {
            let id = hours(tx);
            boundaries::note(tx, at(90), "period").unwrap();
            add(tx, id, Span::new(at(60), at(120)), Micros::new(60)).unwrap();
            add(tx, id, Span::new(at(90), at(90)), Micros::new(5)).unwrap();
            assert_eq!(rows(tx, id), [(60, 30, 30), (90, 30, 35)]);
            assert_eq!(used(tx, id, Span::new(at(0), at(90))).unwrap(), Micros::new(30));
            assert_eq!(used(tx, id, Span::new(at(90), at(500))).unwrap(), Micros::new(35));
        });
    }

    #[test]
    fn an_end_inside_a_bucket_takes_its_part_and_neighbours_make_the_whole() {
        in_ledger(|tx| {
            let id = hours(tx);
            add(tx, id, Span::new(at(60), at(180)), Micros::new(101)).unwrap();
            let part = |from, to| used(tx, id, Span::new(at(from), at(to))).unwrap().get();
            assert_eq!(part(0, 70) + part(70, 80) + part(80, 150) + part(150, 999), 101);
            assert_eq!(part(60, 90), 25);
            assert_eq!(part(70, 70), 0);
        });
    }

    #[test]
    fn slices_are_what_each_would_be_alone() {
        in_ledger(|tx| {
            let id = hours(tx);
            add(tx, id, Span::new(at(60), at(180)), Micros::new(101)).unwrap();
            add(tx, id, Span::new(at(300), at(420)), Micros::new(7)).unwrap();
            put(tx, id, Bucket { span: Span::new(at(3_600), at(7_200)), quantity: 1_000 }).unwrap();
            let cuts = [-60, 0, 70, 71, 180, 200, 310, 3_700, 3_800, 9_000].map(at);
            let alone: Vec<_> =
                cuts.windows(2).map(|pair| used(tx, id, Span::new(pair[0], pair[1])).unwrap()).collect();
            assert_eq!(used_between(tx, id, &cuts).unwrap(), alone);
            assert_eq!(alone.iter().map(|part| part.get()).sum::<i64>(), 1_108);
            // A bucket that begins before the first slice, and one that is as long as several.
            let within = [3_650, 3_660, 3_661].map(at);
            assert_eq!(
                used_between(tx, id, &within).unwrap(),
                [used(tx, id, Span::new(within[0], within[1])).unwrap(), Micros::ZERO]
            );
            assert_eq!(used_between(tx, id, &[]).unwrap(), []);
            assert_eq!(first(tx, id).unwrap(), Some(at(60)));
        });
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error_and_not_a_wrong_number() {
        in_ledger(|tx| {
            let id = hours(tx);
            add(tx, id, Span::new(at(0), at(0)), Micros::new(i64::MAX)).unwrap();
            assert!(add(tx, id, Span::new(at(1), at(1)), Micros::new(1)).is_err());
            add(tx, id, Span::new(at(60), at(60)), Micros::new(i64::MAX)).unwrap();
            assert!(used(tx, id, Span::new(at(0), at(120))).is_err());
            add(tx, id, Span::new(at(60), at(60)), Micros::new(-i64::MAX)).unwrap();
            assert_eq!(total(tx, id), Micros::new(i64::MAX));
        });
    }
}
