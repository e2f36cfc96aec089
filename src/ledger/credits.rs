//! Recorded credits: accepted once, found by their id (rules M8, M9).

use rusqlite::{Connection, OptionalExtension};

use super::buckets;
use super::{LedgerError, MeterId, meters, placement};
use crate::clock::Reading;
use crate::clock::trust::Placement;
use crate::model::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, Meter, MeterName, Micros, SourceName, Span, Timestamp,
};
use crate::store::Tx;

/// How far ahead of arrival `at` may lie, for clocks that differ.
const AHEAD_US: i64 = 5 * MICROS_PER_MINUTE;
/// The dedupe window is never shorter than this.
pub(super) const DEDUPE_DAYS_MIN: u32 = 35;
/// A thousand million units in one record; what is more is a mistake, and would bring sums near overflow.
const LARGEST: Micros = Micros::new(1_000_000_000 * 1_000_000);

/// A record as it was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredit {
    /// Which meter.
    pub meter: MeterName,
    /// Who records it.
    pub source: SourceName,
    /// The caller's id, unique per meter and source.
    pub id: String,
    /// How much, above zero.
    pub quantity: Micros,
    /// When it was used; `None` is now.
    pub at: Option<Timestamp>,
    /// Of the calling process.
    pub uid: u32,
}

/// What stops a runaway program (rule M9), and how old a record may be (rule M8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest single record; `None` is a thousand million units.
    pub max_per_record: Option<Micros>,
    /// Largest sum in one clock hour of arrival; `None` is no limit.
    pub max_per_hour: Option<Micros>,
    /// The dedupe window; at least 35 days are taken.
    pub dedupe_days: u32,
}

impl Limits {
    /// The limits of a meter.
    #[must_use]
    pub const fn of(meter: &Meter, dedupe_days: u32) -> Self {
        Self { max_per_record: meter.max_per_record, max_per_hour: meter.max_per_hour, dedupe_days }
    }
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts, once the transaction is committed.
    Accepted,
    /// The same record was accepted before; it counts once.
    Duplicate,
    /// It does not count.
    Refused {
        /// A stable word for programs.
        code: &'static str,
        /// One sentence.
        reason: String,
    },
}

/// Takes a record. One that was accepted before is a duplicate even if it would be refused by now.
///
/// # Errors
/// The meter is unknown, or the database did not take it: then nothing is stored, and it may be sent again.
pub fn accept(
    tx: &Tx<'_>,
    record: &NewCredit,
    now: Reading,
    place: &Placement,
    boot_id: &str,
    limits: &Limits,
) -> Result<Verdict, LedgerError> {
    let meter = meters::id(tx, &record.meter)?;
    let arrived = place.wall_at(now.boottime_us);
    let hour = buckets::grid(arrived.unwrap_or(now.wall), MICROS_PER_HOUR).from;
    let refusal = match refusal(record, arrived, limits) {
        None => over_the_hour(tx, meter, record, hour, limits)?,
        refusal => refusal,
    };
    if let Some(refusal) = refusal {
        return Ok(known(tx, meter, record)?.unwrap_or(refusal));
    }
    let at = arrived.map(|arrived| record.at.unwrap_or(arrived));
    let Some(credit) = insert(tx, meter, record, at, arrived.unwrap_or(now.wall))? else {
        return Ok(known(tx, meter, record)?.unwrap_or(Verdict::Duplicate));
    };
    if limits.max_per_hour.is_some() {
        count_in_hour(tx, meter, hour, record.quantity)?;
    }
    if let Some(at) = at {
        buckets::add(tx, meter, Span::new(at, at), record.quantity)?;
    } else {
        let (from_boottime_us, quantity) = (now.boottime_us, record.quantity);
        let entry = placement::Unplaced { meter, from_boottime_us, quantity, credit: Some(credit) };
        placement::hold(tx, &entry, now, boot_id)?;
    }
    Ok(Verdict::Accepted)
}

fn refuse(code: &'static str, reason: String) -> Verdict {
    Verdict::Refused { code, reason }
}

