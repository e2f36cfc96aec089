//! The ledger's file: looked at, copied, and told to be recovered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::{Context, JobError};
use crate::store::{self, Depth, Soundness, StoreError};
use crate::wire::{DbBackupReport, DbBackupRequest, DbCheckReport, DbCheckRequest, DbRecoverReport, SCHEMA};

/// Nobody waits longer for the answer.
const PATIENCE: Duration = Duration::from_secs(150);

/// The verdict on a file whose content cannot be what was written.
pub const DAMAGED: &str = "damaged";
const SOUND: &str = "sound";
const UNFINISHED: &str = "unfinished";

/// Looks at the whole file beside its writer. What is found damaged is recovered by the daemon next.
pub async fn db_check(context: &Arc<Context>, request: &DbCheckRequest) -> Result<DbCheckReport, JobError> {
    let path = context.store.path().to_owned();
    let depth = if request.full { Depth::Full } else { Depth::Quick };
    let (of, began) = (path.clone(), Instant::now());
    let looked = spawn_blocking(move || store::check(&of, depth, PATIENCE)).await.map_err(|_| StoreError::Gone)??;
    let (verdict, found) = match looked {
        Soundness::Sound => (SOUND, Vec::new()),
        Soundness::Damaged(found) => (DAMAGED, found),
        Soundness::Unfinished => (UNFINISHED, Vec::new()),
    };
    if let Some(first) = found.first() {
        tracing::error!("usage.db is damaged: {first}");
        context.store.note_damage(first);
    }
    Ok(DbCheckReport {
        schema: SCHEMA,
        path: path.display().to_string(),
        full: request.full,
        verdict: verdict.to_owned(),
        found,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Copies the ledger as it is at one moment.
pub async fn db_backup(context: &Arc<Context>, request: &DbBackupRequest) -> Result<DbBackupReport, JobError> {
    let to = PathBuf::from(&request.path);
    if !to.is_absolute() {
        return Err(JobError::refused("bad_path", format!("{} is not absolute", request.path), "name it from / on"));
    }
    let of = context.store.path().to_owned();
    let bytes = spawn_blocking(move || store::backup(&of, &to)).await.map_err(|_| StoreError::Gone)?;
    let bytes = match bytes {
        Err(error @ StoreError::Backup { .. }) => {
            let said = error.to_string();
            let (what, hint) = crate::model::split_hint(&said);
            return Err(JobError::refused("no_backup", what, hint.unwrap_or_default()));
        }
        other => other?,
    };
    Ok(DbBackupReport { schema: SCHEMA, path: request.path.clone(), bytes })
}

/// Looks closely, and has the daemon recover what is damaged.
pub async fn db_recover(context: &Arc<Context>) -> Result<DbRecoverReport, JobError> {
    let report = db_check(context, &DbCheckRequest { full: true }).await?;
    if report.verdict != DAMAGED {
        return Err(JobError::refused(
            "database_sound",
            format!("usage.db is {}: there is nothing to recover", report.verdict),
            "usagectl db check --full shows what it was looked at for",
        ));
    }
    let what = "usage.db is damaged, and recovered now; usagectl status shows what became of it".to_owned();
    Ok(DbRecoverReport { schema: SCHEMA, what })
}
