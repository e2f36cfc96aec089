//! Moments no bucket may span: ends of periods, links and segments (rule M7).

use rusqlite::Connection;

use super::buckets::{self, Bucket};
use super::share::share;
use super::{LedgerError, MeterId, meters};
use crate::model::{Span, Timestamp};
use crate::store::Tx;

/// Records a boundary and splits the buckets that span it. Noting it again changes nothing; the first reason stays.
pub fn note(tx: &Tx<'_>, at: Timestamp, because: &str) -> Result<(), LedgerError> {
    let new = tx
        .prepare_cached("INSERT INTO boundary (at_us, because) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((at.micros(), because))?;
    if new == 0 {
        return Ok(());
    }
    for meter in meters::ids(tx)? {
        match buckets::covering(tx, meter, at)? {
            Some(bucket) if bucket.span.from < at => split(tx, meter, bucket, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// Boundaries between two moments, both excluded, in order.
pub(super) fn inside(conn: &Connection, from: Timestamp, to: Timestamp) -> Result<Vec<Timestamp>, LedgerError> {
    let mut rows = conn.prepare_cached("SELECT at_us FROM boundary WHERE at_us > ?1 AND at_us < ?2 ORDER BY at_us")?;
    let rows = rows.query_map([from.micros(), to.micros()], |row| row.get(0).map(Timestamp::from_micros))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Recorded credits know their moment, so they fall to their own side; the rest is split by time.
fn split(tx: &Tx<'_>, meter: MeterId, bucket: Bucket, at: Timestamp) -> Result<(), LedgerError> {
    let (left, right) = (Span::new(bucket.span.from, at), Span::new(at, bucket.span.to));
    let (credits_left, credits_right) = (credited(tx, meter, left)?, credited(tx, meter, right)?);
    let spread = bucket.quantity.saturating_sub(credits_left).saturating_sub(credits_right);
    let to_left = credits_left.saturating_add(share(spread, left.micros(), bucket.span.micros()));
    let to_right = bucket.quantity.saturating_sub(to_left);
    tx.prepare_cached("UPDATE bucket SET width_us = ?3, quantity = ?4 WHERE meter_id = ?1 AND from_us = ?2")?
        .execute((meter, left.from.micros(), left.micros(), to_left))?;
    buckets::put(tx, meter, Bucket { span: right, quantity: to_right })
}

fn credited(conn: &Connection, meter: MeterId, span: Span) -> Result<i64, LedgerError> {
    let sum = conn
        .prepare_cached(
            "SELECT coalesce(sum(quantity), 0) FROM credit
             WHERE meter_id = ?1 AND at_us >= ?2 AND at_us < ?3
               AND NOT EXISTS (SELECT 1 FROM void WHERE void.credit_id = credit.id)",
        )?
        .query_row((meter, span.from.micros(), span.to.micros()), |row| row.get(0))?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, in_ledger, meter, rows};
    use super::*;
    use crate::model::{Micros, Source};

    #[test]
    fn m7_a_bucket_is_split_by_time_when_a_boundary_becomes_known() {
        in_ledger(|tx| {
            let id = meters::ensure(tx, &meter("compute_hours", Source::Uptime)).unwrap();
            buckets::add(tx, id, Span::new(at(60), at(180)), Micros::new(20)).unwrap();
            note(tx, at(80), "period").unwrap();
            assert_eq!(rows(tx, id), [(60, 20, 3), (80, 40, 7), (120, 60, 10)]);
            note(tx, at(80), "link").unwrap();
            note(tx, at(120), "link").unwrap();
            note(tx, at(999), "link").unwrap();
            assert_eq!(rows(tx, id), [(60, 20, 3), (80, 40, 7), (120, 60, 10)]);
        });
    }

    #[test]
    fn m7_every_meter_is_split() {
        in_ledger(|tx| {
            let ids = ["a", "b"].map(|name| meters::ensure(tx, &meter(name, Source::Cpu)).unwrap());
            for id in ids {
                buckets::add(tx, id, Span::new(at(0), at(60)), Micros::new(60)).unwrap();
            }
            note(tx, at(15), "period").unwrap();
            for id in ids {
                assert_eq!(rows(tx, id), [(0, 15, 15), (15, 45, 45)]);
            }
        });
    }
}
