/// How text is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether colours are wanted.
    pub(super) colour: bool,
    /// Characters in a line.
    pub(super) width: usize,
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

    /// The text broken at blanks so that it fits beside `indent` characters; all lines but the first are indented. A
    /// word longer than a line is left whole, so that it can be copied.
    pub(super) fn wrap(self, indent: usize, text: &str) -> String {
        let room = self.width.saturating_sub(indent).max(20);
        let mut lines = Vec::new();
        for part in text.lines() {
            let mut line = String::new();
            for word in part.split_whitespace() {
                if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
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
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_at_blanks_and_indented() {
        let look = Look { colour: false, width: 24 };
        assert_eq!(look.wrap(4, "one two three four five six"), "one two three four\n    five six");
        assert_eq!(look.wrap(4, "a\nb"), "a\n    b");
        let path = "/a/very/long/path/that/does/not/fit";
        assert_eq!(look.wrap(4, path), path);
    }

    #[test]
    fn without_colour_nothing_but_the_text_is_shown() {
        assert_eq!(Look { colour: false, width: 80 }.paint(Ink::Red, "x"), "x");
        assert_eq!(Look { colour: true, width: 80 }.paint(Ink::Red, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
