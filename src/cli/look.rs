use std::borrow::Cow;
use std::ffi::OsString;

use crate::model::Timestamp;

/// How text is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether colours are wanted.
    pub(super) colour: bool,
    /// Whether more than ASCII can be shown.
    pub(super) unicode: bool,
    /// Characters in a line.
    pub(super) width: usize,
    /// A moment in this machine's own zone; `None` where that is UTC.
    pub(super) local: fn(Timestamp) -> Option<String>,
}

/// Whether the locale, as the environment sets it, has more than ASCII.
#[must_use]
pub fn has_unicode(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    let name = set.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.contains("utf-8") || name.contains("utf8")
}

/// How many columns a text takes in a line.
pub(super) fn columns(text: &str) -> usize {
    let mut escaped = false;
    let shown = text.chars().filter(|c| {
        let was_escaped = escaped;
        escaped = (escaped || *c == '\u{1b}') && *c != 'm';
        !escaped && !was_escaped
    });
    shown.count()
}

/// What a colour means here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ink {
    /// Needs someone.
    Red,
    /// Worth a look.
    Yellow,
    /// As it should be.
    Green,
    /// A heading.
    Bold,
}

impl Look {
    /// The text in a colour, where colours are wanted.
    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Red => "1;31",
            Ink::Yellow => "33",
            Ink::Green => "32",
            Ink::Bold => "1",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A moment in this machine's own zone, where that is not UTC.
    pub(super) fn here(self, text: &str) -> Option<String> {
        (self.local)(Timestamp::parse(text).ok()?)
    }

    /// Whether no line of a text is too long.
    pub(super) fn holds(self, text: &str) -> bool {
        text.lines().all(|line| columns(line) <= self.width)
    }

    /// The text as the terminal can show it.
    pub(super) fn plain(self, text: &str) -> Cow<'_, str> {
        if self.unicode || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let mut plain = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '…' => plain.push_str("..."),
                '–' | '—' => plain.push('-'),
                '‘' | '’' => plain.push('\''),
                'µ' => plain.push('u'),
                c if c.is_ascii() => plain.push(c),
                _ => plain.push('?'),
            }
        }
        Cow::Owned(plain)
    }

    /// The text broken at blanks so that it fits beside `indent` characters; all lines but the first are indented. A
    /// word longer than a line is left whole, so that it can be copied.
    pub(super) fn wrap(self, indent: usize, text: &str) -> String {
        let room = self.width.saturating_sub(indent).max(20);
        let mut lines = Vec::new();
        for part in text.lines() {
            let mut line = String::new();
            for word in part.split_whitespace() {
                if !line.is_empty() && columns(&line) + 1 + columns(word) > room {
                    lines.push(std::mem::take(&mut line));
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            lines.push(line);
        }
        lines.join(&format!("\n{}", " ".repeat(indent)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Without colours, in a zone of its own name.
    pub(in crate::cli) fn plain(width: usize) -> Look {
        Look { colour: false, unicode: true, width, local: |_| None }
    }

    #[test]
    fn long_text_is_broken_at_blanks_and_indented() {
        let look = plain(24);
        assert_eq!(look.wrap(4, "one two three four five six"), "one two three four\n    five six");
        assert_eq!(look.wrap(4, "a\nb"), "a\n    b");
        let path = "/a/very/long/path/that/does/not/fit";
        assert_eq!(look.wrap(4, path), path);
    }

    #[test]
    fn without_colour_nothing_but_the_text_is_shown() {
        assert_eq!(plain(80).paint(Ink::Red, "x"), "x");
        assert_eq!(Look { colour: true, ..plain(80) }.paint(Ink::Red, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }

    #[test]
    fn a_colour_takes_no_room() {
        assert_eq!(columns("a\u{1b}[1;31mbc\u{1b}[0m…"), 4);
        assert!(plain(4).holds("\u{1b}[1mabcd\u{1b}[0m\n") && !plain(3).holds("ab\nabcd"));
    }

    #[test]
    fn the_first_variable_that_is_set_names_the_locale() {
        let with = |set: &'static [(&str, &str)]| {
            has_unicode(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()))
        };
        assert!(with(&[("LANG", "de_DE.UTF-8")]) && with(&[("LC_ALL", "C.utf8"), ("LANG", "C")]));
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "en_US.UTF-8")]));
        assert!(!with(&[]) && !with(&[("LANG", "C")]) && !with(&[("LC_ALL", "POSIX"), ("LANG", "de_DE.UTF-8")]));
    }

    #[test]
    fn without_unicode_nothing_but_ascii_is_shown() {
        let ascii = Look { unicode: false, ..plain(80) };
        assert_eq!(ascii.plain("cus_… – Müller"), "cus_... - M?ller");
        assert_eq!(plain(80).plain("cus_…"), "cus_…");
    }
}
