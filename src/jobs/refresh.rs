//! Read the subscriptions: periods, prices, statuses, and the provider's clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Context, JobError, link, periods, stands, unseen};
use crate::account;
use crate::model::{SubscriptionId, Timestamp};
use crate::outbox::{self, Unseen};
use crate::provider::{Destination, Provider, SubscriptionView};

const UNREADABLE: &str = "subscription_unreadable";

/// Reads every subscription this ledger has to do with. The first call after a start (rule M5).
pub(super) async fn refresh(context: &Arc<Context>) -> Result<(), JobError> {
    if matches!(context.settings().provider, Provider::None) {
        return Ok(());
    }
    let generation = context.generation();
    let mut failed = None;
    let now = context.now();
    let wanted = context.store.read(move |c| subscriptions(c, now)).await?;
    context.clear_unless(UNREADABLE, |about| wanted.iter().any(|subscription| subscription.as_str() == about));
    for subscription in wanted {
        if let Err(error) = refresh_one(context, &subscription).await {
            // One subscription that cannot be read does not keep the others from being served.
            failed.get_or_insert(error);
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    context.note_subscriptions_read(generation.id, context.clock.read().boottime_us);
    context.keep_date().await
}

/// Those that are linked, also to a link that ends when another begins, and those with rows that are not finished.
pub(super) fn subscriptions(
    connection: &rusqlite::Connection,
    now: Timestamp,
) -> Result<BTreeSet<SubscriptionId>, JobError> {
    let mut found: BTreeSet<_> =
        outbox::unfinished(connection)?.into_iter().map(|record| record.subscription).collect();
    found.extend(account::in_force_since(connection, now)?.into_iter().map(|link| link.subscription));
    Ok(found)
}

async fn refresh_one(context: &Arc<Context>, subscription: &SubscriptionId) -> Result<(), JobError> {
    let answer = context.settings().provider.read_subscription(subscription).await;
    context.note_date(&answer);
    let view = match answer.value {
        Ok(view) => view,
        Err(error) => {
            let what = format!("the subscription {subscription} cannot be read: {error}");
            context.raise_about(subscription.as_str(), stands::unreadable(UNREADABLE, what, &error));
            return Err(error.into());
        }
    };
    context.clear_about(UNREADABLE, subscription.as_str());
    let (now, applied) = (context.now(), view.clone());
    let stretches = context
        .store
        .write(move |tx| {
            periods::apply(tx, &applied, now)?;
            unseen::unseen_on(tx, &applied.id)
        })
        .await?;
    link::follow(context, &view).await?;
    for stretch in stretches {
        fill(context, stretch, &view).await?;
    }
    Ok(())
}

async fn fill(context: &Arc<Context>, stretch: Unseen, view: &SubscriptionView) -> Result<(), JobError> {
    let wanted = stretch.clone();
    let linked = context.store.read(move |c| unseen::linked(c, &wanted)).await?;
    let Some((link, item)) = linked else { return Ok(()) };
    let of = Destination { item: item.item, customer: link.customer, channel: item.channel };
    let answer = context.settings().provider.read_periods(&of).await;
    context.note_date(&answer);
    let (listed, view, now) = (answer.value?, view.clone(), context.now());
    context.store.write(move |tx| unseen::fill(tx, &stretch, &view, &listed, now)).await
}
