//! Times and durations as people write them. What does not name a zone is UTC, as everything that is shown and billed.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ZonedDateTime};

use crate::model::{MICROS_PER_DAY, MICROS_PER_SECOND, Span, Timestamp};

/// A time on the command line. What counts from now is only known once there is a now.
#[derive(Debug, Clone)]
pub(super) enum When {
    /// From here to there: a moment, where both are the same, else a day or a month.
    Named(Span),
    /// So many days after today.
    Day(i64),
    /// So long from now.
    FromNow(jiff::Span),
}

const HINT: &str = "it is not a time\nhint: write yesterday, 10m ago, 2026-10, 2026-10-05, 2026-10-05 14:00, \
                    2026-10-05T14:00:00Z or 1793491200; it is UTC unless it says otherwise";

impl When {
    /// The moment; of a day or a month its start.
    pub(super) fn start(&self, now: Timestamp) -> Timestamp {
        self.span(now).from
    }

    /// The moment; of a day or a month its end.
    pub(super) fn end(&self, now: Timestamp) -> Timestamp {
        self.span(now).to
    }

    fn span(&self, now: Timestamp) -> Span {
        match self {
            Self::Named(span) => *span,
            Self::Day(days) => {
                let from = now.rounded_down(MICROS_PER_DAY).plus(days.saturating_mul(MICROS_PER_DAY));
                Span::new(from, from.plus(MICROS_PER_DAY))
            }
            Self::FromNow(shift) => {
                // A shift out of the calendar is no shift; the daemon then says what is wrong with such a time.
                let at = shifted(now, *shift).unwrap_or(now);
                Span::new(at, at)
            }
        }
    }
}

fn shifted(now: Timestamp, shift: jiff::Span) -> Option<Timestamp> {
    let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?.to_zoned_datetime(TimeZone::UTC);
    Some(of_jiff(now.checked_add(shift).ok()?.timestamp()))
}

fn of_jiff(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_microsecond())
}

fn moment(at: Timestamp) -> When {
    When::Named(Span::new(at, at))
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let read = match text.to_ascii_lowercase().as_str() {
            "now" => Some(Self::FromNow(jiff::Span::new())),
            "today" => Some(Self::Day(0)),
            "yesterday" => Some(Self::Day(-1)),
            "tomorrow" => Some(Self::Day(1)),
            word => from_now(word).or_else(|| unix(word)).or_else(|| month(text)).or_else(|| day(text)),
        };
        read.or_else(|| of_day(text)).ok_or_else(|| HINT.to_owned())
    }
}

/// `10m ago`, `in 2 hours`, `-1h30m`.
fn from_now(text: &str) -> Option<When> {
    let span: jiff::Span = match text.strip_prefix("in ") {
        Some(ahead) => ahead.trim().parse().ok()?,
        None if text.ends_with(" ago") || text.starts_with('-') => text.parse().ok()?,
        None => return None,
    };
    Some(When::FromNow(span))
}

/// `1793491200` or `@1793491200`. Fewer digits would be a year or a day that was meant otherwise.
fn unix(text: &str) -> Option<When> {
    let digits = text.strip_prefix('@').unwrap_or(text);
    let is_long = text.starts_with('@') || (9..=10).contains(&digits.len());
    let seconds = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    is_long.then(|| moment(Timestamp::from_secs(seconds)))
}

/// `2026-10`.
fn month(text: &str) -> Option<When> {
    let first = (text.len() == 7).then(|| format!("{text}-01").parse::<Date>().ok()).flatten()?;
    let next = first.last_of_month().tomorrow().ok()?;
    Some(When::Named(Span::new(midnight(first)?, midnight(next)?)))
}

/// `2026-10-05`.
fn day(text: &str) -> Option<When> {
    let day: Date = (text.len() == 10).then(|| text.parse().ok()).flatten()?;
    Some(When::Named(Span::new(midnight(day)?, midnight(day.tomorrow().ok()?)?)))
}

fn midnight(date: Date) -> Option<Timestamp> {
    utc(date.at(0, 0, 0, 0))
}

fn utc(at: DateTime) -> Option<Timestamp> {
    Some(of_jiff(at.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp()))
}

/// RFC 3339, also with a blank, without seconds or without a zone, and with a zone's name in brackets.
fn of_day(text: &str) -> Option<When> {
    if !text.contains(':') {
        return None;
    }
    let named = || text.parse::<ZonedDateTime>().ok().map(|at| of_jiff(at.timestamp()));
    let offset = || text.parse::<jiff::Timestamp>().ok().map(of_jiff);
    let bare = || text.parse::<DateTime>().ok().and_then(utc);
    named().or_else(offset).or_else(bare).map(moment)
}

