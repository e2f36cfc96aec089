//! A failing month with as little in it as still fails.

use crate::calendar::Month;
use crate::play;

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
                Err(still) => {
                    (least, why, has_shrunk) = (without, still, true);
                }
                Ok(()) => from += size,
            }
        }
        size = if size == 1 && !has_shrunk { 0 } else { (size / 2).max(1) };
    }
    (least, why)
}
