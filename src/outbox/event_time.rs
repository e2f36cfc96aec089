//! Rule S7: the timestamps of meter events.
//!
//! They lie strictly inside the window, strictly grow, and no two totals share one. The last 600 seconds of a window are
//! kept for the totals that are sent when it is over.

use rusqlite::Connection;

use super::{OutboxError, UsageRecord};
use crate::model::{MICROS_PER_DAY, Span, Timestamp};

/// Seconds at a window's end that are kept for final totals.
const RESERVE_S: i64 = 600;
/// An event may be so far ahead of the provider's clock; Stripe takes five minutes.
/// <https://docs.stripe.com/api/billing/meter-event/create>
const AHEAD_S: i64 = 240;

/// The next event's timestamp on a row, or on one UTC day of it. `None` where there is no place for one now.
pub(super) fn next(
    connection: &Connection,
    record: &UsageRecord,
    day_s: Option<i64>,
    provider_now: Timestamp,
) -> Result<Option<i64>, OutboxError> {
    let last = newest(connection, record.id, day_s)?;
    Ok(window(record, day_s).and_then(|window| place(window, last, provider_now.secs())))
}

/// Where a row's events may lie: inside its period, and inside the day where days have shares.
fn window(record: &UsageRecord, day_s: Option<i64>) -> Option<Span> {
    let period = record.period.whole_minutes();
    let Some(day_s) = day_s else { return Some(period) };
    let from = Timestamp::from_secs(day_s);
    Span::new(from, from.plus(MICROS_PER_DAY)).overlap(period)
}

fn newest(connection: &Connection, record: i64, day_s: Option<i64>) -> Result<Option<i64>, OutboxError> {
    let sql = "SELECT max(timestamp_s) FROM delivery WHERE usage_record_id = ?1 AND day_s IS ?2";
    Ok(connection.prepare_cached(sql)?.query_row((record, day_s), |row| row.get(0))?)
}

fn place(window: Span, last: Option<i64>, now_s: i64) -> Option<i64> {
    let (from, to) = (window.from.secs(), window.to.secs());
    let after_last = last.map_or(from, |last| last.max(from)).saturating_add(1);
    let kept_from = to.saturating_sub(RESERVE_S);
    let (wanted, latest) = if now_s >= to {
        (kept_from, to.saturating_sub(1))
    } else {
        (now_s.min(kept_from.saturating_sub(1)), kept_from.saturating_sub(1).min(now_s.saturating_add(AHEAD_S)))
    };
    let placed = wanted.max(after_last);
    (placed <= latest).then_some(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Formula;
    use crate::outbox::testing::{at, attempted, by, in_store, new};
    use crate::outbox::{Break, by_id, draw, ensure};

    const WINDOW: Span = Span { from: Timestamp::from_secs(60_000), to: Timestamp::from_secs(120_000) };

    #[test]
    fn s7_an_event_is_placed_now_and_after_the_one_before() {
        assert_eq!(place(WINDOW, None, 70_000), Some(70_000));
        assert_eq!(place(WINDOW, Some(69_000), 70_000), Some(70_000));
        assert_eq!(place(WINDOW, Some(70_000), 70_000), Some(70_001));
    }

    #[test]
    fn s7_it_lies_strictly_inside_the_window() {
        assert_eq!(place(WINDOW, None, 60_000), Some(60_001));
        assert_eq!(place(WINDOW, None, 59_000), None, "the window has not begun");
        assert_eq!(place(WINDOW, None, 500_000).unwrap(), 119_400);
        assert_eq!(place(WINDOW, Some(119_998), 500_000), Some(119_999));
        assert_eq!(place(WINDOW, Some(119_999), 500_000), None, "no place is left");
    }

    #[test]
    fn s7_the_reserve_is_kept_for_final_totals() {
        assert_eq!(place(WINDOW, None, 119_900), Some(119_399));
        assert_eq!(place(WINDOW, Some(119_399), 119_900), None, "it waits for the window to be over");
        assert_eq!(place(WINDOW, Some(119_399), 120_000), Some(119_400));
    }

    #[test]
    fn s7_a_last_one_far_ahead_of_the_providers_clock_is_waited_for() {
        assert_eq!(place(WINDOW, Some(80_000), 70_000), None);
        assert_eq!(place(WINDOW, Some(70_200), 70_000), Some(70_201));
    }

    #[test]
    fn s7_s8_timestamps_grow_in_the_period_or_in_each_day() {
        for formula in [Formula::Last, Formula::SumOfDays] {
            in_store(move |tx| {
                draw(tx, 1, Break::Start, at(1, 0)).unwrap();
                let id = ensure(tx, &new(by(formula), Span::new(at(1, 0), at(30, 0)))).unwrap();
                let record = by_id(tx, id).unwrap();
                let day = |day| (formula == Formula::SumOfDays).then(|| at(day, 0));
                let next = |of: u32| next(tx, &record, day(of).map(Timestamp::secs), at(2, 12)).unwrap();
                assert_eq!(next(2), Some(at(2, 12).secs()));
                attempted(tx, id, 1, 9, "refused", at(2, 12), day(2));
                assert_eq!(next(2), Some(at(2, 12).secs() + 1), "no two totals share one");
                if formula == Formula::SumOfDays {
                    let over = at(2, 0).secs() - RESERVE_S;
                    assert_eq!(next(1), Some(over), "a day that is over has its final total in the reserve");
                    assert_eq!(next(3), None, "and one that has not begun has none");
                }
            });
        }
    }
}
