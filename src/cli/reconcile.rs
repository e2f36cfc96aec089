use super::Exit;
use super::add::add;
use super::args::ReconcileArgs;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::table::{Lean, table};
use super::words::moment;
use crate::wire::{Cause, ReconcileLine, ReconcileReport, ReconcileRequest};

pub(super) async fn reconcile(run: &mut Run<'_>, args: ReconcileArgs) -> Result<Exit, CliError> {
    let said = run.client.post("/v1/reconcile", &ReconcileRequest { item: args.item }, PROVIDER).await?;
    let report: ReconcileReport = run.show(&said, screen)?;
    Ok(if report.needs_someone { Exit::NeedsSomeone } else { Exit::Fine })
}

/// The screen: what differs in full, what agrees in one line each.
pub(super) fn screen(report: &ReconcileReport, look: Look) -> String {
    let (agreeing, differing): (Vec<_>, Vec<_>) = report.lines.iter().partition(|line| is_plain(line));
    let mut text = String::new();
    for line in &differing {
        text += &item(line, look);
        text.push('\n');
    }
    if !agreeing.is_empty() {
        let heading = ["AGREES", "ITEM", "PERIOD FROM", "STATE", "STANDS"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(agreeing.iter().map(|line| row(line))).collect();
        text += &table([Lean::Left, Lean::Left, Lean::Left, Lean::Left, Lean::Right], &rows);
        text.push('\n');
    }
    for note in &report.notes {
        add(&mut text, format_args!("Note: {}\n", look.wrap(6, note)));
    }
    if !report.lines.is_empty() {
        text += &look.wrap(0, verdict(report, differing.len()));
        text.push('\n');
    }
    text
}

fn is_plain(line: &ReconcileLine) -> bool {
    line.cause == Cause::Agrees && !line.needs_someone
}

fn verdict(report: &ReconcileReport, differing: usize) -> &'static str {
    match (report.needs_someone, differing) {
        (true, _) => "Something needs someone. Nothing was sent.",
        (false, 0) => "Everything agrees. Nothing was sent.",
        (false, _) => "Nothing needs anybody. Nothing was sent.",
    }
}

fn row(line: &ReconcileLine) -> [String; 5] {
    let stands = line.stands.map_or_else(|| "not known".to_owned(), |stands| stands.to_string());
    [line.meter.clone(), line.item.clone(), moment(&line.period_from), line.state.clone(), stands]
}

/// One item in one period: what stands beside what was noted, and where the difference comes from.
fn item(line: &ReconcileLine, look: Look) -> String {
    let (from, to) = (moment(&line.period_from), moment(&line.period_to));
    let known = |units: Option<i64>| units.map_or_else(|| "not known".to_owned(), |units| units.to_string());
    let mut text = if line.needs_someone { look.paint(Ink::Red, "PROBLEM") + "  " } else { String::new() };
    let name = look.paint(Ink::Bold, &line.meter);
    add(&mut text, format_args!("{name}  {}  {} period, {}\n", line.item, line.state, line.channel));
    let mut row = |label: &str, value: &str| add(&mut text, format_args!("  {label:<12}{}\n", look.wrap(14, value)));
    row("period", &format!("{from} to {to} UTC"));
    row("noted", &known(line.noted));
    row("stands", &known(line.stands));
    if line.state != "closed" {
        row("target", &line.target.to_string());
    }
    row("cause", line.cause.words());
    if !line.why.is_empty() {
        row("why", &line.why);
    }
    if let Some(held) = &line.held {
        row("held", held);
    }
    if let Some(hint) = &line.hint {
        // In one piece, so that a command in it can be copied.
        add(&mut text, format_args!("  {:<12}{hint}\n", "hint:"));
    }
    text
}
