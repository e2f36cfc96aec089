//! Rule S10's claim: an item says whose it is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Context, JobError};
use crate::account::Item;
use crate::model::{ItemId, Problem};
use crate::provider::{Outcome, Refusal, RefusalKind};
use crate::store;

const NOT_WRITTEN: &str = "claim_not_written";

/// Rule S10's claim. A key that may not write it is fine: then only usage tells two VMs apart.
pub(in crate::jobs) async fn claim(context: &Arc<Context>, items: &[ItemId]) -> Result<(), JobError> {
    let machine = context.identity().to_string();
    if machine.is_empty() {
        return Ok(());
    }
    for item in items {
        match mark(context, "claim", item, &machine).await? {
            Some(why) if why.kind != RefusalKind::NotPermitted => {
                let what = format!("{item} was not marked as this VM's: {}", why.message);
                let problem = Problem::note(NOT_WRITTEN, what, "nothing to do if no other VM is linked to it");
                context.raise_about(item.as_str(), problem);
            }
            // An agent's restricted key need not be allowed to write it.
            _ => context.clear_about(NOT_WRITTEN, item.as_str()),
        }
    }
    Ok(())
}

/// Takes the claim back. Says which items keep it, and why; one that a key could not set it cannot keep.
pub(in crate::jobs) async fn release(context: &Arc<Context>, items: &[Item]) -> Result<Vec<String>, JobError> {
    let mut kept = Vec::new();
    for item in items {
        match mark(context, "unclaim", &item.item, "").await? {
            Some(why) if why.kind != RefusalKind::NotPermitted => kept.push(format!("{}: {}", item.item, why.message)),
            _ => {}
        }
    }
    Ok(kept)
}

/// Writes the mark, and says why it may not have been written.
async fn mark(context: &Arc<Context>, what: &str, item: &ItemId, text: &str) -> Result<Option<Refusal>, JobError> {
    let key = format!("{what}:{item}:{}:{}", context.identity(), context.generation().token);
    audit(context, format!("{what}.sent"), item, json!({"machine": text, "key": key})).await?;
    let answer = context.settings().provider.claim_item(item, text, &key).await;
    let said = match answer.value {
        Outcome::Accepted => None,
        Outcome::Refused(why) | Outcome::Unavailable { why, .. } | Outcome::Unknown { why, .. } => Some(why),
    };
    let error = said.as_ref().map(|why| why.message.clone());
    audit(context, format!("{what}.answered"), item, json!({"request_id": answer.request_id, "error": error})).await?;
    Ok(said)
}

async fn audit(context: &Context, action: String, item: &ItemId, detail: Value) -> Result<(), JobError> {
    let (item, now) = (item.clone(), context.now());
    context.store.write(move |tx| store::audit::append(tx, now, "usaged", &action, item.as_str(), &detail)).await?;
    Ok(())
}
