//! Deliveries in pages, each found by where the one before it ended.

use rusqlite::{Connection, Row};

use super::OutboxError;
use crate::model::{MeterName, Span, Timestamp};

/// A delivery, with what it was of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its row.
    pub id: i64,
    /// Which meter.
    pub meter: String,
    /// On which item.
    pub item: String,
    /// Of whom.
    pub customer: String,
    /// On which subscription.
    pub subscription: String,
    /// The period.
    pub period: Span,
    /// The UTC day whose share it set, by its first second.
    pub day_s: Option<i64>,
    /// To what it set it.
    pub quantity: i64,
    /// When it left first.
    pub first_sent: Timestamp,
    /// What came of it.
    pub state: String,
    /// When that was known.
    pub settled: Option<Timestamp>,
    /// Of the answer.
    pub http_status: Option<i64>,
    /// The provider's.
    pub request_id: Option<String>,
    /// The key it left under first.
    pub key: String,
    /// What was said against it.
    pub error: Option<String>,
}

const OF: &str = "FROM delivery d JOIN usage_record r ON r.id = d.usage_record_id
    WHERE d.id > ?1 AND (?2 IS NULL OR r.meter = ?2) AND d.first_sent_us >= ?3 AND d.first_sent_us < ?4";

/// Deliveries that left in a span, from behind a row on.
pub fn deliveries(
    connection: &Connection,
    meter: Option<&MeterName>,
    span: Span,
    after: i64,
    most: usize,
) -> Result<Vec<Sent>, OutboxError> {
    let sql = format!(
        "SELECT d.id, r.meter, r.item, r.customer, r.subscription, r.period_from_s, r.period_to_s, d.day_s, d.quantity,
                d.first_sent_us, d.state, d.settled_us, d.http_status, d.request_id, d.idempotency_key, d.error
         {OF} ORDER BY d.id LIMIT ?5"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let of = (after, meter.map(MeterName::as_str), span.from.micros(), span.to.micros(), most);
    let rows = statement.query_map(of, sent)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many left in a span.
pub fn deliveries_in(connection: &Connection, meter: Option<&MeterName>, span: Span) -> Result<u64, OutboxError> {
    let of = (0, meter.map(MeterName::as_str), span.from.micros(), span.to.micros());
    let found: i64 = connection.query_row(&format!("SELECT count(*) {OF}"), of, |row| row.get(0))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

fn sent(row: &Row<'_>) -> rusqlite::Result<Sent> {
    Ok(Sent {
        id: row.get(0)?,
        meter: row.get(1)?,
        item: row.get(2)?,
        customer: row.get(3)?,
        subscription: row.get(4)?,
        period: Span::new(Timestamp::from_secs(row.get(5)?), Timestamp::from_secs(row.get(6)?)),
        day_s: row.get(7)?,
        quantity: row.get(8)?,
        first_sent: Timestamp::from_micros(row.get(9)?),
        state: row.get(10)?,
        settled: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_micros),
        http_status: row.get(12)?,
        request_id: row.get(13)?,
        key: row.get(14)?,
        error: row.get(15)?,
    })
}
