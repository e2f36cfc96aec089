//! Periods by arithmetic, for what no provider lists: multiples of an interval, in UTC.
//!
//! A boundary in a month that is too short for its day falls on that month's last, and comes back to its day after it:
//! <https://docs.stripe.com/billing/subscriptions/billing-cycle>.

use chrono::{DateTime, Datelike, Months, Utc};

use crate::model::{MICROS_PER_DAY, Span, Timestamp};
use crate::provider::{Interval, IntervalUnit};

/// More periods than a ledger can have slept through.
const PERIODS_MAX: usize = 4_000;

/// The periods that lie between two boundaries of an item, in order; `None` where whole intervals do not tile the
/// stretch. `known` are other boundaries of the same item, and `anchor` is what the provider counts from: they tell the
/// day of the month where the stretch itself begins and ends in short months.
pub(super) fn tile(
    stretch: Span,
    interval: Interval,
    known: &[Timestamp],
    anchor: Option<Timestamp>,
) -> Option<Vec<Span>> {
    let months = match interval.unit {
        IntervalUnit::Day => return tile_by(stretch, |steps| days_back(stretch.to, interval.count, steps, 1)),
        IntervalUnit::Week => return tile_by(stretch, |steps| days_back(stretch.to, interval.count, steps, 7)),
        IntervalUnit::Month => interval.count,
        IntervalUnit::Year => interval.count.checked_mul(12)?,
    };
    let boundaries: Vec<Timestamp> = known.iter().copied().chain([stretch.from, stretch.to]).collect();
    let shown = boundaries.iter().filter_map(|at| Some(utc(*at)?.day())).max()?;
    let anchored = anchor.and_then(|at| Some(utc(at)?.day())).map(|day| day.max(shown));
    // The anchor may be in a short month itself, or not be what these boundaries are counted from.
    let days = anchored.into_iter().chain([shown]);
    let mut fitting = days.filter(|day| boundaries.iter().all(|at| falls_on(*at, *day)));
    fitting.find_map(|day| tile_by(stretch, |steps| months_back(stretch.to, months, steps, day)))
}

/// Walks back from the end until it meets the start, or passes it.
fn tile_by(stretch: Span, boundary: impl Fn(u32) -> Option<Timestamp>) -> Option<Vec<Span>> {
    let mut tiles = Vec::new();
    let mut to = stretch.to;
    for steps in 1.. {
        if to <= stretch.from || tiles.len() == PERIODS_MAX {
            break;
        }
        let from = boundary(steps).filter(|from| *from < to)?;
        tiles.push(Span::new(from, to));
        to = from;
    }
    tiles.reverse();
    (to == stretch.from).then_some(tiles)
}

fn days_back(end: Timestamp, count: u32, steps: u32, days: i64) -> Option<Timestamp> {
    let back = i64::from(count).checked_mul(i64::from(steps))?.checked_mul(days)?.checked_mul(MICROS_PER_DAY)?;
    Some(end.minus(back))
}

fn months_back(end: Timestamp, months: u32, steps: u32, day: u32) -> Option<Timestamp> {
    let end = utc(end)?;
    let month = end.with_day(1)?.checked_sub_months(Months::new(months.checked_mul(steps)?))?;
    Some(Timestamp::from_micros(on_day(month, day)?.timestamp_micros()))
}

fn falls_on(at: Timestamp, day: u32) -> bool {
    utc(at).is_some_and(|at| on_day(at, day) == Some(at))
}

/// This moment's time of day on a day of its month, or on the month's last where it has no such day.
fn on_day(in_month: DateTime<Utc>, day: u32) -> Option<DateTime<Utc>> {
    (28..=day.max(28)).rev().map(|last| last.min(day)).find_map(|day| in_month.with_day(day))
}

fn utc(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.micros())
}

