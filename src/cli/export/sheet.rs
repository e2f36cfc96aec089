use serde_json::Value;

use super::ExportFormat;
use crate::wire::{ExportRow, ExportWhat};

/// The first line of a table.
pub(super) fn heading(what: ExportWhat) -> String {
    format!("{}\r\n", what.columns().join(","))
}

/// A row as a line.
pub(super) fn line(what: ExportWhat, format: ExportFormat, row: &ExportRow) -> String {
    let row = serde_json::to_value(row).unwrap_or_default();
    match format {
        ExportFormat::Jsonl => format!("{row}\n"),
        ExportFormat::Csv => {
            let cells: Vec<_> = what.columns().iter().map(|name| row.get(name).map(cell).unwrap_or_default()).collect();
            format!("{}\r\n", cells.join(","))
        }
    }
}

/// As RFC 4180 has it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains(|c| ",\"\r\n".contains(c)) => format!("\"{}\"", text.replace('"', "\"\"")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake::answers;

    #[test]
    fn every_field_of_a_row_has_its_column() {
        for what in ExportWhat::ALL {
            let row = serde_json::to_value(&answers::export(what, None).rows[0]).unwrap();
            let mut fields: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
            let mut columns = what.columns().to_vec();
            fields.sort_unstable();
            columns.sort_unstable();
            assert_eq!(columns, fields);
        }
    }

    #[test]
    fn what_would_break_a_table_is_quoted() {
        assert_eq!(cell(&"plain".into()), "plain");
        assert_eq!(cell(&"a,b".into()), "\"a,b\"");
        assert_eq!(cell(&"say \"so\"\nagain".into()), "\"say \"\"so\"\"\nagain\"");
        assert_eq!((cell(&Value::Null), cell(&7.into())), (String::new(), "7".to_owned()));
    }
}
