//! Numbers and times as people read them. Integers and text only: what is shown is what was said, never rounded up.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::model::{MICROS_PER_SECOND, Timestamp, Unit, decimal_places};

/// `2026-11-05T12:00:00.5Z` as `2026-11-05 12:00:00`; all times are UTC.
pub(crate) fn moment(text: &str) -> String {
    match Timestamp::parse(text) {
        Ok(time) => Timestamp::from_secs(time.secs()).to_string().replace('T', " ").replace('Z', ""),
        Err(_) => text.to_owned(),
    }
}

/// A moment and how far it is from now: `2026-11-05 12:00:00 (5 min ago)`.
pub(crate) fn moment_from(now: &str, text: &str) -> String {
    let (Ok(now), Ok(then)) = (Timestamp::parse(now), Timestamp::parse(text)) else { return moment(text) };
    let seconds = then.since(now).div_euclid(MICROS_PER_SECOND);
    let distance =
        if seconds < 0 { format!("{} ago", duration(-seconds)) } else { format!("in {}", duration(seconds)) };
    format!("{} ({distance})", moment(text))
}

/// Seconds between two moments.
pub(crate) fn seconds_between(from: &str, to: &str) -> Option<i64> {
    let (from, to) = (Timestamp::parse(from).ok()?, Timestamp::parse(to).ok()?);
    Some(to.since(from).div_euclid(MICROS_PER_SECOND))
}

/// The two largest units that count: `45 s`, `12 min`, `3 h 5 min`, `16 d 14 h`.
pub(crate) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400).div_euclid(3_600));
    let (minutes, rest) = (seconds.rem_euclid(3_600).div_euclid(60), seconds.rem_euclid(60));
    let two = |large: i64, unit: &str, small: i64, smaller: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => two(minutes, "min", rest, "s"),
        (0, _, _) => two(hours, "h", minutes, "min"),
        _ => two(days, "d", hours, "h"),
    }
}

/// `1474560` as `1.4 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, unit) in units {
        if bytes >= size {
            let tenths = bytes.rem_euclid(size).saturating_mul(10).div_euclid(size);
            return format!("{}.{tenths} {unit}", bytes.div_euclid(size));
        }
    }
    format!("{bytes} B")
}

/// Parts in ten thousand as `99.98 %`.
pub(crate) fn percent(parts: u32) -> String {
    format!("{}.{:02} %", parts.div_euclid(100), parts.rem_euclid(100))
}

/// A quantity with at most two places where the unit is time; the rest is cut, so that nothing shows more than there is.
pub(crate) fn quantity(number: &str, unit: &str) -> String {
    if Unit::of(unit).is_time() { cut(number) } else { plain(number) }
}

/// What is only an estimate, in any unit, with at most two places.
pub(crate) fn estimate(number: &serde_json::Number) -> String {
    cut(&number.to_string())
}

fn cut(number: &str) -> String {
    let number = plain(number);
    let Some((whole, places)) = number.split_once('.') else { return number };
    let places: String = places.chars().take(2).collect();
    let places = places.trim_end_matches('0');
    if places.is_empty() { whole.to_owned() } else { format!("{whole}.{places}") }
}

/// JSON writes what is very small with an exponent, and what is whole with a place.
fn plain(number: &str) -> String {
    let number = Decimal::from_scientific(number).map_or_else(|_| number.to_owned(), |plain| plain.to_string());
    number.strip_suffix(".0").map_or(number.clone(), str::to_owned)
}

/// A quantity in millionths of its unit, to be compared with another.
pub(crate) fn scaled(number: &serde_json::Number) -> i128 {
    let text = number.to_string();
    let number = Decimal::from_scientific(&text).or_else(|_| text.parse()).unwrap_or_default();
    number.checked_mul(Decimal::from(1_000_000)).and_then(|scaled| scaled.to_i128()).unwrap_or(i128::MAX)
}

/// `16.8` as `16.80 EUR`; nothing of it is rounded.
pub(crate) fn money(amount: &str, currency: &str) -> String {
    let (places, currency) = (decimal_places(currency), currency.to_uppercase());
    let Ok(mut exact) = amount.parse::<Decimal>().map(|amount| amount.normalize()) else {
        return format!("{amount} {currency}");
    };
    if exact.scale() < places {
        exact.rescale(places);
    }
    format!("{exact} {currency}")
}

/// Why a stretch was not watched, in words.
pub(crate) fn gap_reason(word: &str) -> &str {
    match word {
        "vm_off" => "the VM was off",
        "suspended" => "suspended, not billed",
        "agent_stopped_bridged" => "usaged stopped, bridged",
        "agent_stopped_lost" => "usaged stopped, lost",
        "clock_untrusted" => "no trusted clock",
        "database_unavailable" => "usage.db unavailable",
        other => other,
    }
}

/// A term of a sum of billed units. How it was rounded is said where it was.
pub(crate) fn term(what: &str, rounding: &str) -> String {
    match (what.strip_suffix(", in whole units"), rounding) {
        (Some(what), "up") => format!("{what}, rounded up to whole units"),
        (Some(what), "half_up") => format!("{what}, rounded to whole units"),
        (Some(what), _) => format!("{what}, rounded down to whole units"),
        (None, _) => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_their_distance() {
        assert_eq!(moment("2026-11-05T12:00:00.5Z"), "2026-11-05 12:00:00");
        assert_eq!(moment("soon"), "soon");
        let now = "2026-11-05T12:00:00Z";
        assert_eq!(moment_from(now, "2026-11-05T11:55:00Z"), "2026-11-05 11:55:00 (5 min ago)");
        assert_eq!(moment_from(now, "2026-11-07T13:00:00Z"), "2026-11-07 13:00:00 (in 2 d 1 h)");
    }

    #[test]
    fn durations_name_the_two_largest_units() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h"), (11_100, "3 h 5 min"), (90_061, "1 d 1 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn quantities_are_cut_and_never_rounded_up() {
        for (number, unit, text) in [
            ("321.999999", "hours", "321.99"),
            ("300.0", "hours", "300"),
            ("300.001", "hours", "300"),
            ("12000.000001", "credits", "12000.000001"),
            ("5.0", "credits", "5"),
            ("4e-6", "hours", "0"),
            ("4e-6", "credits", "0.000004"),
            ("12000000", "credits", "12000000"),
        ] {
            assert_eq!(quantity(number, unit), text);
        }
        assert_eq!(estimate(&"2590313.78205".parse().unwrap()), "2590313.78", "an estimate is not that exact");
    }

    #[test]
    fn money_has_its_cents_and_is_not_rounded() {
        for (amount, currency, text) in [
            ("16.8", "eur", "16.80 EUR"),
            ("168", "usd", "168.00 USD"),
            ("0.0125", "eur", "0.0125 EUR"),
            ("500", "jpy", "500 JPY"),
            ("soon", "eur", "soon EUR"),
        ] {
            assert_eq!(money(amount, currency), text);
        }
        assert_eq!(scaled(&"4e-6".parse().unwrap()), 4);
        assert_eq!(scaled(&"12000.5".parse().unwrap()), 12_000_500_000);
    }

    #[test]
    fn sizes_and_shares_are_cut_too() {
        assert_eq!(
            (bytes(1_023), bytes(1_474_560), bytes(5 << 30)),
            ("1023 B".into(), "1.4 MiB".into(), "5.0 GiB".into())
        );
        assert_eq!(
            (percent(10_000), percent(9_998), percent(7)),
            ("100.00 %".into(), "99.98 %".into(), "0.07 %".into())
        );
    }
}
