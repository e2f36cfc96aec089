//! Identity: the operator's word that a ledger on a changed machine is still this VM's (rule S11).

use std::sync::Arc;

use super::{Context, JobError};
use crate::account;
use crate::wire::{IdentityReport, IdentityRequest, SCHEMA};

/// Takes this machine's id into the ledger; pushes go on.
pub async fn accept_identity(
    context: &Arc<Context>,
    request: &IdentityRequest,
    actor: &str,
) -> Result<IdentityReport, JobError> {
    let Some(machine) = context.machine.machine_id() else {
        return Err(JobError::refused(
            "no_machine_id",
            "this machine has no machine id",
            "systemd-machine-id-setup makes one",
        ));
    };
    if !context.identity_changed() {
        return Err(JobError::refused(
            "identity_same",
            "this ledger is this machine's already",
            "nothing is to be done",
        ));
    }
    let (id, because, actor, now) = (machine.clone(), request.because.clone(), actor.to_owned(), context.now());
    context.store.write(move |tx| account::accept_identity(tx, &id, &because, &actor, now)).await?;
    context.live().identity_changed = false;
    context.clear("identity_changed");
    Ok(IdentityReport { schema: SCHEMA, machine, what: "this ledger is this machine's now; pushes go on".to_owned() })
}
