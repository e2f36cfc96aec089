use std::time::Duration;

use super::Exit;
use super::add::add;
use super::args::{AlertsArgs, AlertsCommand};
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::words::moment;
use crate::model::Severity;
use crate::wire::{AlertLine, AlertMessageLine, AlertTestReport, AlertTestRequest, AlertsReport};

/// A command may take as long as it is let, and waits for one that runs already.
const PATIENCE: Duration = Duration::from_mins(6);

pub(super) async fn alerts(run: &mut Run<'_>, args: AlertsArgs) -> Result<Exit, CliError> {
    if let Some(AlertsCommand::Test) = args.command {
        let said = run.client.post("/v1/alerts/test", &AlertTestRequest {}, PATIENCE).await?;
        let report: AlertTestReport = run.show(&said, test_screen)?;
        return Ok(if report.ways.iter().all(|way| way.told) { Exit::Fine } else { Exit::NeedsSomeone });
    }
    let path = args.limit.map_or_else(|| "/v1/alerts".to_owned(), |limit| format!("/v1/alerts?limit={limit}"));
    let said = run.client.get(&path).await?;
    run.show(&said, screen).map(|_: AlertsReport| Exit::Fine)
}

/// The screen: the newest first, with what was told of each.
pub(super) fn screen(report: &AlertsReport, look: Look) -> String {
    if report.alerts.is_empty() {
        return "Nothing has needed anybody yet.\n".to_owned();
    }
    let mut text = String::new();
    for alert in &report.alerts {
        text += &heading(alert, look);
        add(&mut text, format_args!("    {}\n", look.wrap(4, &alert.what)));
        if !alert.hint.is_empty() && alert.cleared_at.is_none() {
            // In one piece, so that a command in it can be copied.
            add(&mut text, format_args!("    hint: {}\n", alert.hint));
        }
        for message in &alert.messages {
            add(&mut text, format_args!("    {}\n", look.wrap(4, &told(message))));
        }
    }
    text
}

fn heading(alert: &AlertLine, look: Look) -> String {
    let (ink, word) = match alert.severity {
        Severity::Problem => (Ink::Red, "PROBLEM"),
        Severity::Note => (Ink::Yellow, "NOTE"),
    };
    let (fired, about) = (moment(&alert.fired_at), alert.about.as_deref().unwrap_or_default());
    let (word, until) = match &alert.cleared_at {
        None => (look.paint(ink, word), "stands".to_owned()),
        Some(cleared) => (word.to_lowercase(), format!("until {}", moment(cleared))),
    };
    let heading = format!("{fired}  {word}  {} {about}", look.paint(Ink::Bold, &alert.code));
    format!("{}, {until}\n", heading.trim_end())
}

fn told(message: &AlertMessageLine) -> String {
    let (state, way, attempts) = (message.state.word(), message.way.word(), message.attempts);
    let error = message.error.as_deref().unwrap_or("not tried yet");
    match (&message.told_at, &message.next_at) {
        (Some(at), _) => format!("{state}: told by {way} at {}", moment(at)),
        (None, Some(_)) if attempts == 0 => format!("{state}: not told by {way} yet"),
        (None, Some(next)) => {
            let next = moment(next);
            format!("{state}: not told by {way} in {attempts} attempts, the next at {next}: {error}")
        }
        (None, None) => format!("{state}: not told by {way} in {attempts} attempts, and given up: {error}"),
    }
}

/// The screen.
pub(super) fn test_screen(report: &AlertTestReport, look: Look) -> String {
    let mut text = String::new();
    for way in &report.ways {
        let (word, ink) = if way.told { ("told", Ink::Green) } else { ("FAILED", Ink::Red) };
        let word = look.paint(ink, &format!("{word:<6}"));
        add(&mut text, format_args!("{word}  {:<7}  {} in {} ms\n", way.way.word(), way.to, way.took_ms));
        if let Some(error) = &way.error {
            add(&mut text, format_args!("        {}\n", look.wrap(8, error)));
        }
    }
    add(&mut text, format_args!("The test has the id {}.\n", report.id));
    text
}
