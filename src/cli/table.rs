use super::look::columns;

/// Which side of a column its cells lean on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lean {
    Left,
    Right,
}

/// Lines of cells in columns, two blanks between them, none at a line's end.
pub(super) fn table<L: AsRef<[String]>>(leans: impl AsRef<[Lean]>, lines: &[L]) -> String {
    let leans = leans.as_ref();
    let widest =
        |column: usize| lines.iter().filter_map(|line| line.as_ref().get(column)).map(|cell| columns(cell)).max();
    let widths: Vec<usize> = (0..leans.len()).map(|column| widest(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for ((cell, width), lean) in line.as_ref().iter().zip(&widths).zip(leans) {
            // A colour takes no room, which the formatter does not know.
            let blanks = " ".repeat(width.saturating_sub(columns(cell)));
            match lean {
                Lean::Left => shown.extend([cell, &*blanks, "  "]),
                Lean::Right => shown.extend([&*blanks, cell, "  "]),
            }
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let line = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let lines = [line("METER", "USED"), line("\u{1b}[1me\u{1b}[0m", "12345"), line("üü", "")];
        let text = table([Lean::Left, Lean::Right], &lines);
        assert_eq!(text, "METER   USED\n\u{1b}[1me\u{1b}[0m      12345\nüü\n");
    }
}
