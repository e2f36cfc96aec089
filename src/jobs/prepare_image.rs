//! Prepare image: unlink this VM and set its ledger aside, so that each copy of the disk starts as a VM of its own
//! (rule S11).

use std::sync::Arc;

use super::deliver::Which;
use super::drain::close_intake;
use super::link::claim;
use super::{Context, JobError, push, unsent};
use crate::account::{self, Item, Link};
use crate::ledger::boundaries;
use crate::provider::Provider;
use crate::store::Tx;
use crate::wire::{PrepareImageReport, PrepareImageRequest, SCHEMA};

/// Sends what can be sent, then unlinks and marks the ledger to be set aside. Refuses while something is unsent, unless
/// the operator says why it may stay so. Nothing is recorded meanwhile: it would be left behind.
pub async fn prepare_image(
    context: &Arc<Context>,
    request: &PrepareImageRequest,
    actor: &str,
) -> Result<PrepareImageReport, JobError> {
    let draining = close_intake(context).await?;
    let prepared = leave(context, request, actor).await;
    // From here on it is closed because the ledger is set aside, or open again.
    drop(draining);
    prepared
}

async fn leave(
    context: &Arc<Context>,
    request: &PrepareImageRequest,
    actor: &str,
) -> Result<PrepareImageReport, JobError> {
    let bills = !matches!(context.settings().provider, Provider::None);
    let mut pushed = Ok(());
    let mut unsent = context.store.read(unsent::unsent).await?;
    // The first answer may bring the time by which the second places what was waiting for it.
    for _ in 0..if bills { 2 } else { 0 } {
        pushed = push::push(context, "prepare-image", Which::Now).await.map(|_| ());
        unsent = context.store.read(unsent::unsent).await?;
        if unsent.is_empty() {
            break;
        }
    }
    if request.because.is_none() && !unsent.is_empty() {
        let failed = pushed.err().map_or_else(String::new, |error| format!(" (the push failed: {error})"));
        return Err(JobError::refused(
            "unsent",
            format!("the provider does not have everything yet{failed}: {}", unsent.join("; ")),
            "usagectl sync --commit sends it; or leave it in the ledger that is set aside, and say --because why",
        ));
    }
    let link = context.store.read(linked).await?;
    let because = request.because.clone().unwrap_or_else(|| "an image is made of this disk".to_owned());
    let (actor_too, now) = (actor.to_owned(), context.now());
    let unlink = move |tx: &Tx<'_>| {
        account::end(tx, &actor_too, now)?;
        Ok(boundaries::note(tx, now, "link")?)
    };
    // Not beside a push, which would take the end of the link for a fall.
    let pushing = context.pushing.lock().await;
    let set_aside = context.set_aside("prepare_image", because, actor.to_owned(), unlink).await?;
    drop(pushing);
    // Only now: should this be cut off, the items stay marked, and others are refused until somebody looks.
    let still_claimed = match &link {
        // A copy that has not been told so yet does not touch its original's.
        // What fails now changes nothing: the ledger is marked, and the daemon goes.
        Some((_, items)) if !context.identity_changed() => {
            claim::release(context, items).await.unwrap_or_else(|error| vec![error.to_string()])
        }
        _ => Vec::new(),
    };
    let unlinked = link.map(|(link, _)| link.subscription.to_string());
    Ok(PrepareImageReport { schema: SCHEMA, unlinked, unsent, still_claimed, set_aside })
}

fn linked(connection: &rusqlite::Connection) -> Result<Option<(Link, Vec<Item>)>, JobError> {
    let Some(link) = account::in_force(connection)? else { return Ok(None) };
    let items = account::items_of(connection, link.id)?;
    Ok(Some((link, items)))
}
