use super::add::add;

/// Which side of a column its cells lean on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lean {
    Left,
    Right,
}

/// Lines of cells in columns, two blanks between them, none at a line's end.
pub(super) fn table<const N: usize>(leans: [Lean; N], lines: &[[String; N]]) -> String {
    let widest =
        |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| widest(column).unwrap_or(0));
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for ((cell, width), lean) in line.iter().zip(widths).zip(leans) {
            match lean {
                Lean::Left => add(&mut shown, format_args!("{cell:<width$}  ")),
                Lean::Right => add(&mut shown, format_args!("{cell:>width$}  ")),
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
        let text = table([Lean::Left, Lean::Right], &[line("METER", "USED"), line("e", "12345"), line("üü", "")]);
        assert_eq!(text, "METER   USED\ne      12345\nüü\n");
    }
}
