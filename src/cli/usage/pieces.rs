//! Hours, days or months as a table, with what they come to together.

use crate::cli::add::add;
use crate::cli::look::Look;
use crate::cli::status::meters::titled;
use crate::cli::table::Lean;
use crate::cli::words::{estimate, moment, percent, quantity};
use crate::wire::{By, MeterUsage, UsageReport, UsageSlice};

use super::is_period;

/// All meters side by side, where there is room for that, else one after another.
pub(super) fn screen(report: &UsageReport, look: Look) -> String {
    if report.slices.is_empty() {
        return "Nothing is known of that time.\n".to_owned();
    }
    let all: Vec<_> = report.meters.iter().collect();
    let mut text = of(report, &all, look);
    if !look.holds(&text) {
        text = all.iter().map(|meter| of(report, &[meter], look)).collect::<Vec<_>>().join("\n");
    }
    if !report.gaps.is_empty() {
        let gaps = format!("Not watched: {}; without --by each is shown", counted(report.gaps.len()));
        add(&mut text, format_args!("\n{}\n", look.wrap(13, &gaps)));
    }
    text
}

fn of(report: &UsageReport, meters: &[&MeterUsage], look: Look) -> String {
    let by = report.by.unwrap_or(By::Day);
    let mut lines = vec![row(by.word().to_uppercase(), meters, |meter| meter.name.clone(), "COVERAGE".to_owned())];
    lines.push(row(String::new(), meters, |meter| meter.unit.clone(), String::new()));
    for slice in &report.slices {
        lines.push(row(label(slice, by), meters, |meter| used(slice, meter), percent(slice.observed_bp)));
    }
    let total = |meter: &MeterUsage| quantity(&meter.used.to_string(), &meter.unit);
    lines.push(row("total".to_owned(), meters, total, percent(report.observed_bp)));
    if let Some(last) = report.slices.last() {
        lines.extend(at_end(report, meters, last, by));
    }
    let leans: Vec<_> =
        (0..meters.len() + 2).map(|column| if column == 0 { Lean::Left } else { Lean::Right }).collect();
    titled(look, &leans, &lines)
}

fn row(first: String, meters: &[&MeterUsage], of: impl Fn(&MeterUsage) -> String, last: String) -> Vec<String> {
    std::iter::once(first).chain(meters.iter().map(|meter| of(meter))).chain([last]).collect()
}

/// Where the period goes; of a range, the piece that goes on now.
fn at_end(report: &UsageReport, meters: &[&MeterUsage], last: &UsageSlice, by: By) -> Option<Vec<String>> {
    let of_last = |meter: &MeterUsage| last.meters.iter().find(|one| one.name == meter.name)?.estimate.clone();
    let of = |meter: &MeterUsage| if is_period(report) { meter.estimate.clone() } else { of_last(meter) };
    meters.iter().any(|meter| of(meter).is_some()).then(|| {
        let what = if is_period(report) { "at period end".to_owned() } else { format!("{} ends at", label(last, by)) };
        let shown = |meter: &MeterUsage| of(meter).as_ref().map(estimate).unwrap_or_default();
        row(what, meters, shown, String::new())
    })
}

fn used(slice: &UsageSlice, meter: &MeterUsage) -> String {
    let found = slice.meters.iter().find(|one| one.name == meter.name);
    found.map_or_else(|| "-".to_owned(), |one| quantity(&one.used.to_string(), &meter.unit))
}

/// A day as `2026-11-05`, a month as `2026-11`, an hour and what begins within one of these as it begins.
pub(super) fn label(slice: &UsageSlice, by: By) -> String {
    let from = moment(&slice.from);
    let whole = match by {
        By::Hour => None,
        By::Day => from.strip_suffix(" 00:00:00"),
        By::Month => from.strip_suffix("-01 00:00:00"),
    };
    whole.or_else(|| from.strip_suffix(":00")).unwrap_or(&from).to_owned()
}

fn counted(gaps: usize) -> String {
    if gaps == 1 { "1 gap".to_owned() } else { format!("{gaps} gaps") }
}
