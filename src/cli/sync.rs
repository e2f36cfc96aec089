use super::Exit;
use super::add::add;
use super::args::SyncArgs;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::words::moment;
use crate::wire::{SyncLine, SyncReport, SyncRequest};

pub(super) async fn sync(run: &mut Run<'_>, args: SyncArgs) -> Result<Exit, CliError> {
    let SyncArgs { month, commit, subscription_item } = args;
    let said = run.client.post("/v1/sync", &SyncRequest { month, subscription_item, commit }, PROVIDER).await?;
    let report: SyncReport = run.show(&said, screen)?;
    Ok(if report.refused { Exit::Refused } else { Exit::Fine })
}

/// The screen.
pub(super) fn screen(report: &SyncReport, look: Look) -> String {
    let items: Vec<String> = report.lines.iter().map(|line| item(line, look)).collect();
    let mut text = items.join("\n");
    if !report.notes.is_empty() {
        text.push('\n');
    }
    for note in &report.notes {
        add(&mut text, format_args!("Note: {}\n", look.wrap(6, note)));
    }
    if !report.committed && report.lines.iter().any(|line| line.action == "would set") {
        text += "\nNothing was sent. To send it, run this again with --commit.\n";
    }
    if report.lines.is_empty() && report.notes.is_empty() {
        text += "There is nothing to send.\n";
    }
    text
}

/// One item: how its total comes about, what happens to it, and why.
fn item(line: &SyncLine, look: Look) -> String {
    let (from, to) = (moment(&line.period_from), moment(&line.period_to));
    let name = look.paint(Ink::Bold, &line.meter);
    let mut text = format!("{name}  {}  {} period\n", line.item, line.state);
    let mut row = |label: &str, value: String| add(&mut text, format_args!("  {label:<12}{}\n", look.wrap(14, &value)));
    row("period", format!("{from} to {to} UTC"));
    row("used", format!("{} {}", line.used, line.unit));
    row("included", format!("{} {}", line.included, line.unit));
    row("overage", line.overage.to_string());
    row("carried in", line.carried_in.to_string());
    row("adopted", line.adopted.to_string());
    for segment in &line.segments {
        let label = if segment == line.segments.first().unwrap_or(segment) { "segments" } else { "" };
        row(label, format!("{} on {} at {}", segment.units, segment.item, segment.price));
    }
    row("target", line.target.to_string());
    row("stands", line.stands.map_or_else(|| "not known".to_owned(), |stands| stands.to_string()));
    for (label, units) in [("carried out", line.carried_out), ("credit due", line.credit_due)] {
        if units != 0 {
            row(label, units.to_string());
        }
    }
    row("action", action(line));
    row("why", line.why.clone());
    text
}

fn action(line: &SyncLine) -> String {
    match line.action.as_str() {
        "would set" | "set" => format!("{} to {}, recorded at {}", line.action, line.target, moment(&line.timestamp)),
        other => other.to_owned(),
    }
}
