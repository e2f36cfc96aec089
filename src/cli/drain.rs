use super::Exit;
use super::add::add;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::words::moment;
use crate::wire::{DrainLine, DrainReport, DrainRequest};

pub(super) async fn drain(run: &mut Run<'_>) -> Result<Exit, CliError> {
    let said = run.client.post("/v1/drain", &DrainRequest {}, PROVIDER).await?;
    let report: DrainReport = run.show(&said, screen)?;
    Ok(if report.certified { Exit::Fine } else { Exit::Refused })
}

/// The screen.
pub(super) fn screen(report: &DrainReport, look: Look) -> String {
    let mut text = String::new();
    for line in &report.lines {
        text += &item(line, look);
        text.push('\n');
    }
    for missing in &report.missing {
        add(&mut text, format_args!("MISSING  {}\n", look.wrap(9, missing)));
    }
    for note in &report.notes {
        add(&mut text, format_args!("Note: {}\n", look.wrap(6, note)));
    }
    if !(report.missing.is_empty() && report.notes.is_empty()) {
        text.push('\n');
    }
    let (ink, word) = if report.certified { (Ink::Green, "Certified") } else { (Ink::Red, "Not certified") };
    let said = look.wrap(0, &format!("{word}: {}", verdict(report)));
    text += &said.replacen(word, &look.paint(ink, word), 1);
    text.push('\n');
    text
}

fn verdict(report: &DrainReport) -> String {
    let until = moment(&report.until);
    if report.certified {
        return format!(
            "what was used until {until} UTC stands.\n\
             Delete the VM now. To go on instead, and take records again:\n\
             sudo systemctl restart usaged"
        );
    }
    let intake = if report.intake_open { "Records are taken as before." } else { "No records are taken." };
    format!("do not delete the VM yet. {intake} Settle what is named, then run this again.")
}

/// One item: what stands beside what should, and what is wrong with that.
fn item(line: &DrainLine, look: Look) -> String {
    let (from, to) = (moment(&line.period_from), moment(&line.period_to));
    let name = look.paint(Ink::Bold, &line.meter);
    let mut text = format!("{name}  {}  {} period\n", line.item, line.state);
    let mut row = |label: &str, value: String| add(&mut text, format_args!("  {label:<12}{}\n", look.wrap(14, &value)));
    row("period", format!("{from} to {to} UTC"));
    row("target", line.target.to_string());
    row("stands", line.stands.map_or_else(|| "not known".to_owned(), |stands| stands.to_string()));
    row("certified", if line.certified { "yes" } else { "no" }.to_owned());
    if let Some(why) = &line.why {
        row("why", why.clone());
    }
    if let Some(part) = &line.part_of_a_unit {
        row("besides", format!("{part} {}: not a whole unit, so it is not billed", line.unit));
    }
    text
}
