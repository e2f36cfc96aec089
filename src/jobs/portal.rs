//! The way into the provider's customer portal, for whoever is on the usage page.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Context, JobError};
use crate::account;
use crate::provider::{Provider, RefusalKind};

/// Whether the provider lets this key open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayOpen {
    /// It has not said yet.
    Unknown,
    Yes,
    No,
}

/// Opens it for the customer of the link in force, and returns where it is.
pub async fn open_portal(context: &Arc<Context>, return_url: &str) -> Result<String, JobError> {
    let Some(link) = context.store.read(account::in_force).await? else {
        return Err(JobError::refused("not_linked", NOT_LINKED, "sudo usagectl link binds it to a subscription"));
    };
    let settings = context.settings();
    let answer = settings.provider.open_portal(&link.customer, &link.subscription, return_url).await;
    context.note_date(&answer);
    let opened = answer.value?;
    // Its address lets in whoever has it, so it is named nowhere.
    tracing::info!(customer = %link.customer, request_id = answer.request_id, "the customer's portal was opened");
    Ok(opened)
}

const NOT_LINKED: &str = "this VM is not linked to a customer";
/// The provider's own words name the key and the account, which are not the customer's business; the log has them.
const NOT_PERMITTED: &str = "the provider's key lacks the permission “Customer portal: write”";

/// The page does not wait longer for the provider.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why it cannot be opened, where that is known beforehand. The provider is asked until it has answered once, and again
/// after a reload; meanwhile it is offered, and whoever tries it is told what came of it.
pub(super) async fn no_portal(context: &Arc<Context>) -> Result<Option<String>, JobError> {
    let settings = context.settings();
    if matches!(settings.provider, Provider::None) {
        return Ok(Some("no billing provider is configured, or its key is missing".to_owned()));
    }
    if context.store.read(account::in_force).await?.is_none() {
        return Ok(Some(NOT_LINKED.to_owned()));
    }
    let known = context.live().portal;
    match known {
        MayOpen::Yes => return Ok(None),
        MayOpen::No => return Ok(Some(NOT_PERMITTED.to_owned())),
        MayOpen::Unknown => {}
    }
    let Ok(answer) = timeout(PATIENCE, settings.provider.may_open_portal()).await else { return Ok(None) };
    let found = match answer.value {
        Ok(()) => MayOpen::Yes,
        Err(error) if error.refusal.kind == RefusalKind::NotPermitted => {
            tracing::info!("the customer's portal is not offered on the usage page: {error}");
            MayOpen::No
        }
        Err(_) => MayOpen::Unknown,
    };
    context.live().portal = found;
    Ok((found == MayOpen::No).then(|| NOT_PERMITTED.to_owned()))
}
