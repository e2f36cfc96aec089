//! A failing month with as little in it as still fails.

use crate::calendar::Month;
use crate::play;

/// What kind of failure it is, without its figures: another one is not what is looked for.
fn kind(why: &str) -> String {
    let figures = |c: char| c.is_ascii_digit() || c == '-';
    why.split(['{', '[']).next().unwrap_or_default().replace(figures, "")
}

/// Takes out whatever it fails without; says what is wrong with what is left.
pub(crate) fn shrunk(month: Month, why: String) -> (Month, String) {
    let (mut least, mut why) = (month, why);
    let mut size = least.happenings.len().div_ceil(2);
    while size > 0 {
        let (mut from, mut has_shrunk) = (0, false);
        while from < least.happenings.len() {
            let mut without = least.clone();
            without.happenings.drain(from..(from + size).min(least.happenings.len()));
            match play(&without) {
                Err(still) if kind(&still) == kind(&why) => {
                    (least, why, has_shrunk) = (without, still, true);
                }
                _ => from += size,
            }
        }
        size = if size == 1 && !has_shrunk { 0 } else { size.div_euclid(2).max(1) };
    }
    (least, why)
}
