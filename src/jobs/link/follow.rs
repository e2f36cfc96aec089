//! Rule R5: a price that was replaced under the same lookup key is gone on with by itself.

use std::sync::Arc;

use super::super::{Context, JobError};
use super::{Unclear, bind};
use crate::account::{self, Item, Link};
use crate::model::Timestamp;
use crate::provider::SubscriptionView;
use crate::wire::LinkRequest;

/// Links again by the same plan where only that is new, and it is clear what is billed already. Else it stays held.
pub(in crate::jobs) async fn follow(context: &Arc<Context>, view: &SubscriptionView) -> Result<(), JobError> {
    if context.identity_changed() {
        return Ok(());
    }
    let (seen, now) = (view.clone(), context.now());
    let found = context.store.read(move |c| replaced(c, &seen, now)).await?;
    let Some((link, items, single_writer)) = found else { return Ok(()) };
    let request = LinkRequest {
        customer: link.customer.to_string(),
        subscription: link.subscription.to_string(),
        plan: Some(link.plan.to_string()),
        items: items.iter().map(|item| (item.meter.to_string(), item.item.to_string())).collect(),
        single_writer,
        shared: items.iter().any(|item| item.shared),
        ..LinkRequest::default()
    };
    match bind(context, &request, "usaged", Unclear::IsRefused).await {
        Ok(_) => Ok(()),
        Err(error @ (JobError::Refused { .. } | JobError::Provider(_))) => {
            tracing::warn!(subscription = %view.id, "a price was replaced under its lookup key, and is held: {error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The link in force with its items, if all that is new about them are prices under the same lookup keys.
fn replaced(
    connection: &rusqlite::Connection,
    view: &SubscriptionView,
    now: Timestamp,
) -> Result<Option<(Link, Vec<Item>, bool)>, JobError> {
    let link = account::in_force(connection)?.filter(|link| link.subscription == view.id && link.from <= now);
    let Some(link) = link else { return Ok(None) };
    let items = account::items_of(connection, link.id)?;
    let mut is_replaced = false;
    for item in &items {
        let Some(found) = view.items.iter().find(|found| found.id == item.item) else { return Ok(None) };
        if found.price == item.price {
            continue;
        }
        if found.lookup_key.is_none() || found.lookup_key != item.lookup_key {
            return Ok(None);
        }
        is_replaced = true;
    }
    let single_writer = account::is_single_writer(connection)?;
    Ok(is_replaced.then_some((link, items, single_writer)))
}
