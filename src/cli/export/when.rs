use crate::model::Timestamp;
use crate::wire::is_month;

/// A time as people write one: RFC 3339, a day or a month in UTC by its first moment, or Unix seconds.
pub(in super::super) fn when(text: &str) -> Result<Timestamp, String> {
    let wanted = || "a time looks like 2026-11-14T10:00:00Z, 2026-11-14, 2026-11 or 1794650400".to_owned();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Less would be a year.
        let seconds = text.parse().ok().filter(|seconds| (100_000_000..100_000_000_000).contains(seconds));
        return seconds.map(Timestamp::from_secs).ok_or_else(wanted);
    }
    let whole = match text.len() {
        7 if is_month(text) => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    Timestamp::parse(&whole).map_err(|_| wanted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_any_of_four_ways() {
        for (text, meant) in [
            ("2026-10-05T12:00:00+02:00", "2026-10-05T10:00:00Z"),
            ("2026-10-05", "2026-10-05T00:00:00Z"),
            ("2026-10", "2026-10-01T00:00:00Z"),
            ("1791194400", "2026-10-05T10:00:00Z"),
        ] {
            assert_eq!(when(text).unwrap().to_string(), meant, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told_what_one_looks_like() {
        for bad in ["", "2026", "2026-13", "2026-10-32", "10:00", "tomorrow", "99999999999999999999"] {
            assert!(when(bad).is_err_and(|said| said.contains("2026-11-14")), "{bad:?} was taken");
        }
    }
}
