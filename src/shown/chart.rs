//! A chart of bars, as inline SVG: no script, no outside asset.

use super::add::add;
use super::html::escaped;
use crate::model::{MICROS_PER_DAY, Timestamp};

/// Height of the chart in its own units; a bar is in proportion to the largest.
const HEIGHT: i64 = 100;
/// Of a bar, with the space beside it.
const STEP: usize = 10;

/// One bar: how large, and what it stands for.
pub(crate) struct Bar {
    pub(crate) size: i64,
    pub(crate) says: String,
}

/// Bars between the first and the last label, with the largest above; so many places at least, of which the last ones are still
/// to come. What they show has to stand in words as well, for whoever cannot see them.
pub(crate) fn chart(label: &str, bars: &[Bar], places: usize, largest: &str, ends: [&str; 2]) -> String {
    let most = bars.iter().map(|bar| bar.size).max().unwrap_or(0).max(1);
    let width = bars.len().max(places).max(1).saturating_mul(STEP);
    let mut text = format!(
        "<figure><figcaption>{} <span class=\"soft\">at most {}</span></figcaption>\
         <svg viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
        escaped(label),
        escaped(largest)
    );
    for (n, bar) in bars.iter().enumerate() {
        let (x, height) = (n.saturating_mul(STEP).saturating_add(1), height(bar.size, most));
        let (top, says) = (HEIGHT - height, escaped(&bar.says));
        add(
            &mut text,
            format_args!("<rect x=\"{x}\" y=\"{top}\" width=\"8\" height=\"{height}\"><title>{says}</title></rect>"),
        );
    }
    let [first, last] = ends.map(escaped);
    text + &format!(
        "</svg><p class=\"ends soft\" aria-hidden=\"true\"><span>{first}</span><span>{last}</span></p></figure>\n"
    )
}

/// How many UTC days a period touches, and the last of them.
pub(crate) fn days_of(from: &str, to: &str) -> (usize, String) {
    let (Ok(from), Ok(to)) = (Timestamp::parse(from), Timestamp::parse(to)) else { return (0, String::new()) };
    let day = |at: Timestamp| at.micros().div_euclid(MICROS_PER_DAY);
    let last = to.minus(1);
    let days = day(last).saturating_sub(day(from)).saturating_add(1);
    (usize::try_from(days).unwrap_or(0), last.to_string().chars().take(10).collect())
}

/// What is more than nothing is seen.
fn height(size: i64, most: i64) -> i64 {
    let part = (i128::from(size.max(0)) * i128::from(HEIGHT)).div_euclid(i128::from(most));
    i64::try_from(part).unwrap_or(HEIGHT).max(i64::from(size > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_as_many_places_as_days() {
        assert_eq!(days_of("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"), (30, "2026-11-30".to_owned()));
        assert_eq!(days_of("2026-11-10T13:00:00Z", "2026-12-10T13:00:00Z"), (31, "2026-12-10".to_owned()));
        assert_eq!(days_of("2026-11-30T21:00:00Z", "2026-12-01T00:00:00Z"), (1, "2026-11-30".to_owned()));
        assert_eq!(days_of("soon", "later"), (0, String::new()));
    }

    #[test]
    fn bars_are_in_proportion_and_none_that_is_something_vanishes() {
        assert_eq!([0, -5, 1, 500, 1_000].map(|size| height(size, 1_000)), [0, 0, 1, 50, 100]);
        assert_eq!(height(i64::MAX, i64::MAX), 100);
        let bar = |size| Bar { size, says: "<b>".to_owned() };
        let text = chart("By day", &[bar(1), bar(2)], 3, "2", ["a", "b"]);
        assert!(text.contains("viewBox=\"0 0 30 100\"") && text.matches("<rect").count() == 2, "{text}");
        assert!(!text.contains("<b>") && chart("", &[], 0, "", ["", ""]).contains("viewBox=\"0 0 10 100\""));
    }
}
