//! Billing periods: multiples of an interval from an anchor, in UTC.

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeZone, Timelike, Utc};
use serde::{Deserialize, Serialize};

use super::errors::ApiError;
use super::form::Form;

const DAY: i64 = 86_400;

/// What an interval is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "day" => Self::Day,
            "week" => Self::Week,
            "year" => Self::Year,
            _ => Self::Month,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    pub(super) const fn most_in_three_years(self) -> u32 {
        match self {
            Self::Day => 1_095,
            Self::Week => 156,
            Self::Month => 36,
            Self::Year => 3,
        }
    }
}

/// The length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interval {
    pub(super) unit: Unit,
    pub(super) count: u32,
}

/// What periods are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Anchor {
    /// A boundary, unix seconds.
    pub(super) at: i64,
    /// The day of the month that boundaries fall on, where the month is long enough. Kept beside `at`, which may lie
    /// in a month that is too short for it.
    pub(super) day: u32,
}

impl Anchor {
    pub(super) fn at(at: i64) -> Self {
        Self { at, day: utc(at).day() }
    }

    /// The boundary this many intervals after the anchor.
    fn boundary(self, interval: Interval, steps: i64) -> i64 {
        let count = i64::from(interval.count).saturating_mul(steps);
        match interval.unit {
            Unit::Day => self.at.saturating_add(count.saturating_mul(DAY)),
            Unit::Week => self.at.saturating_add(count.saturating_mul(7 * DAY)),
            Unit::Month => self.months_on(count),
            Unit::Year => self.months_on(count.saturating_mul(12)),
        }
    }

    fn months_on(self, months: i64) -> i64 {
        let anchor = utc(self.at);
        let first = anchor.with_day(1).unwrap_or(anchor);
        let by = Months::new(u32::try_from(months.unsigned_abs()).unwrap_or(u32::MAX));
        let moved = if months < 0 { first.checked_sub_months(by) } else { first.checked_add_months(by) };
        moved.map_or(i64::MAX, |moved| on_day(moved, self.day).timestamp())
    }

    /// This many months on from the anchor.
    pub(super) fn months_after(self, months: u32) -> i64 {
        self.months_on(i64::from(months))
    }

    /// The first boundary after a moment.
    pub(super) fn next_after(self, interval: Interval, moment: i64) -> i64 {
        let mut steps = self.steps_near(interval, moment);
        while self.boundary(interval, steps) > moment {
            steps = steps.saturating_sub(1);
        }
        while self.boundary(interval, steps) <= moment {
            steps = steps.saturating_add(1);
        }
        self.boundary(interval, steps)
    }

    /// The last boundary before a moment.
    pub(super) fn last_before(self, interval: Interval, moment: i64) -> i64 {
        let mut steps = self.steps_near(interval, moment);
        while self.boundary(interval, steps) < moment {
            steps = steps.saturating_add(1);
        }
        while self.boundary(interval, steps) >= moment {
            steps = steps.saturating_sub(1);
        }
        self.boundary(interval, steps)
    }

    /// A first guess, off by a few at most.
    fn steps_near(self, interval: Interval, moment: i64) -> i64 {
        let days = match interval.unit {
            Unit::Day => 1,
            Unit::Week => 7,
            Unit::Month => 30,
            Unit::Year => 365,
        };
        let length = i64::from(interval.count.max(1)).saturating_mul(days * DAY);
        moment.saturating_sub(self.at).div_euclid(length)
    }
}

