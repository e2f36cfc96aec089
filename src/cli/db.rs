use std::path::absolute;

use super::Exit;
use super::add::add;
use super::args::DbCommand;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use crate::wire::{DbBackupReport, DbBackupRequest, DbCheckReport, DbCheckRequest, DbRecoverReport, DbRecoverRequest};

pub(super) async fn db(run: &mut Run<'_>, command: DbCommand) -> Result<Exit, CliError> {
    match command {
        DbCommand::Check { full } => check(run, full).await,
        DbCommand::Backup { path } => {
            // The daemon lives in another directory.
            let path = absolute(&path).map_err(|source| CliError::File { path, source })?;
            let request = DbBackupRequest { path: path.display().to_string() };
            let said = run.client.post("/v1/db/backup", &request, PROVIDER).await?;
            run.show(&said, backup_screen).map(|_: DbBackupReport| Exit::Fine)
        }
        DbCommand::Recover => {
            let said = run.client.post("/v1/db/recover", &DbRecoverRequest {}, PROVIDER).await?;
            let screen = |report: &DbRecoverReport, look: Look| look.wrap(0, &report.what) + "\n";
            run.show(&said, screen).map(|_| Exit::Fine)
        }
    }
}

async fn check(run: &mut Run<'_>, full: bool) -> Result<Exit, CliError> {
    let said = run.client.post("/v1/db/check", &DbCheckRequest { full }, PROVIDER).await?;
    let report: DbCheckReport = run.show(&said, check_screen)?;
    Ok(match &*report.verdict {
        "sound" => Exit::Fine,
        "damaged" => Exit::NeedsSomeone,
        _ => Exit::Error,
    })
}

/// The screen.
pub(super) fn check_screen(report: &DbCheckReport, look: Look) -> String {
    let ink = if report.verdict == "sound" { Ink::Green } else { Ink::Red };
    let depth = if report.full { "with its indexes" } else { "without its indexes; --full compares them, too" };
    let verdict = look.paint(ink, &report.verdict);
    let sentence = format!("{} is {verdict} (looked at for {} ms, {depth})", report.path, report.took_ms);
    let mut text = look.wrap(2, &sentence) + "\n";
    for line in &report.found {
        add(&mut text, format_args!("  {}\n", look.wrap(2, line)));
    }
    if report.verdict == "damaged" {
        text += "usaged recovers what can be read now; see usagectl status\n";
    }
    text
}

fn backup_screen(report: &DbBackupReport, look: Look) -> String {
    look.wrap(0, &format!("{} has the ledger as it was just now, {} bytes", report.path, report.bytes)) + "\n"
}
