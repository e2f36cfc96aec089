//! Points and stretches of UTC time, in integer microseconds.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

/// Microseconds in a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
/// Microseconds in an hour.
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// A duration in microseconds; saturates.
#[must_use]
pub fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A point in UTC, microseconds since 1970-01-01. An integer, so that it is stored and compared exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// Why a time was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time {0:?} is not RFC 3339, such as 2026-11-05T12:00:00Z")]
pub struct TimeError(pub String);

impl Timestamp {
    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since 1970, as providers give them. Saturates at the ends of time.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// This point moved by microseconds; saturates.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This point moved back by microseconds; saturates.
    #[must_use]
    pub const fn minus(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(micros))
    }

    /// The last whole minute, hour or day, as `unit` says, that is not after this point.
    #[must_use]
    pub const fn rounded_down(self, unit: i64) -> Self {
        self.minus(self.0.rem_euclid(unit))
    }

    /// The first whole minute, hour or day, as `unit` says, that is not before this point.
    #[must_use]
    pub const fn rounded_up(self, unit: i64) -> Self {
        self.plus(unit - 1).rounded_down(unit)
    }

    /// Microseconds from `earlier` to here; negative if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self(time.timestamp_micros()))
            .map_err(|_| TimeError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, whole seconds where it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} µs", self.0),
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimeError;
    fn try_from(text: String) -> Result<Self, TimeError> {
        Self::parse(&text)
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

/// A stretch of time, `from` inclusive, `to` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First moment inside.
    pub from: Timestamp,
    /// First moment after.
    pub to: Timestamp,
}

impl Span {
    /// A stretch between two points.
    #[must_use]
    pub const fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to }
    }

    /// Length in microseconds; zero when the ends are crossed.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.to.since(self.from).max(0)
    }

    /// Whether the point lies inside.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// The whole minutes inside; empty where there is none. Of a period it is the window W of rule S7: a provider's
    /// totals of events begin and end on whole minutes.
    #[must_use]
    pub fn whole_minutes(self) -> Self {
        let from = self.from.rounded_up(MICROS_PER_MINUTE);
        Self { from, to: self.to.rounded_down(MICROS_PER_MINUTE).max(from) }
    }

    /// What both have in common, if anything.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<Self> {
        let both = Self { from: self.from.max(other.from), to: self.to.min(other.to) };
        (both.from < both.to).then_some(both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_they_are_read() {
        for text in ["2026-11-05T12:00:00Z", "2026-11-05T12:00:00.000001Z"] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::parse("2026-11-05T13:00:00+01:00"), Timestamp::parse("2026-11-05T12:00:00Z"));
        assert!(Timestamp::parse("yesterday").is_err());
    }

    #[test]
    fn spans_that_only_touch_have_nothing_in_common() {
        let at = Timestamp::from_secs;
        assert_eq!(Span::new(at(0), at(5)).overlap(Span::new(at(5), at(9))), None);
        assert_eq!(Span::new(at(0), at(6)).overlap(Span::new(at(5), at(9))), Some(Span::new(at(5), at(6))));
    }

    #[test]
    fn s7_a_period_is_rounded_inward_to_whole_minutes() {
        let at = Timestamp::from_secs;
        let whole = |from, to| Span::new(at(from), at(to)).whole_minutes();
        assert_eq!(whole(60, 300), Span::new(at(60), at(300)));
        assert_eq!(whole(61, 299), Span::new(at(120), at(240)));
        assert_eq!(whole(1, 119), Span::new(at(60), at(60)));
        assert_eq!(whole(61, 119).micros(), 0, "no whole minute is an empty window");
        assert_eq!(at(-1).rounded_down(MICROS_PER_MINUTE), at(-60));
        assert_eq!(at(-61).rounded_up(MICROS_PER_MINUTE), at(-60));
        assert_eq!(at(86_400).rounded_up(MICROS_PER_DAY), at(86_400));
        assert_eq!(at(86_400).plus(1).rounded_up(MICROS_PER_DAY), at(172_800));
    }
}
