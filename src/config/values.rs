//! From a TOML value to what it means. Each reader says what it expected; none knows where the value stood.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use rust_decimal::Decimal;
use toml::de::DeValue;

use crate::model::nearest;
use crate::model::{Micros, QuantityError};

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

/// A value, or why not.
pub(super) type Read<T> = Result<T, Refused>;

pub(super) fn refuse<T>(what: impl Into<String>, hint: impl Into<String>) -> Read<T> {
    Err(Refused { what: what.into(), hint: Some(hint.into()) })
}

/// The value as a person wrote it, cut short.
fn shown(value: &DeValue<'_>) -> String {
    let text = match value {
        DeValue::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    text.chars().take(64).collect()
}

fn expected<T>(value: &DeValue<'_>, what: &str, example: &str) -> Read<T> {
    refuse(format!("is {}; expected {what}", shown(value)), format!("write it as {example}"))
}

/// Any text but the empty one.
pub(super) fn text(value: &DeValue<'_>) -> Read<String> {
    match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => expected(value, "text that is not empty", "\"…\", in quotes"),
    }
}

/// One of a few words.
pub(super) fn choice<T: Clone, const N: usize>(words: [(&'static str, T); N]) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let found = value.as_str().and_then(|given| words.iter().find(|(word, _)| *word == given));
        if let Some((_, meaning)) = found {
            return Ok(meaning.clone());
        }
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let near = value.as_str().and_then(|given| nearest(given, words.iter().map(|(word, _)| *word)));
        let hint = near.map(|word| format!("did you mean \"{word}\"?"));
        Err(Refused { what: format!("is {}; expected one of {list}", shown(value)), hint })
    }
}

/// A whole number within bounds.
pub(super) fn whole(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<u32> {
    move |value| {
        let number = value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        match number.and_then(|n| u32::try_from(n).ok()) {
            Some(number) if range.contains(&number) => Ok(number),
            _ => {
                let what = format!("a whole number from {} to {}", range.start(), range.end());
                expected(value, &what, &format!("{}, without quotes", range.start()))
            }
        }
    }
}

/// Several of a kind.
pub(super) fn list<T>(read: impl Fn(&DeValue<'_>) -> Read<T>) -> impl Fn(&DeValue<'_>) -> Read<Vec<T>> {
    move |value| match value.as_array() {
        Some(values) => values.iter().map(|value| read(value.get_ref())).collect(),
        None => expected(value, "an array", "[…, …], in brackets"),
    }
}

/// As `60s`, `15m`, `1h` or `2d`, within bounds.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    move |value| match value.as_str().and_then(parse_duration) {
        Some(duration) if range.contains(&duration) => Ok(duration),
        _ => {
            let what = format!("a time from {} to {}", show_duration(*range.start()), show_duration(*range.end()));
            expected(value, &what, "a whole number with s, m, h or d, in quotes, as \"90s\" or \"15m\"")
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds.div_euclid(length));
        }
    }
    format!("{seconds}s")
}

/// A cron expression with seconds, in the dialect of the scheduler.
pub(super) fn cron(value: &DeValue<'_>) -> Read<String> {
    let example = "\"second minute hour day month weekday\" in UTC, as \"0 0 * * * *\" for every full hour";
    let Some(text) = value.as_str() else {
        return expected(value, "a cron expression with seconds", example);
    };
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).dom_and_dow(true).build();
    // From any moment on: without years, an expression that fires once fires for ever.
    let fires = |cron: &Cron| cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false).is_ok();
    match parser.parse(text) {
        Ok(cron) if fires(&cron) => Ok(text.to_owned()),
        Ok(_) => refuse(format!("is {}, which never comes", shown(value)), "name a day that exists in its month"),
        Err(why) => refuse(
            format!("is {}, not a cron expression with seconds: {why}", shown(value)),
            format!("write it as {example}"),
        ),
    }
}

/// An address of this machine.
pub(super) fn address(value: &DeValue<'_>) -> Read<SocketAddr> {
    match value.as_str().and_then(|text| text.parse::<SocketAddr>().ok()) {
        Some(address) => Ok(address),
        None => expected(value, "an IP address with a port", "\"127.0.0.1:9478\" or \"[::1]:9478\""),
    }
}

/// An address of this machine that no other can reach.
pub(super) fn loopback(value: &DeValue<'_>) -> Read<SocketAddr> {
    let Some(address) = value.as_str().and_then(|text| text.parse::<SocketAddr>().ok()) else {
        return expected(value, "an IP address with a port", "\"127.0.0.1:9477\" or \"[::1]:9477\"");
    };
    if address.ip().is_loopback() {
        return Ok(address);
    }
    refuse(
        format!("is {}, which other machines may reach, and whoever reaches it may read", shown(value)),
        "write a loopback address, as \"127.0.0.1:9477\", and let an agent on this machine carry the figures on",
    )
}

