//! Rule S10's claim: an item says whose it is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Context, JobError};
use crate::model::{ItemId, Problem};
use crate::provider::{Outcome, RefusalKind};
use crate::store;

const NOT_WRITTEN: &str = "claim_not_written";

/// Rule S10's claim. A key that may not write it is fine: then only usage tells two VMs apart.
pub(super) async fn claim(context: &Arc<Context>, items: &[ItemId]) -> Result<(), JobError> {
    let Some(machine) = context.machine.machine_id() else { return Ok(()) };
    for item in items {
        let key = format!("claim:{item}:{machine}:{}", context.generation().token);
        audit(context, "claim.sent", item, json!({"machine": machine, "key": key})).await?;
        let answer = context.settings().provider.claim_item(item, &machine, &key).await;
        let said = match answer.value {
            Outcome::Accepted => None,
            Outcome::Refused(why) | Outcome::Unavailable { why, .. } | Outcome::Unknown { why, .. } => Some(why),
        };
        let error = said.as_ref().map(|why| why.message.clone());
        audit(context, "claim.answered", item, json!({"request_id": answer.request_id, "error": error})).await?;
        match said {
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

async fn audit(context: &Context, action: &'static str, item: &ItemId, detail: Value) -> Result<(), JobError> {
    let (item, now) = (item.clone(), context.now());
    context.store.write(move |tx| store::audit::append(tx, now, "usaged", action, item.as_str(), &detail)).await?;
    Ok(())
}
