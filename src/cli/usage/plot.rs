//! Hours, days or months as bars.

use super::pieces::label;
use crate::cli::add::add;
use crate::cli::bar::filled;
use crate::cli::look::{Ink, Look, columns};
use crate::cli::words::quantity;
use crate::wire::{By, MeterUsage, UsageReport};

/// A bar says nothing that is shorter.
const SHORTEST: usize = 8;

pub(in crate::cli) fn screen(report: &UsageReport, look: Look) -> String {
    let mut text = super::heading(report, look);
    if report.slices.is_empty() {
        text += "\nNothing is known of that time.\n";
    }
    for meter in report.meters.iter().filter(|_| !report.slices.is_empty()) {
        add(&mut text, format_args!("\n{}", bars(report, meter, look)));
    }
    text
}

/// Each bar as long as its part of the largest; what was not watched at all has no number.
fn bars(report: &UsageReport, meter: &MeterUsage, look: Look) -> String {
    let by = report.by.unwrap_or(By::Day);
    let lines: Vec<_> = report
        .slices
        .iter()
        .filter_map(|slice| {
            let one = slice.meters.iter().find(|one| one.name == meter.name)?;
            Some((label(slice, by), one.used_micros, quantity(&one.used.to_string(), &meter.unit)))
        })
        .collect();
    let most = lines.iter().map(|(_, micros, _)| *micros).max().unwrap_or(0);
    let labels = lines.iter().map(|(label, ..)| columns(label)).max().unwrap_or(0);
    let numbers = lines.iter().map(|(.., number)| columns(number)).max().unwrap_or(0);
    let length = look.width.saturating_sub(labels + numbers + 4).max(SHORTEST);
    let title = format!("{}, {} by {}", meter.name, meter.unit, by.word());
    let mut text = format!("{}\n", look.paint(Ink::Bold, &title));
    for (label, micros, number) in lines {
        let bar = look.paint(Ink::Green, &filled(look, micros.into(), most.into(), length));
        add(&mut text, format_args!("{label:<labels$}  {number:>numbers$}  {bar}"));
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
