//! The first link, by the event of a subscription that was made for this VM.

use std::sync::Arc;

use super::super::events::SUBSCRIPTION_CREATED;
use super::super::{Context, JobError, link, seed};
use crate::account::{self, PendingEvent};
use crate::model::{Problem, SubscriptionId};
use crate::wire::LinkRequest;

const FAILED: &str = "first_link_failed";

/// Links where this ledger never was, and the customer of the new subscription carries this VM's own id.
pub(super) async fn make(context: &Arc<Context>, events: &[PendingEvent]) -> Result<(), JobError> {
    let webhook = context.settings().config.webhook.clone();
    let (Some(vm_id), false) = (webhook.vm_id, context.store.read(account::latest).await?.is_some()) else {
        context.clear(FAILED);
        return Ok(());
    };
    for event in events.iter().filter(|event| event.kind == SUBSCRIPTION_CREATED) {
        let Ok(subscription) = SubscriptionId::new(&*event.object) else { continue };
        match link_if_ours(context, &subscription, &webhook.vm_key, &vm_id).await {
            Ok(false) => {}
            Ok(true) => {
                context.clear(FAILED);
                return Ok(());
            }
            // It may work later, or is not about this event.
            Err(error) if !is_for_good(&error) => return Err(error),
            Err(error) => context.raise(Problem::needs_someone(
                FAILED,
                format!("{subscription} was made, perhaps for this VM, and it was not linked: {error}"),
                error.hint().unwrap_or_else(|| "link it by hand: usagectl link".to_owned()),
            )),
        }
    }
    Ok(())
}

fn is_for_good(error: &JobError) -> bool {
    match error {
        JobError::Refused { .. } => true,
        JobError::Provider(error) => super::is_for_good(error),
        _ => false,
    }
}

async fn link_if_ours(
    context: &Arc<Context>,
    subscription: &SubscriptionId,
    vm_key: &str,
    vm_id: &str,
) -> Result<bool, JobError> {
    let Some(request) = request(context, subscription, vm_key, vm_id).await? else { return Ok(false) };
    if let Some((what, hint)) = seed::not_by_itself(context, subscription.as_str()).await? {
        return Err(JobError::refused("not_by_itself", what, hint));
    }
    link::link(context, &request, "usaged").await?;
    Ok(true)
}

/// Reads whose it is, and for which VM they are.
async fn request(
    context: &Arc<Context>,
    subscription: &SubscriptionId,
    vm_key: &str,
    vm_id: &str,
) -> Result<Option<LinkRequest>, JobError> {
    let provider = context.settings().provider.clone();
    let answer = provider.read_subscription(subscription).await;
    context.note_date(&answer);
    let customer = answer.value?.customer;
    let answer = provider.read_customer(&customer).await;
    context.note_date(&answer);
    let is_for_us = answer.value?.is_some_and(|read| read.metadata.get(vm_key).is_some_and(|value| value == vm_id));
    Ok(is_for_us.then(|| LinkRequest {
        customer: customer.to_string(),
        subscription: subscription.to_string(),
        ..LinkRequest::default()
    }))
}