/// Reads `billing_cycle_anchor_config[...]`: the first moment from now on that fits it.
pub(super) fn anchor_config(form: &Form, unit: Unit, now: i64) -> Result<Anchor, ApiError> {
    let part = |name: &str, from: u32, to: u32| -> Result<Option<u32>, ApiError> {
        let name = format!("billing_cycle_anchor_config[{name}]");
        let Some(number) = form.integer(&name)? else { return Ok(None) };
        let fits = u32::try_from(number).ok().filter(|number| (from..=to).contains(number));
        let message = format!("This value must be greater than or equal to {from} and less than or equal to {to}.");
        fits.map(Some).ok_or_else(|| ApiError::parameter(&name, "parameter_invalid_integer", message))
    };
    if matches!(unit, Unit::Day | Unit::Week) {
        let message = "billing_cycle_anchor_config can only be used with monthly and yearly prices.";
        return Err(ApiError::uncoded("billing_cycle_anchor_config", message));
    }
    let missing = || ApiError::missing("billing_cycle_anchor_config[day_of_month]");
    let day = part("day_of_month", 1, 31)?.ok_or_else(missing)?;
    let month = part("month", 1, 12)?;
    if month.is_some() && unit == Unit::Month {
        let message = "billing_cycle_anchor_config[month] can only be used with yearly prices.";
        return Err(ApiError::uncoded("billing_cycle_anchor_config[month]", message));
    }
    let created = utc(now);
    let hour = part("hour", 0, 23)?.unwrap_or_else(|| created.hour());
    let minute = part("minute", 0, 59)?.unwrap_or_else(|| created.minute());
    let second = part("second", 0, 59)?.unwrap_or_else(|| created.second());
    let time_of = |date: DateTime<Utc>| date.date_naive().and_hms_opt(hour, minute, second).map(|time| time.and_utc());
    let first = created.with_day(1).unwrap_or(created);
    let candidates = (0..=24_u32).filter_map(|months| first.checked_add_months(Months::new(months)));
    let fitting = candidates.filter(|candidate| month.is_none_or(|month| candidate.month() == month));
    let moments = fitting.filter_map(|candidate| time_of(on_day(candidate, day)));
    let at = moments.map(|moment| moment.timestamp()).find(|at| *at >= now);
    Ok(Anchor { at: at.unwrap_or(now), day })
}

/// This moment's time of day on a day of its month, or on the month's last where it has no such day.
fn on_day(in_month: DateTime<Utc>, day: u32) -> DateTime<Utc> {
    (28..=day.max(28))
        .rev()
        .chain([day])
        .filter(|tried| *tried <= day)
        .find_map(|tried| in_month.with_day(tried))
        .unwrap_or(in_month)
}

fn utc(at: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(at, 0)
        .single()
        .unwrap_or_else(|| NaiveDate::default().and_hms_opt(0, 0, 0).unwrap_or_default().and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTHLY: Interval = Interval { unit: Unit::Month, count: 1 };

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    }

    fn chain(anchor: Anchor, interval: Interval, from: &str, count: usize) -> Vec<String> {
        let mut moment = at(from);
        let mut seen = Vec::new();
        for _ in 0..count {
            moment = anchor.next_after(interval, moment);
            seen.push(utc(moment).format("%Y-%m-%d %H").to_string());
        }
        seen
    }

    #[test]
    fn an_anchor_on_the_31st_comes_back_to_it_after_short_months() {
        let anchor = Anchor::at(at("2027-12-31T06:00:00Z"));
        let seen = chain(anchor, MONTHLY, "2027-12-31T06:00:00Z", 4);
        assert_eq!(seen, ["2028-01-31 06", "2028-02-29 06", "2028-03-31 06", "2028-04-30 06"]);
    }

    #[test]
    fn a_configured_day_31_is_remembered_through_a_short_first_month() {
        let form = Form::parse(b"billing_cycle_anchor_config[day_of_month]=31&billing_cycle_anchor_config[hour]=0");
        let anchor = anchor_config(&form, Unit::Month, at("2027-02-10T12:30:15Z")).unwrap();
        assert_eq!(anchor, Anchor { at: at("2027-02-28T00:30:15Z"), day: 31 });
        assert_eq!(chain(anchor, MONTHLY, "2027-02-28T00:30:15Z", 2), ["2027-03-31 00", "2027-04-30 00"]);
    }

    #[test]
    fn day_one_at_midnight_makes_calendar_months_from_the_very_moment_on() {
        let config = b"billing_cycle_anchor_config[day_of_month]=1&billing_cycle_anchor_config[hour]=0\
            &billing_cycle_anchor_config[minute]=0&billing_cycle_anchor_config[second]=0";
        let form = Form::parse(config);
        let on_the_first = at("2026-11-01T00:00:00Z");
        assert_eq!(anchor_config(&form, Unit::Month, on_the_first).unwrap().at, on_the_first);
        assert_eq!(anchor_config(&form, Unit::Month, on_the_first + 1).unwrap().at, at("2026-12-01T00:00:00Z"));
    }

    #[test]
    fn periods_tile_time_for_every_interval() {
        for (unit, count) in [(Unit::Day, 3), (Unit::Week, 1), (Unit::Month, 5), (Unit::Year, 1)] {
            let interval = Interval { unit, count };
            let anchor = Anchor::at(at("2028-02-29T10:00:00Z"));
            let mut boundary = anchor.at;
            for _ in 0..50 {
                let next = anchor.next_after(interval, boundary);
                assert_eq!(anchor.last_before(interval, next), boundary, "{unit:?}");
                assert_eq!(anchor.next_after(interval, next - 1), next, "{unit:?}");
                boundary = next;
            }
        }
    }
}
