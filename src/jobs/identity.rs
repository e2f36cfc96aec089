//! Identity: the operator's word on a ledger that was made on another machine (rule S11).

use std::sync::Arc;

use super::link::claim;
use super::{Context, JobError};
use crate::account;
use crate::store::{self, SetAside, Tx, audit};
use crate::wire::{IdentityReport, IdentityRequest, SCHEMA, ThisVm};

/// The same VM: its ledger goes on. A clone: the ledger is marked to be set aside, which the daemon does next.
pub async fn identity(
    context: &Arc<Context>,
    request: &IdentityRequest,
    actor: &str,
) -> Result<IdentityReport, JobError> {
    if !context.identity_changed() {
        return Err(JobError::refused(
            "identity_same",
            "this ledger is this machine's already",
            "nothing is to be done; before an image is made of this disk: usagectl prepare-image",
        ));
    }
    match request.this_vm {
        ThisVm::Same => accept(context, request, actor).await,
        ThisVm::New => begin_anew(context, request, actor).await,
    }
}

async fn accept(context: &Arc<Context>, request: &IdentityRequest, actor: &str) -> Result<IdentityReport, JobError> {
    let machine = context.identity();
    let (taken, because, actor, now) = (machine.clone(), request.because.clone(), actor.to_owned(), context.now());
    context.store.write(move |tx| account::accept_identity(tx, &taken, &because, &actor, now)).await?;
    context.live().identity_changed = false;
    context.clear("identity_changed");
    let items = context.store.read(|c| -> Result<_, JobError> {
        let link = account::in_force(c)?;
        Ok(link.map(|link| account::items_of(c, link.id)).transpose()?.unwrap_or_default())
    });
    let items: Vec<_> = items.await?.into_iter().map(|item| item.item).collect();
    claim::claim(context, &items).await?;
    let what = "this ledger is this machine's now; pushes go on".to_owned();
    Ok(IdentityReport { schema: SCHEMA, machine: machine.to_string(), what, set_aside: None })
}

async fn begin_anew(
    context: &Arc<Context>,
    request: &IdentityRequest,
    actor: &str,
) -> Result<IdentityReport, JobError> {
    let (because, actor) = (request.because.clone(), actor.to_owned());
    let aside = context.set_aside("identity.new", because, actor, |_| Ok(())).await?;
    let what = "usaged begins anew, unlinked, with an empty ledger; the old one was set aside".to_owned();
    Ok(IdentityReport { schema: SCHEMA, machine: context.identity().to_string(), what, set_aside: Some(aside) })
}

impl Context {
    /// Marks the ledger to be set aside, and says where it will lie. From then on it takes no records: what is answered
    /// with "accepted" must not be left behind. `first` runs in the same transaction.
    pub(super) async fn set_aside(
        self: &Arc<Self>,
        action: &'static str,
        because: String,
        actor: String,
        first: impl FnOnce(&Tx<'_>) -> Result<(), JobError> + Send + 'static,
    ) -> Result<String, JobError> {
        let now = self.now();
        // As a time is written, but for the colons.
        let name = format!("usage.db.set-aside-{}", now.to_string().replace(':', "-"));
        let path = self.store.path().with_file_name(&name).display().to_string();
        let job = Arc::clone(self);
        let marked = self
            .store
            .write(move |tx| {
                first(tx)?;
                let subscription = account::latest(tx)?.map(|link| link.subscription.to_string());
                let detail = serde_json::json!({"because": because, "set_aside": name});
                audit::append(tx, now, &actor, action, subscription.as_deref().unwrap_or("none"), &detail)?;
                store::mark_to_be_set_aside(tx, &SetAside { name, because, subscription })?;
                job.intake.set_aside(true);
                Ok::<_, JobError>(())
            })
            .await;
        if marked.is_err() {
            self.intake.set_aside(false);
        }
        marked.map(|()| path)
    }
}
