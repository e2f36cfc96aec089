//! Rule R5: what the operator changes on the subscription is gone on with by itself, where that is clear: a price that was
//! replaced under the same lookup key, or another plan's prices in place of one plan's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Context, JobError};
use super::{Unclear, bind, plan};
use crate::account::{self, Item, Link};
use crate::model::{Problem, Timestamp};
use crate::provider::SubscriptionView;
use crate::wire::LinkRequest;

const NOT_FOLLOWED: &str = "plan_not_followed";

/// Links again where it is clear by what plan, on which items, and what is billed already. Else it stays as it is.
pub(in crate::jobs) async fn follow(context: &Arc<Context>, view: &SubscriptionView) -> Result<(), JobError> {
    if context.identity_changed() {
        return Ok(());
    }
    follow_plan(context, view).await?;
    follow_prices(context, view).await
}

/// Another plan's base price is on the subscription now, and its own was when it was linked.
async fn follow_plan(context: &Arc<Context>, view: &SubscriptionView) -> Result<(), JobError> {
    let settings = context.settings();
    let (id, now) = (view.id.clone(), context.now());
    let found = context.store.read(move |c| {
        let link = account::in_force(c)?.filter(|link| link.subscription == id && link.from <= now);
        let follows = account::follows_items(c)? && link.is_some();
        let items = link.as_ref().map_or(Ok(Vec::new()), |link| account::items_of(c, link.id))?;
        let single_writer = account::is_single_writer(c)?;
        Ok::<_, JobError>(link.filter(|_| follows).map(|link| (link, items, single_writer)))
    });
    let Some((link, items, single_writer)) = found.await? else {
        context.clear(NOT_FOLLOWED);
        return Ok(());
    };
    let told = plan::told(&settings.config, view).filter(|told| told.name != link.plan);
    let Some(told) = told else {
        context.clear(NOT_FOLLOWED);
        return Ok(());
    };
    let request = LinkRequest { items: BTreeMap::new(), ..again(&link, &items, single_writer, told.name.as_str()) };
    match bind(context, &request, "usaged", Unclear::IsRefused).await {
        Ok(_) => context.clear(NOT_FOLLOWED),
        Err(JobError::Refused { what, hint, .. }) => context.raise(Problem::needs_someone(
            NOT_FOLLOWED,
            format!("the subscription {} tells the plan {}, it is billed by {}: {what}", view.id, told.name, link.plan),
            hint,
        )),
        // It is tried again when the subscription is read again.
        Err(JobError::Provider(error)) => {
            tracing::warn!(subscription = %view.id, "its plan is not followed yet: {error}");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The same link, by this plan.
fn again(link: &Link, items: &[Item], single_writer: bool, plan: &str) -> LinkRequest {
    LinkRequest {
        customer: link.customer.to_string(),
        subscription: link.subscription.to_string(),
        plan: Some(plan.to_owned()),
        items: items.iter().map(|item| (item.meter.to_string(), item.item.to_string())).collect(),
        single_writer,
        shared: items.iter().any(|item| item.shared),
        ..LinkRequest::default()
    }
}

/// A price was replaced, and nothing else is new.
async fn follow_prices(context: &Arc<Context>, view: &SubscriptionView) -> Result<(), JobError> {
    let (seen, now) = (view.clone(), context.now());
    let found = context.store.read(move |c| replaced(c, &seen, now)).await?;
    let Some((link, items, single_writer)) = found else { return Ok(()) };
    let request = again(&link, &items, single_writer, link.plan.as_str());
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