/// What is wrong with the record itself. While the clock is not trusted nothing can be said about its time.
fn refusal(record: &NewCredit, arrived: Option<Timestamp>, limits: &Limits) -> Option<Verdict> {
    let quantity = record.quantity;
    if quantity <= Micros::ZERO {
        return Some(refuse("bad_quantity", format!("quantity {quantity} is not above zero")));
    }
    let most = limits.max_per_record.unwrap_or(LARGEST).min(LARGEST);
    if quantity > most {
        let reason = format!("quantity {quantity} is above max_per_record, {most}, of meter {}", record.meter);
        return Some(refuse("over_max_per_record", reason));
    }
    let (at, arrived) = (record.at?, arrived?);
    if at > arrived.plus(AHEAD_US) {
        return Some(refuse("too_far_ahead", format!("at {at} is more than 5 minutes ahead of {arrived}")));
    }
    let days = limits.dedupe_days.max(DEDUPE_DAYS_MIN);
    if at < arrived.minus(i64::from(days).saturating_mul(MICROS_PER_DAY)) {
        return Some(refuse("too_old", format!("at {at} is more than {days} days before {arrived}")));
    }
    None
}

/// Whether the record would bring its clock hour of arrival above the limit.
fn over_the_hour(
    conn: &Connection,
    meter: MeterId,
    record: &NewCredit,
    hour: Timestamp,
    limits: &Limits,
) -> Result<Option<Verdict>, LedgerError> {
    let Some(most) = limits.max_per_hour else { return Ok(None) };
    let so_far: Option<i64> = conn
        .prepare_cached("SELECT quantity FROM credit_rate WHERE meter_id = ?1 AND hour_us = ?2")?
        .query_row((meter, hour.micros()), |row| row.get(0))
        .optional()?;
    let so_far = Micros::new(so_far.unwrap_or(0));
    let fits = so_far.checked_add(record.quantity).is_some_and(|sum| sum <= most);
    Ok((!fits).then(|| {
        let reason = format!(
            "meter {} has {so_far} since {hour}, and {} more is above max_per_hour, {most}",
            record.meter, record.quantity
        );
        refuse("over_max_per_hour", reason)
    }))
}

fn count_in_hour(tx: &Tx<'_>, meter: MeterId, hour: Timestamp, quantity: Micros) -> Result<(), LedgerError> {
    tx.prepare_cached(
        "INSERT INTO credit_rate (meter_id, hour_us, quantity) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET hour_us = excluded.hour_us,
             quantity = excluded.quantity + CASE WHEN hour_us = excluded.hour_us THEN quantity ELSE 0 END",
    )?
    .execute((meter, hour.micros(), quantity.get()))?;
    Ok(())
}

/// The new credit's row, or `None` if its id is taken.
fn insert(
    tx: &Tx<'_>,
    meter: MeterId,
    record: &NewCredit,
    at: Option<Timestamp>,
    arrived: Timestamp,
) -> Result<Option<i64>, LedgerError> {
    let inserted = tx
        .prepare_cached(
            "INSERT INTO credit (meter_id, source, key, quantity, at_us, at_given_us, arrived_us, uid)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute((
            meter,
            record.source.as_str(),
            &record.id,
            record.quantity.get(),
            at.map(Timestamp::micros),
            record.at.map(Timestamp::micros),
            arrived.micros(),
            record.uid,
        ))?;
    Ok((inserted == 1).then(|| tx.last_insert_rowid()))
}

/// What is to be said where the id is known: same content is a duplicate, other content a conflict.
fn known(conn: &Connection, meter: MeterId, record: &NewCredit) -> Result<Option<Verdict>, LedgerError> {
    let stored: Option<(i64, Option<i64>)> = conn
        .prepare_cached("SELECT quantity, at_given_us FROM credit WHERE meter_id = ?1 AND source = ?2 AND key = ?3")?
        .query_row((meter, record.source.as_str(), &record.id), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(stored.map(|(quantity, at_given)| {
        // Its content was lost with a damaged database, and it counts.
        if quantity == 0 {
            return Verdict::Duplicate;
        }
        if (quantity, at_given) == (record.quantity.get(), record.at.map(Timestamp::micros)) {
            return Verdict::Duplicate;
        }
        let at = at_given.map_or_else(String::new, |at| format!(" at {}", Timestamp::from_micros(at)));
        let reason = format!("id {:?} was recorded with quantity {}{at}", record.id, Micros::new(quantity));
        refuse("id_conflict", reason)
    }))
}

/// Gives a credit that waited for the clock its place and its true arrival, and returns the place: what the caller
/// said, if it may stand against that arrival, else the arrival. It was acknowledged, so it is not refused now.
pub(super) fn settle(tx: &Tx<'_>, credit: i64, arrived: Timestamp) -> Result<Timestamp, LedgerError> {
    let given: Option<i64> =
        tx.prepare_cached("SELECT at_given_us FROM credit WHERE id = ?1")?.query_row([credit], |row| row.get(0))?;
    let oldest = arrived.minus(i64::from(DEDUPE_DAYS_MIN) * MICROS_PER_DAY);
    let plausible = |at: &Timestamp| oldest <= *at && *at <= arrived.plus(AHEAD_US);
    let at = given.map(Timestamp::from_micros).filter(plausible).unwrap_or(arrived);
    tx.prepare_cached("UPDATE credit SET at_us = ?2, arrived_us = ?3 WHERE id = ?1")?.execute((
        credit,
        at.micros(),
        arrived.micros(),
    ))?;
    Ok(at)
}

/// What one source recorded in a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BySource {
    /// Who.
    pub source: String,
    /// How many records.
    pub records: i64,
    /// All of it, without what was taken back.
    pub quantity: Micros,
}

