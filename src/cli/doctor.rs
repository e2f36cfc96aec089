use super::Exit;
use super::add::add;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use crate::wire::{DoctorReport, Verdict};

pub(super) async fn doctor(run: &mut Run<'_>) -> Result<Exit, CliError> {
    let said = run.client.get("/v1/doctor").await?;
    let report: DoctorReport = run.show(&said, screen)?;
    let failed = report.checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Exit::NeedsSomeone } else { Exit::Fine })
}

/// The screen.
pub(super) fn screen(report: &DoctorReport, look: Look) -> String {
    let width = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let indent = width + 11;
    let mut text = String::new();
    for check in &report.checks {
        let (word, ink) = match check.verdict {
            Verdict::Ok => ("ok", Some(Ink::Green)),
            Verdict::Warn => ("warn", Some(Ink::Yellow)),
            Verdict::Fail => ("FAIL", Some(Ink::Red)),
            Verdict::Skipped => ("skipped", None),
        };
        let word = format!("{word:<7}");
        let word = ink.map_or_else(|| word.clone(), |ink| look.paint(ink, &word));
        add(&mut text, format_args!("{word}  {:<width$}  {}\n", check.name, look.wrap(indent, &check.found)));
        if !check.fix.is_empty() {
            // In one piece, so that a command in it can be copied.
            add(&mut text, format_args!("{:indent$}fix: {}\n", "", check.fix));
        }
    }
    text + &summary(report)
}

fn summary(report: &DoctorReport) -> String {
    let count = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count();
    match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => "\nEverything that could be checked is as it should be.\n".to_owned(),
        (0, warnings) => format!("\n{warnings} worth a look.\n"),
        (1, _) => "\n1 check needs someone.\n".to_owned(),
        (failures, _) => format!("\n{failures} checks need someone.\n"),
    }
}
