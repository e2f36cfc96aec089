//! The audit, told and looked through.

use super::{Context, JobError};
use crate::model::{Timestamp, hex};
use crate::store::audit::{self, Break, Entry};
use crate::wire::{AuditEntry, AuditReport, AuditVerifyReport, SCHEMA};

/// The last lines since a moment, oldest first.
pub async fn audit(context: &Context, since: Option<Timestamp>, limit: u32) -> Result<AuditReport, JobError> {
    let since = since.unwrap_or(Timestamp::from_micros(0));
    let mut entries = context.store.read(move |c| audit::since(c, since, limit.saturating_add(1))).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > most;
    if more {
        entries.remove(0);
    }
    Ok(AuditReport { schema: SCHEMA, entries: entries.iter().map(line).collect(), more })
}

/// Whether every line is what was written.
pub async fn audit_verify(context: &Context) -> Result<AuditVerifyReport, JobError> {
    let chain = context.store.read(audit::verify).await?;
    let (head_id, head) = chain.head.map(|(id, hash)| (id, hex(&hash))).unzip();
    Ok(AuditVerifyReport {
        schema: SCHEMA,
        holds: chain.breaks.is_empty(),
        entries: chain.entries,
        head_id,
        head,
        breaks: chain.breaks.iter().map(sentence).collect(),
    })
}

fn sentence(found: &Break) -> String {
    match found {
        Break::Missing { from, to } if from == to => format!("line {from} is missing"),
        Break::Missing { from, to } => format!("lines {from} to {to} are missing"),
        Break::Changed { id } => format!("line {id} is not what was written, or does not follow the line before it"),
    }
}

fn line(entry: &Entry) -> AuditEntry {
    AuditEntry {
        id: entry.id,
        at: entry.at.to_string(),
        actor: entry.actor.clone(),
        action: entry.action.clone(),
        subject: entry.subject.clone(),
        // Whoever changed it may have left no JSON.
        detail: serde_json::from_str(&entry.detail).unwrap_or_else(|_| entry.detail.clone().into()),
        hash: hex(&entry.hash),
    }
}