/// Seconds, or `10s`, `2m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = || text.parse().ok().map(Duration::from_secs);
    let friendly = || Duration::try_from(text.parse::<SignedDuration>().ok()?).ok();
    seconds()
        .or_else(friendly)
        .ok_or_else(|| "it is not a length of time\nhint: write seconds, or 10s, 2m, 1h30m".to_owned())
}

/// A moment in this machine's own zone, as `2026-12-01 01:00 CET`; `None` where that is UTC.
#[must_use]
pub fn local(at: Timestamp) -> Option<String> {
    in_zone(at, &TimeZone::system())
}

fn in_zone(at: Timestamp, zone: &TimeZone) -> Option<String> {
    let there = zone.to_offset_info(jiff::Timestamp::from_microsecond(at.micros()).ok()?);
    let ahead_s = i64::from(there.offset().seconds());
    if ahead_s == 0 {
        return None;
    }
    // As UTC would be shown that much later. A formatter of its own would only make the program larger.
    let shown = at.plus(ahead_s.saturating_mul(MICROS_PER_SECOND)).to_string();
    Some(format!("{} {}", shown.get(..16)?.replace('T', " "), there.abbreviation()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-14T10:00:12Z";

    fn both(text: &str) -> (String, String) {
        let (when, now): (When, _) = (text.parse().unwrap(), Timestamp::parse(NOW).unwrap());
        (when.start(now).to_string(), when.end(now).to_string())
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        for (text, is) in [
            ("now", NOW),
            ("10m ago", "2026-11-14T09:50:12Z"),
            ("10 minutes ago", "2026-11-14T09:50:12Z"),
            ("1h30m ago", "2026-11-14T08:30:12Z"),
            ("2 weeks ago", "2026-10-31T10:00:12Z"),
            ("1 month ago", "2026-10-14T10:00:12Z"),
            ("-1d", "2026-11-13T10:00:12Z"),
            ("in 2 hours", "2026-11-14T12:00:12Z"),
            ("1793491200", "2026-11-01T00:00:00Z"),
            ("@0", "1970-01-01T00:00:00Z"),
            ("2026-10-05T14:00:00Z", "2026-10-05T14:00:00Z"),
            ("2026-10-05T14:00:00.25+02:00", "2026-10-05T12:00:00.250Z"),
            ("2026-10-05 14:00", "2026-10-05T14:00:00Z"),
            ("2026-10-05 14:00+02:00", "2026-10-05T12:00:00Z"),
        ] {
            assert_eq!(both(text), (is.to_owned(), is.to_owned()), "{text}");
        }
    }

    #[test]
    fn days_and_months_are_meant_whole() {
        for (text, from, to) in [
            ("2026-10", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"),
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02-29", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("today", "2026-11-14T00:00:00Z", "2026-11-15T00:00:00Z"),
            ("Yesterday", "2026-11-13T00:00:00Z", "2026-11-14T00:00:00Z"),
        ] {
            assert_eq!(both(text), (from.to_owned(), to.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_refused_with_what_to_write() {
        for bad in
            ["", "10m", "soon", "2026", "20261005", "2026-13", "2026-02-30", "10:00", "14/10/2026", "99999999999"]
        {
            let said = bad.parse::<When>().unwrap_err();
            assert!(said.contains("\nhint: write yesterday"), "{bad}: {said}");
        }
        assert!("-9999999999999y".parse::<When>().is_err());
        let (far, now): (When, _) = ("9000 years ago".parse().unwrap(), Timestamp::parse(NOW).unwrap());
        assert!(far.start(now) < now);
    }

    #[test]
    fn lengths_of_time_are_seconds_unless_they_say_otherwise() {
        for (text, seconds) in [("10", 10), ("0", 0), ("2m", 120), ("1h30m", 5_400), ("90 seconds", 90)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "-1", "-5s", "5 ago", "soon", "99999999999999999999"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zone_beside_utc_is_named_and_utc_is_not_said_twice() {
        let at = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
        let ahead = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(in_zone(at, &ahead).unwrap(), "2026-12-01 01:00 +01");
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(in_zone(at, &berlin).unwrap(), "2026-12-01 01:00 CET");
        assert_eq!(
            in_zone(Timestamp::parse("2026-07-01T00:00:00Z").unwrap(), &berlin).unwrap(),
            "2026-07-01 02:00 CEST"
        );
        assert_eq!(in_zone(at, &TimeZone::UTC), None);
    }
}
