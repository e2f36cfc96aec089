//! Buckets and credits in pages, each found by where the one before it ended: the reader is free for others in between.

use rusqlite::Connection;

use super::LedgerError;
use crate::model::{MeterName, Micros, Span, Timestamp};

/// Where a page ended: row of a meter, time, and row at that time. Zeros are before everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Of the meter.
    pub meter: i64,
    /// Microseconds.
    pub at_us: i64,
    /// Of what lies there.
    pub row: i64,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Which meter.
    pub meter: String,
    /// The time it is of.
    pub span: Span,
    /// What was used in it.
    pub quantity: Micros,
}

/// A credit, with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which meter.
    pub meter: String,
    /// Who recorded it.
    pub source: String,
    /// The caller's id.
    pub id: String,
    /// How much.
    pub quantity: Micros,
    /// Where it was placed.
    pub at: Timestamp,
    /// When it arrived.
    pub arrived: Timestamp,
    /// User id of the caller.
    pub uid: i64,
    /// When and why it was taken back.
    pub voided: Option<(Timestamp, String)>,
}

const METERS: &str = "SELECT id FROM meter WHERE id >= ?1 AND (?2 IS NULL OR name = ?2) ORDER BY id";

/// Buckets that begin in a span, from a place on; each with the place where it ends.
pub fn buckets(
    conn: &Connection,
    meter: Option<&MeterName>,
    span: Span,
    after: Place,
    most: usize,
) -> Result<Vec<(Place, Used)>, LedgerError> {
    let sql = "SELECT m.name, b.from_us, b.width_us, b.quantity FROM bucket b JOIN meter m ON m.id = b.meter_id
               WHERE b.meter_id = ?1 AND b.from_us > ?2 AND b.from_us < ?3 ORDER BY b.from_us LIMIT ?4";
    each_meter(conn, meter, span, after, most, |of, room| {
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map((of.meter, of.at_us, span.to.micros(), room), |row| {
            let from = Timestamp::from_micros(row.get(1)?);
            let span = Span::new(from, from.plus(row.get(2)?));
            let used = Used { meter: row.get(0)?, span, quantity: Micros::new(row.get(3)?) };
            Ok((Place { at_us: from.micros(), row: 0, ..of }, used))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    })
}

/// Credits that were used in a span, likewise.
pub fn credits(
    conn: &Connection,
    meter: Option<&MeterName>,
    span: Span,
    after: Place,
    most: usize,
) -> Result<Vec<(Place, Recorded)>, LedgerError> {
    let sql = "SELECT c.id, m.name, c.source, c.key, c.quantity, c.at_us, c.arrived_us, c.uid, v.at_us, v.because
               FROM credit c JOIN meter m ON m.id = c.meter_id LEFT JOIN void v ON v.credit_id = c.id
               WHERE c.meter_id = ?1 AND (c.at_us, c.id) > (?2, ?3) AND c.at_us < ?4 ORDER BY c.at_us, c.id LIMIT ?5";
    each_meter(conn, meter, span, after, most, |of, room| {
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query_map((of.meter, of.at_us, of.row, span.to.micros(), room), |row| {
            let at = Timestamp::from_micros(row.get(5)?);
            let voided: Option<i64> = row.get(8)?;
            let because: Option<String> = row.get(9)?;
            let recorded = Recorded {
                meter: row.get(1)?,
                source: row.get(2)?,
                id: row.get(3)?,
                quantity: Micros::new(row.get(4)?),
                at,
                arrived: Timestamp::from_micros(row.get(6)?),
                uid: row.get(7)?,
                voided: voided.map(Timestamp::from_micros).zip(because),
            };
            Ok((Place { at_us: at.micros(), row: row.get(0)?, ..of }, recorded))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    })
}

/// Fills a page from one meter after the other: so each is read along its index, and a page costs what it holds.
fn each_meter<T>(
    conn: &Connection,
    meter: Option<&MeterName>,
    span: Span,
    after: Place,
    most: usize,
    read: impl Fn(Place, i64) -> Result<Vec<(Place, T)>, LedgerError>,
) -> Result<Vec<(Place, T)>, LedgerError> {
    let begin = Place { meter: 0, at_us: span.from.micros().saturating_sub(1), row: i64::MAX };
    let mut meters = conn.prepare_cached(METERS)?;
    let meters = meters.query_map((after.meter, meter.map(MeterName::as_str)), |row| row.get(0))?;
    let mut page = Vec::new();
    for id in meters.collect::<Result<Vec<i64>, _>>()? {
        let of = if id == after.meter && after.at_us >= begin.at_us { after } else { Place { meter: id, ..begin } };
        let room = i64::try_from(most.saturating_sub(page.len())).unwrap_or(i64::MAX);
        page.extend(read(of, room)?);
        if page.len() >= most {
            break;
        }
    }
    Ok(page)
}

/// How many buckets begin in a span. `CROSS JOIN` has SQLite go by meter, so that it counts along an index, not all of it.
pub fn buckets_in(conn: &Connection, meter: Option<&MeterName>, span: Span) -> Result<u64, LedgerError> {
    let sql = "SELECT count(*) FROM meter m CROSS JOIN bucket b ON b.meter_id = m.id
               WHERE (?1 IS NULL OR m.name = ?1) AND b.from_us >= ?2 AND b.from_us < ?3";
    count(conn, sql, meter, span)
}

/// How many credits were used in a span.
pub fn credits_in(conn: &Connection, meter: Option<&MeterName>, span: Span) -> Result<u64, LedgerError> {
    let sql = "SELECT count(*) FROM meter m CROSS JOIN credit c ON c.meter_id = m.id
               WHERE (?1 IS NULL OR m.name = ?1) AND c.at_us >= ?2 AND c.at_us < ?3";
    count(conn, sql, meter, span)
}

/// How many credits wait for their time to be known.
pub fn credits_waiting(conn: &Connection, meter: Option<&MeterName>) -> Result<u64, LedgerError> {
    let sql = "SELECT count(*) FROM meter m CROSS JOIN credit c ON c.meter_id = m.id AND c.at_us IS NULL
               WHERE ?1 IS NULL OR m.name = ?1";
    let found: i64 = conn.query_row(sql, [meter.map(MeterName::as_str)], |row| row.get(0))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

fn count(conn: &Connection, sql: &str, meter: Option<&MeterName>, span: Span) -> Result<u64, LedgerError> {
    let of = (meter.map(MeterName::as_str), span.from.micros(), span.to.micros());
    let found: i64 = conn.query_row(sql, of, |row| row.get(0))?;
    Ok(u64::try_from(found).unwrap_or(0))
}
