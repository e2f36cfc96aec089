use super::add::add;

/// Text within HTML, between tags and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, c| {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
        safe
    })
}

/// A column of a table.
pub(crate) enum Column {
    /// Words.
    Text(&'static str),
    /// Numbers, to the right.
    Number(String),
}

/// A table that scrolls within itself where it is wider than the screen; whoever has no mouse reaches it by the keyboard.
/// The first cell of a row heads it.
pub(crate) fn table(caption: &str, columns: &[Column], rows: &[Vec<String>]) -> String {
    let caption = escaped(caption);
    let mut text = format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\"><table><caption>{caption}</caption><thead><tr>"
    );
    for column in columns {
        match column {
            Column::Text(name) => add(&mut text, format_args!("<th scope=\"col\">{name}</th>")),
            Column::Number(name) => {
                add(&mut text, format_args!("<th scope=\"col\" class=\"n\">{}</th>", escaped(name)));
            }
        }
    }
    text += "</tr></thead><tbody>\n";
    for row in rows {
        text += "<tr>";
        for (cell, (n, column)) in row.iter().zip(columns.iter().enumerate()) {
            let class = if matches!(column, Column::Number(_)) { " class=\"n\"" } else { "" };
            let (open, close) = if n == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            add(&mut text, format_args!("<{open}{class}>{}</{close}>", escaped(cell)));
        }
        text += "</tr>\n";
    }
    text + "</tbody></table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_markup() {
        assert_eq!(escaped("<a b='c' d=\"e\">&"), "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;");
        let table =
            table("<c>", &[Column::Text("A"), Column::Number("<n>".into())], &[vec!["<x>".into(), "<y>".into()]]);
        for tag in ["<c>", "<n>", "<x>", "<y>"] {
            assert!(!table.contains(tag), "{table}");
        }
    }
}
