//! The same as a page of HTML that needs nothing else: to be handed to a customer.

use std::path::Path;

use super::super::error::CliError;
use crate::shown::words::moment;
use crate::shown::{STYLE, bill};
use crate::wire::ExplainReport;

/// Writes it into a file.
pub(super) fn write(file: &Path, report: &ExplainReport) -> Result<(), CliError> {
    std::fs::write(file, page(report)).map_err(|source| CliError::File { path: file.to_owned(), source })
}

/// The page.
fn page(report: &ExplainReport) -> String {
    let mut body: String = report.bills.iter().map(bill::section).collect();
    if report.bills.is_empty() {
        body += "<p>Nothing is billed in that period.</p>";
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>What is billed, and why</title><style>{STYLE}</style></head><body><main>\n\
         <h1>What is billed, and why</h1>\n<p class=\"soft\">As of {} UTC</p>\n{body}</main></body></html>\n",
        moment(&report.now)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_named_is_text_and_no_markup() {
        let mut report = crate::api::fake::answers::explained();
        report.bills[0].unit = "<script>alert(1)</script> & \"x\"".to_owned();
        let page = page(&report);
        assert!(
            !page.contains("<script>") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;")
        );
        assert!(!page.contains("http://") && !page.contains("https://"), "it needs nothing from outside");
    }
}