/// A quantity above zero, in the unit of its meter: a whole number, or a decimal in quotes.
pub(super) fn quantity(value: &DeValue<'_>) -> Read<Micros> {
    let parsed = match value {
        DeValue::Float(_) => return refuse_float(value),
        DeValue::String(text) => Micros::parse(text),
        DeValue::Integer(number) if number.radix() == 10 => Micros::parse(number.as_str()),
        _ => Err(QuantityError::NotADecimal(String::new())),
    };
    match parsed {
        Ok(quantity) if quantity > Micros::ZERO => Ok(quantity),
        Ok(_) | Err(QuantityError::NotADecimal(_)) => {
            expected(value, "a quantity above zero", "a whole number, or a decimal in quotes, as \"0.5\"")
        }
        Err(why) => refuse(why.to_string(), "quantities have at most six decimal places and fit in 9 000 000 000 000"),
    }
}

/// An amount of money that is not negative: a whole number, or a decimal in quotes.
pub(super) fn money(value: &DeValue<'_>) -> Read<Decimal> {
    let digits = match value {
        DeValue::Float(_) => return refuse_float(value),
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        _ => "",
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match Decimal::from_str_exact(digits) {
        Ok(amount) if plain => Ok(amount),
        _ => expected(value, "an amount of money", "a decimal in quotes, as \"0.04\""),
    }
}

fn refuse_float<T>(value: &DeValue<'_>) -> Read<T> {
    let number = shown(value);
    refuse(
        format!("is {number}, a floating-point number, and those are not exact"),
        format!("put it in quotes: \"{number}\""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(toml: &str) -> DeValue<'_> {
        DeValue::parse(toml).unwrap().into_inner()
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, seconds) in [("60s", 60), ("15m", 900), ("1h", 3_600), ("2d", 172_800), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "s", "60", "1.5h", "-1s", "+1s", "1 h", "1H", "99999999999999999999s", "9999999999999999999d", "1µ"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_outside_their_bounds_are_refused_naming_the_bounds() {
        let read = duration(Duration::from_secs(1)..=Duration::from_hours(6));
        assert_eq!(read(&value("\"6h\"")), Ok(Duration::from_hours(6)));
        for bad in ["\"0s\"", "\"7h\"", "60", "true"] {
            let refused = read(&value(bad)).unwrap_err();
            assert!(refused.what.contains("a time from 1s to 6h"), "{refused:?}");
        }
    }

    #[test]
    fn whole_numbers_keep_their_bounds() {
        let read = whole(35..=400);
        assert_eq!(read(&value("35")), Ok(35));
        assert_eq!(read(&value("1_0_0")), Ok(100));
        for bad in ["34", "401", "-35", "\"35\"", "35.0", "99999999999999999999"] {
            assert!(read(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn money_is_exact_and_floats_are_told_to_be_quoted() {
        assert_eq!(money(&value("\"0.04\"")), Ok(Decimal::new(4, 2)));
        assert_eq!(money(&value("1990")), Ok(Decimal::from(1990)));
        assert_eq!(money(&value("0.04")).unwrap_err().hint.as_deref(), Some("put it in quotes: \"0.04\""));
        for bad in ["\"-1\"", "-1", "\"1e3\"", "\"\"", "\"1,50\"", "\" 1\"", "\".\"", "true", "0x10", "\"€1\""] {
            assert!(money(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_are_exact_and_above_zero() {
        assert_eq!(quantity(&value("\"0.5\"")), Ok(Micros::new(500_000)));
        assert_eq!(quantity(&value("1_000")), Ok(Micros::new(1_000_000_000)));
        assert!(quantity(&value("0.5")).unwrap_err().what.contains("not exact"));
        for bad in ["0", "-1", "\"0\"", "\"0.0000001\"", "\"many\"", "true", "9223372036855"] {
            assert!(quantity(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn cron_expressions_need_their_seconds() {
        assert_eq!(cron(&value("\"0 30 3 * * *\"")), Ok("0 30 3 * * *".to_owned()));
        for bad in ["\"30 3 * * *\"", "\"0 0 25 * * *\"", "\"\"", "\"hourly\"", "\"0 0 0 1 1 * 2020\"", "5"] {
            assert!(cron(&value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schedule_that_never_comes_is_refused() {
        assert_eq!(cron(&value("\"0 0 0 29 2 *\"")), Ok("0 0 0 29 2 *".to_owned()));
        for never in ["\"0 0 0 30 2 *\"", "\"0 0 0 30 2 1\""] {
            assert!(cron(&value(never)).unwrap_err().what.contains("never comes"), "{never}");
        }
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones_and_the_nearest() {
        let read = choice([("auto", 1), ("trusted", 2)]);
        assert_eq!(read(&value("\"trusted\"")), Ok(2));
        let refused = read(&value("\"trustd\"")).unwrap_err();
        assert_eq!(refused.what, "is \"trustd\"; expected one of \"auto\", \"trusted\"");
        assert_eq!(refused.hint.as_deref(), Some("did you mean \"trusted\"?"));
        assert!(read(&value("7")).is_err());
    }
}
