//! Comma-separated values (RFC 4180, with plain line ends), a line for each meter and piece of time.

use super::rows::{rows, share};
use crate::cli::add::add;
use crate::wire::UsageReport;

pub(super) fn text(report: &UsageReport) -> String {
    let mut text = String::from("from,to,meter,unit,used,used_micros,coverage\n");
    for row in rows(report) {
        let (meter, unit) = (quoted(row.meter), quoted(row.unit));
        let coverage = share(row.observed_bp);
        add(
            &mut text,
            format_args!("{},{},{meter},{unit},{},{},{coverage}\n", row.from, row.to, row.used, row.used_micros),
        );
    }
    text
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_with_a_comma_or_a_quote_stays_one_cell() {
        assert_eq!(quoted("credits"), "credits");
        assert_eq!(quoted("1,000 \"units\""), "\"1,000 \"\"units\"\"\"");
    }
}
