//! The same as a page of HTML that needs nothing else: to be handed to a customer.

use std::path::Path;

use super::super::add::add;
use super::super::error::CliError;
use super::super::words::{gap_reason, moment, percent, quantity};
use super::words;
use crate::wire::{Bill, DayLine, ExplainReport};

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--soft:#666;--bar:#3465a4;--line:#ccc}\
@media(prefers-color-scheme:dark){:root{--ink:#eee;--paper:#161616;--soft:#aaa;--bar:#729fcf;--line:#444}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:46rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{padding:.2rem .6rem .2rem 0;text-align:left;border-bottom:1px solid var(--line)}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.soft{color:var(--soft)}.big{font-size:1.6rem}\
svg{width:100%;height:9rem}rect{fill:var(--bar)}.differs{border:2px solid #c00;padding:.5rem}";

/// Height of the chart; a day's bar is in proportion to the largest.
const HEIGHT: i64 = 100;

/// Writes it into a file.
pub(super) fn write(file: &Path, report: &ExplainReport) -> Result<(), CliError> {
    std::fs::write(file, page(report)).map_err(|source| CliError::File { path: file.to_owned(), source })
}

/// The page.
fn page(report: &ExplainReport) -> String {
    let mut body = String::new();
    for bill in &report.bills {
        body += &section(bill);
    }
    if report.bills.is_empty() {
        body += "<p>Nothing is billed in that period.</p>";
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>What is billed, and why</title><style>{STYLE}</style></head><body>\n\
         <h1>What is billed, and why</h1>\n<p class=\"soft\">As of {} UTC</p>\n{body}</body></html>\n",
        moment(&report.now)
    )
}

fn section(bill: &Bill) -> String {
    let (from, to) = (moment(&bill.period_from), moment(&bill.period_to));
    let mut text = format!("<section><h2>{}, {from} to {to} UTC</h2>\n", escaped(&bill.meter));
    let of = format!("{} on {}, item {}, plan {}", bill.customer, bill.subscription, bill.item, bill.plan);
    add(&mut text, format_args!("<p class=\"soft\">{}</p>\n", escaped(&of)));
    if let Some(stands) = bill.stands {
        add(&mut text, format_args!("<p class=\"big\">{stands} {} billed</p>\n", escaped(&bill.unit)));
    }
    if let Some(invoice) = &bill.invoice {
        add(&mut text, format_args!("<p>On the invoice {}</p>\n", escaped(invoice)));
    }
    text += &sum(bill);
    if let Some(other) = &bill.recomputed {
        let what = format!("Added up anew, the ledger's minutes come to {} above what is included.", other.overage);
        add(&mut text, format_args!("<p class=\"differs\">{what}</p>\n"));
    }
    text += &chart(bill);
    text += &days(bill);
    text += &gaps(bill);
    text += &pushes(bill);
    text + "</section>\n"
}

fn sum(bill: &Bill) -> String {
    let shown = |number: &serde_json::Number| quantity(&number.to_string(), &bill.unit);
    let mut rows = vec![(format!("{} used", bill.unit), shown(&bill.used))];
    if let (Some(included), "overage") = (&bill.included, bill.report.as_str()) {
        rows.push(("included".to_owned(), shown(included)));
    }
    rows.extend(bill.terms.iter().map(|term| (words(bill, &term.what), term.units.to_string())));
    rows.push(("what should stand".to_owned(), bill.target.to_string()));
    let mut text = "<table>\n".to_owned();
    for (what, number) in rows {
        add(&mut text, format_args!("<tr><td>{}</td><td class=\"n\">{number}</td></tr>\n", escaped(&what)));
    }
    text + "</table>\n"
}

/// Bars by day. What they show stands in the table below as well, for whoever cannot see them.
fn chart(bill: &Bill) -> String {
    let largest = bill.days.iter().map(|day| day.used_micros).max().unwrap_or(0).max(1);
    let height = |day: &DayLine| {
        let part = i128::from(day.used_micros.max(0)) * i128::from(HEIGHT);
        i64::try_from(part.div_euclid(i128::from(largest))).unwrap_or(HEIGHT)
    };
    let width = bill.days.len().saturating_mul(10).max(10);
    let mut text = format!("<svg viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    for (n, day) in bill.days.iter().enumerate() {
        let (x, h) = (n.saturating_mul(10).saturating_add(1), height(day));
        add(&mut text, format_args!("<rect x=\"{x}\" y=\"{}\" width=\"8\" height=\"{h}\"/>", HEIGHT - h));
    }
    text + "</svg>\n"
}

fn days(bill: &Bill) -> String {
    let mut text = format!(
        "<h3>By day</h3><table><tr><th>UTC</th><th class=\"n\">{}</th><th class=\"n\">watched</th></tr>\n",
        escaped(&bill.unit)
    );
    for day in &bill.days {
        let used = quantity(&day.used.to_string(), &bill.unit);
        let watched = percent(day.observed_bp);
        add(
            &mut text,
            format_args!("<tr><td>{}</td><td class=\"n\">{used}</td><td class=\"n\">{watched}</td></tr>\n", day.day),
        );
    }
    text + "</table>\n"
}

fn gaps(bill: &Bill) -> String {
    if bill.gaps.is_empty() {
        return String::new();
    }
    let mut text = "<h3>Not watched</h3><table>\n".to_owned();
    for gap in &bill.gaps {
        let (from, to, why) = (moment(&gap.from), moment(&gap.to), gap_reason(&gap.reason));
        add(&mut text, format_args!("<tr><td>{from} to {to}</td><td>{}</td></tr>\n", escaped(why)));
    }
    text + "</table>\n"
}

fn pushes(bill: &Bill) -> String {
    let accepted: Vec<_> = bill.pushes.iter().filter(|push| push.outcome == "accepted").collect();
    if accepted.is_empty() {
        return String::new();
    }
    let mut text = "<h3>Told to the provider</h3><table>\n".to_owned();
    for push in accepted {
        let request = escaped(push.request_id.as_deref().unwrap_or_default());
        add(
            &mut text,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td>{request}</td></tr>\n",
                moment(&push.at),
                push.quantity
            ),
        );
    }
    text + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, c| {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
        safe
    })
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
