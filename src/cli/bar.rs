//! Shares as bars, in eighths of a character where those can be shown.

use super::look::Look;

/// The filled part of a bar that is so many characters long; what is more than the whole fills it.
pub(super) fn filled(look: Look, part: i128, whole: i128, length: usize) -> String {
    let eighths = i128::try_from(length).unwrap_or(0).saturating_mul(8);
    let filled = part.max(0).checked_mul(eighths).and_then(|all| all.checked_div(whole)).unwrap_or(0).min(eighths);
    let cells = usize::try_from(filled.div_euclid(8)).unwrap_or(0);
    if !look.unicode {
        return "#".repeat(cells);
    }
    let rest = match filled.rem_euclid(8) {
        1 => "▏",
        2 => "▎",
        3 => "▍",
        4 => "▌",
        5 => "▋",
        6 => "▊",
        7 => "▉",
        _ => "",
    };
    "█".repeat(cells) + rest
}

/// The same, with the rest of its length.
pub(super) fn gauge(look: Look, part: i128, whole: i128, length: usize) -> String {
    let filled = filled(look, part, whole, length);
    let rest = length.saturating_sub(filled.chars().count());
    filled + &if look.unicode { "░" } else { "-" }.repeat(rest)
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::plain;
    use super::*;

    #[test]
    fn a_bar_is_cut_and_never_rounded_up() {
        assert_eq!(gauge(plain(80), 50, 100, 8), "████░░░░");
        assert_eq!(gauge(plain(80), 99, 100, 2), "█▉");
        assert_eq!(gauge(plain(80), 1, 1_000, 4), "░░░░");
        assert_eq!(filled(plain(80), 3, 16, 2), "▍");
        let ascii = Look { unicode: false, ..plain(80) };
        assert_eq!((gauge(ascii, 50, 100, 8), gauge(ascii, 99, 100, 2)), ("####----".to_owned(), "#-".to_owned()));
    }

    #[test]
    fn what_is_more_than_the_whole_fills_it_and_nothing_of_nothing_is_empty() {
        assert_eq!(gauge(plain(80), 900, 100, 3), "███");
        assert_eq!(gauge(plain(80), -5, 100, 3), "░░░");
        assert_eq!(gauge(plain(80), 5, 0, 3), "░░░");
        assert_eq!(gauge(plain(80), i128::MAX, 1, 3), "░░░", "what cannot be reckoned is not shown");
    }
}