/// Rule R2: whether an item's periods are UTC calendar months. The first may be a part of one, where the billing cycle
/// was set to begin with the next.
pub(super) fn are_utc_months(period: Span, interval: Option<Interval>) -> bool {
    let begins = |at: Timestamp| utc(at).is_some_and(|at| at.day() == 1) && at.micros().rem_euclid(MICROS_PER_DAY) == 0;
    let is_monthly = match interval {
        Some(interval) => interval == Interval { unit: IntervalUnit::Month, count: 1 },
        None => begins(period.from),
    };
    let is_one = months_back(period.to, 1, 1, 1).is_some_and(|from| from <= period.from);
    is_monthly && begins(period.to) && is_one
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTHLY: Interval = Interval { unit: IntervalUnit::Month, count: 1 };

    fn at(text: &str) -> Timestamp {
        let text = if text.len() == 10 { format!("{text}T06:00:00Z") } else { text.to_owned() };
        Timestamp::parse(&text).unwrap()
    }

    fn starts(from: &str, to: &str, interval: Interval, known: &[&str], anchor: Option<&str>) -> Option<Vec<String>> {
        let stretch = Span::new(at(from), at(to));
        let known: Vec<_> = known.iter().map(|text| at(text)).collect();
        let tiles = tile(stretch, interval, &known, anchor.map(at))?;
        assert_eq!(tiles.last().map_or(stretch.from, |last| last.to), stretch.to);
        assert!(tiles.windows(2).all(|pair| pair[0].to == pair[1].from), "{tiles:?}");
        Some(tiles.iter().map(|tile| tile.from.to_string()[..10].to_owned()).collect())
    }

    #[test]
    fn r2_a_day_at_the_end_of_the_month_comes_back_after_short_months() {
        let begin = |day: &str, last: &str| {
            [
                ("2026-12", day),
                ("2027-01", day),
                ("2027-02", last),
                ("2027-03", day),
                ("2027-04", "30"),
                ("2027-05", day),
            ]
            .map(|(month, day)| format!("{month}-{day}"))
        };
        for (from, to, current, starting) in [
            ("2026-12-31", "2027-06-30", "2027-07-31", begin("31", "28")),
            ("2026-12-30", "2027-06-30", "2027-07-30", begin("30", "28")),
        ] {
            assert_eq!(starts(from, to, MONTHLY, &[], Some(from)).unwrap(), starting);
            assert_eq!(starts(from, to, MONTHLY, &[current], None).unwrap(), starting, "without an anchor");
        }
        let leap = starts("2027-12-29", "2028-04-29", MONTHLY, &[], None);
        assert_eq!(leap.unwrap(), ["2027-12-29", "2028-01-29", "2028-02-29", "2028-03-29"]);
        let short = starts("2026-12-29", "2027-04-29", MONTHLY, &[], None);
        assert_eq!(short.unwrap(), ["2026-12-29", "2027-01-29", "2027-02-28", "2027-03-29"]);
    }

    #[test]
    fn r2_the_current_period_tells_the_day_where_the_stretch_lies_between_short_months() {
        // Counted from a day 31 that was set in February, so that the anchor does not show it.
        let told = starts("2027-02-28", "2027-04-30", MONTHLY, &["2027-05-31"], Some("2027-02-28"));
        assert_eq!(told.unwrap(), ["2027-02-28", "2027-03-31"]);
        let quarterly = Interval { count: 3, ..MONTHLY };
        let told = starts("2026-06-30", "2027-06-30", quarterly, &["2027-09-30"], Some("2026-03-31"));
        assert_eq!(told.unwrap(), ["2026-06-30", "2026-09-30", "2026-12-31", "2027-03-31"]);
    }

    #[test]
    fn r2_every_interval_tiles_its_stretch() {
        let every = |unit, count| Interval { unit, count };
        assert_eq!(starts("2027-01-01", "2027-01-07", every(IntervalUnit::Day, 3), &[], None).unwrap().len(), 2);
        assert_eq!(starts("2027-01-01", "2027-02-12", every(IntervalUnit::Week, 2), &[], None).unwrap().len(), 3);
        let leap = starts("2024-02-29", "2027-02-28", every(IntervalUnit::Year, 1), &[], Some("2024-02-29"));
        assert_eq!(leap.unwrap(), ["2024-02-29", "2025-02-28", "2026-02-28"]);
        assert_eq!(starts("2027-01-01", "2027-01-01", MONTHLY, &[], None).unwrap(), [""; 0]);
    }

    #[test]
    fn r2_what_whole_intervals_do_not_tile_is_not_guessed() {
        for (from, to) in
            [("2027-01-05", "2027-03-06"), ("2027-01-31", "2027-03-30"), ("2027-02-05T06:00:01Z", "2027-03-05")]
        {
            assert_eq!(starts(from, to, MONTHLY, &[], None), None, "{from} {to}");
        }
        assert_eq!(
            starts("2027-01-01", "2027-01-09", Interval { unit: IntervalUnit::Week, count: 1 }, &[], None),
            None
        );
        assert_eq!(starts("2027-01-01", "2027-01-09", Interval { unit: IntervalUnit::Day, count: 0 }, &[], None), None);
    }

    #[test]
    fn r2_utc_months_are_told_from_others() {
        let month = |from: &str, to: &str| Span::new(at(from), at(to));
        let whole = month("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
        let begun = month("2026-11-24T12:00:00Z", "2026-12-01T00:00:00Z");
        assert!(are_utc_months(whole, Some(MONTHLY)) && are_utc_months(whole, None));
        assert!(are_utc_months(begun, Some(MONTHLY)), "the first one is a part of a month");
        assert!(!are_utc_months(begun, None), "nothing says that the next is a month");
        for (from, to) in [
            ("2026-11-01T06:00:00Z", "2026-12-01T06:00:00Z"),
            ("2026-11-05T00:00:00Z", "2026-12-05T00:00:00Z"),
            ("2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        ] {
            assert!(!are_utc_months(month(from, to), Some(MONTHLY)), "{from}");
        }
        assert!(!are_utc_months(whole, Some(Interval { unit: IntervalUnit::Year, count: 1 })));
    }
}