/// Who recorded how much in a stretch of time, the largest first.
pub fn by_source(conn: &Connection, meter: MeterId, span: Span) -> Result<Vec<BySource>, LedgerError> {
    let sql = "SELECT source, sum(records), sum(quantity) FROM (
                   SELECT source, 1 AS records, quantity FROM credit
                   WHERE meter_id = ?1 AND at_us >= ?2 AND at_us < ?3 AND id NOT IN (SELECT credit_id FROM void)
                   UNION ALL
                   SELECT source, records, quantity FROM credit_hour WHERE meter_id = ?1 AND from_us >= ?2 AND from_us < ?3)
               GROUP BY source ORDER BY 3 DESC, 1";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map((meter, span.from.micros(), span.to.micros()), |row| {
        Ok(BySource { source: row.get(0)?, records: row.get(1)?, quantity: Micros::new(row.get(2)?) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOUR, MINUTE, SECOND, at, in_ledger, meter, rows, total, trusted};
    use super::*;
    use crate::model::Source;

    const T0: i64 = 1_800_000_000;
    const DAY: i64 = 24 * HOUR;
    const NO_LIMITS: Limits = Limits { max_per_record: None, max_per_hour: None, dedupe_days: 35 };

    fn credit(id: &str, quantity: i64) -> NewCredit {
        NewCredit {
            meter: MeterName::new("api_credits").unwrap(),
            source: SourceName::of_uid(7),
            id: id.to_owned(),
            quantity: Micros::new(quantity),
            at: None,
            uid: 7,
        }
    }

    fn reading(after_us: i64) -> Reading {
        Reading { wall: at(T0).plus(after_us), monotonic_us: HOUR + after_us, boottime_us: HOUR + after_us }
    }

    fn ready(tx: &Tx<'_>) -> MeterId {
        meters::ensure(tx, &meter("api_credits", Source::Push)).unwrap()
    }

    fn hand_in(tx: &Tx<'_>, record: &NewCredit, after_us: i64, limits: &Limits) -> Verdict {
        let now = reading(after_us);
        accept(tx, record, now, &trusted(now), "a", limits).unwrap()
    }

    fn code(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Accepted => "accepted",
            Verdict::Duplicate => "duplicate",
            Verdict::Refused { code, .. } => code,
        }
    }

    #[test]
    fn m8_a_record_counts_once_however_often_it_is_sent() {
        in_ledger(|tx| {
            let id = ready(tx);
            assert_eq!(hand_in(tx, &credit("order-1", 5), 0, &NO_LIMITS), Verdict::Accepted);
            assert_eq!(hand_in(tx, &credit("order-1", 5), 40 * DAY, &NO_LIMITS), Verdict::Duplicate);
            assert_eq!(rows(tx, id), [(T0, 60, 5)]);
        });
    }

    #[test]
    fn m8_one_id_with_other_content_is_a_conflict_and_counts_nothing() {
        in_ledger(|tx| {
            let id = ready(tx);
            hand_in(tx, &credit("order-1", 5), 0, &NO_LIMITS);
            let other_time = NewCredit { at: Some(at(T0)), ..credit("order-1", 5) };
            for other in [credit("order-1", 6), other_time] {
                assert_eq!(code(&hand_in(tx, &other, 0, &NO_LIMITS)), "id_conflict");
            }
            assert_eq!(total(tx, id), Micros::new(5));
        });
    }

    #[test]
    fn m8_ids_are_unique_per_meter_and_source() {
        in_ledger(|tx| {
            let id = ready(tx);
            let other = NewCredit { source: SourceName::new("worker").unwrap(), ..credit("order-1", 6) };
            hand_in(tx, &credit("order-1", 5), 0, &NO_LIMITS);
            assert_eq!(hand_in(tx, &other, 0, &NO_LIMITS), Verdict::Accepted);
            assert_eq!(total(tx, id), Micros::new(11));
        });
    }

    #[test]
    fn m8_at_says_where_it_lands_within_five_minutes_ahead_and_the_window() {
        for (after_us, expected) in [
            (5 * MINUTE, "accepted"),
            (5 * MINUTE + 1, "too_far_ahead"),
            (-35 * DAY, "accepted"),
            (-35 * DAY - 1, "too_old"),
        ] {
            in_ledger(move |tx| {
                let id = ready(tx);
                let given = at(T0).plus(after_us);
                let record = NewCredit { at: Some(given), ..credit("order-1", 5) };
                assert_eq!(code(&hand_in(tx, &record, 0, &Limits { dedupe_days: 1, ..NO_LIMITS })), expected);
                let minute = Span::new(given, given.plus(MINUTE));
                let there = buckets::used(tx, id, buckets::grid(minute.from, MINUTE)).unwrap();
                assert_eq!(there.get(), if expected == "accepted" { 5 } else { 0 });
            });
        }
    }

    #[test]
    fn m9_limits_refuse_and_do_not_count() {
        in_ledger(|tx| {
            let id = ready(tx);
            let limits =
                Limits { max_per_record: Some(Micros::new(60)), max_per_hour: Some(Micros::new(100)), ..NO_LIMITS };
            for (name, quantity, after_us, expected) in [
                ("a", 60, 0, "accepted"),
                ("b", 61, 0, "over_max_per_record"),
                ("c", 41, 0, "over_max_per_hour"),
                ("d", 40, 0, "accepted"),
                ("e", 1, 0, "over_max_per_hour"),
                ("a", 60, 0, "duplicate"),
                ("e", 60, HOUR, "accepted"),
                ("f", 40, HOUR, "accepted"),
                ("g", 1, HOUR, "over_max_per_hour"),
            ] {
                assert_eq!(code(&hand_in(tx, &credit(name, quantity), after_us, &limits)), expected, "{name}");
            }
            assert_eq!(total(tx, id), Micros::new(200));
        });
    }

    #[test]
    fn quantities_that_are_no_usage_are_refused() {
        in_ledger(|tx| {
            ready(tx);
            let a_thousand_million = 1_000_000_000 * 1_000_000;
            for (quantity, expected) in [
                (0, "bad_quantity"),
                (-5, "bad_quantity"),
                (a_thousand_million + 1, "over_max_per_record"),
                (a_thousand_million, "accepted"),
            ] {
                assert_eq!(code(&hand_in(tx, &credit("x", quantity), 0, &NO_LIMITS)), expected);
            }
        });
    }

    #[test]
    fn m5_a_record_before_the_clock_is_trusted_is_kept_and_placed_later() {
        let days_ago = |days: i64| T0 - days * 86_400;
        for (given, placed) in [
            (None, T0),
            (Some(T0 - 600), T0 - 600),
            (Some(days_ago(35)), days_ago(35)),
            (Some(days_ago(36)), T0),
            (Some(T0 + 9_999), T0),
        ] {
            in_ledger(move |tx| {
                let id = ready(tx);
                let record = NewCredit { at: given.map(at), ..credit("order-1", 5) };
                let untrusted = Reading { wall: at(90), monotonic_us: MINUTE, boottime_us: MINUTE };
                let hand_in = |now| accept(tx, &record, now, &Placement::Waiting, "a", &NO_LIMITS).unwrap();
                assert_eq!((hand_in(untrusted), hand_in(untrusted)), (Verdict::Accepted, Verdict::Duplicate));
                assert_eq!(total(tx, id), Micros::ZERO);
                let now = Reading { wall: at(T0 + 60), monotonic_us: 2 * MINUTE, boottime_us: 2 * MINUTE };
                assert_eq!(placement::settle(tx, &trusted(now), "a").unwrap().placed, 1);
                assert_eq!(rows(tx, id), [(placed, 60, 5)]);
                let arrived: i64 = tx.query_row("SELECT arrived_us FROM credit", [], |row| row.get(0)).unwrap();
                assert_eq!(arrived, T0 * SECOND);
            });
        }
    }
}
