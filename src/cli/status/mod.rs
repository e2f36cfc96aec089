//! `usagectl status`: one screen, problems first.

pub(super) mod meters;
mod more;
mod sending;
mod watch;

use super::add::add;
use super::args::StatusArgs;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::words::{moment, moment_from, percent};
use super::{Exit, words};
use crate::model::{Problem, Severity};
use crate::wire::Status;

/// Width of the left column.
const LABEL: usize = 13;

pub(super) async fn status(run: &mut Run<'_>, args: StatusArgs) -> Result<Exit, CliError> {
    if let Some(every) = args.watch {
        return watch::watch(run, args.verbose, every).await;
    }
    let said = run.client.get("/v1/status").await?;
    let status: Status = run.show(&said, |status, look| screen(status, look, args.verbose))?;
    Ok(exit(&status))
}

fn exit(status: &Status) -> Exit {
    let needs_someone = status.problems.iter().any(|problem| problem.severity == Severity::Problem);
    if needs_someone { Exit::NeedsSomeone } else { Exit::Fine }
}

/// The screen; where `verbose`, with more sections below.
pub(super) fn screen(status: &Status, look: Look, verbose: bool) -> String {
    let mut text = problems(&status.problems, look);
    text += &heading(status, look);
    text.push('\n');
    text += &meters::screen(&status.meters, look);
    text.push('\n');
    text += &sending::screen(status, look);
    text += &machine(status, look);
    if verbose {
        text += &more::screen(status, look);
    }
    text
}

/// A labelled line, wrapped under itself.
fn line(look: Look, label: &str, value: &str) -> String {
    format!("{label:<LABEL$}{}\n", look.wrap(LABEL, value))
}

fn problems(problems: &[Problem], look: Look) -> String {
    let mut text = String::new();
    for problem in problems {
        let (ink, label) = match problem.severity {
            Severity::Problem => (Ink::Red, "PROBLEM"),
            Severity::Note => (Ink::Yellow, "NOTE"),
        };
        let blanks = " ".repeat(LABEL.saturating_sub(label.len()));
        let label = look.paint(ink, label);
        add(&mut text, format_args!("{label}{blanks}{}\n", look.wrap(LABEL, &problem.what)));
        if !problem.hint.is_empty() {
            // In one piece, so that a command in it can be copied.
            add(&mut text, format_args!("{:<LABEL$}{}\n", "  hint:", problem.hint));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn heading(status: &Status, look: Look) -> String {
    let mode = look.paint(Ink::Bold, &status.mode);
    let running = format!("{} {mode}, running since {}", status.version, moment(&status.since));
    let mut text = line(look, "usaged", &running);
    match &status.link {
        Some(link) => {
            let (customer, subscription) = (&link.customer, &link.subscription);
            let value = format!("{customer}, {subscription}, plan {}, since {}", link.plan, moment(&link.from));
            text += &line(look, "Billed to", &value);
            if let Some(name) = &link.customer_name {
                text += &line(look, "", name);
            }
        }
        None => text += &line(look, "Billed to", "nobody"),
    }
    let left = words::seconds_between(&status.now, &status.period_to).map(words::duration).unwrap_or_default();
    let (from, to) = (moment(&status.period_from), moment(&status.period_to));
    // Of a period's end it matters most when it is here.
    let here = look.here(&status.period_to).map(|here| format!("\nends {here}")).unwrap_or_default();
    text + &line(look, "Period", &format!("{from} to {to} UTC, {left} left{here}"))
}

fn machine(status: &Status, look: Look) -> String {
    let coverage = &status.coverage;
    let gaps = match coverage.gaps {
        0 => String::new(),
        1 => ", 1 gap (usagectl usage)".to_owned(),
        gaps => format!(", {gaps} gaps (usagectl usage)"),
    };
    let text = line(look, "Coverage", &format!("{} of the period so far{gaps}", percent(coverage.observed_bp)));
    let clock = match (status.clock.trusted_by.as_str(), status.clock.ahead_s) {
        ("nobody", _) => "trusted by nobody yet".to_owned(),
        (by, None | Some(0)) => format!("trusted by {by}"),
        (by, Some(ahead)) if ahead < 0 => format!("trusted by {by}, {} behind", words::duration(-ahead)),
        (by, Some(ahead)) => format!("trusted by {by}, {} ahead", words::duration(ahead)),
    };
    text + &line(look, "Clock", &clock)
}

/// `-` where nothing is known.
fn moment_or(now: &str, time: Option<&String>, otherwise: &str) -> String {
    time.map_or_else(|| otherwise.to_owned(), |time| moment_from(now, time))
}
