use serde_json::Value;

use super::Exit;
use super::add::add;
use super::args::{AuditArgs, AuditCommand};
use super::error::CliError;
use super::look::{Ink, Look};
use super::run::Run;
use super::words::moment;
use crate::wire::{AuditEntry, AuditReport, AuditVerifyReport};

pub(super) async fn audit(run: &mut Run<'_>, args: AuditArgs) -> Result<Exit, CliError> {
    if let Some(AuditCommand::Verify) = args.command {
        let said = run.client.get("/v1/audit/verify").await?;
        let report: AuditVerifyReport = run.show(&said, verify_screen)?;
        return Ok(if report.holds { Exit::Fine } else { Exit::NeedsSomeone });
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(since) = &args.since {
        query.append_pair("since", &since.start(run.now).to_string());
    }
    if let Some(limit) = args.limit {
        query.append_pair("limit", &limit.to_string());
    }
    let said = run.client.get(&format!("/v1/audit?{}", query.finish())).await?;
    run.show(&said, screen).map(|_: AuditReport| Exit::Fine)
}

/// The screen: a line for each, with what more is known of it below.
pub(super) fn screen(report: &AuditReport, look: Look) -> String {
    let mut text = String::new();
    if report.more {
        text += "Older lines are not shown; see --since and --limit.\n\n";
    }
    for entry in &report.entries {
        let (at, action) = (moment(&entry.at), look.paint(Ink::Bold, &entry.action));
        add(&mut text, format_args!("{at}  {}  {action}  {}\n", entry.actor, entry.subject));
        let detail = detail(entry);
        if !detail.is_empty() {
            add(&mut text, format_args!("    {}\n", look.wrap(4, &detail)));
        }
    }
    if report.entries.is_empty() {
        text += "Nothing was done.\n";
    }
    text
}

fn detail(entry: &AuditEntry) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match &entry.detail {
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            known.map(|(name, value)| format!("{name}: {}", word(value))).collect::<Vec<_>>().join(", ")
        }
        other => word(other),
    }
}

/// The screen.
pub(super) fn verify_screen(report: &AuditVerifyReport, look: Look) -> String {
    let (ink, verdict) = if report.holds { (Ink::Green, "holds") } else { (Ink::Red, "does not hold") };
    let verdict = look.paint(ink, verdict);
    let mut text = format!("The audit {verdict}: {} lines\n", report.entries);
    for found in &report.breaks {
        add(&mut text, format_args!("  {}\n", look.wrap(2, found)));
    }
    if let Some((id, head)) = report.head_id.zip(report.head.as_ref()) {
        add(&mut text, format_args!("Line {id} ends in\n  {head}\n"));
    }
    text
}
