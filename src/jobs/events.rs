//! Take an event: keep it once, if it is about what is billed here. What it is about is read by [`super::look()`].

use std::sync::Arc;

use rusqlite::Connection;

use super::{Context, JobError, refresh};
use crate::account::{self, PendingEvent};
use crate::model::{BillingMeterId, Channel, Event, Subject, Timestamp};

/// The kind that a VM without a link may be linked by.
pub(super) const SUBSCRIPTION_CREATED: &str = "customer.subscription.created";

/// Takes it; true where something is to be read. When this returns, the event is on disk or comes to nothing.
pub async fn take_event(context: &Arc<Context>, event: Event) -> Result<bool, JobError> {
    let Some(subject) = event.subject else { return Ok(false) };
    let (now, asked) = (context.now(), event.clone());
    let may_link = context.settings().config.webhook.vm_id.is_some();
    // An account's endpoint is told of every customer's events: those of others cost a look, and no write.
    if !context.store.read(move |c| concerns(c, &asked, subject, may_link, now)).await? {
        return Ok(false);
    }
    let kept =
        PendingEvent { id: event.id, kind: event.kind, subject: subject.word().to_owned(), object: event.object };
    let (id, kind) = (kept.id.clone(), kept.kind.clone());
    let is_new = context.store.write(move |tx| account::take_event(tx, &kept, now)).await?;
    tracing::info!(event = id, kind, is_new, "an event was taken");
    Ok(is_new)
}

/// Whether it is about the customer, a subscription or a meter of this ledger.
fn concerns(
    connection: &Connection,
    event: &Event,
    subject: Subject,
    may_link: bool,
    now: Timestamp,
) -> Result<bool, JobError> {
    if subject == Subject::Meter {
        return is_metered(connection, &event.object, now);
    }
    if let Some(subscription) = &event.subscription {
        let ours = refresh::subscriptions(connection, now)?;
        let is_first = may_link && event.kind == SUBSCRIPTION_CREATED && account::latest(connection)?.is_none();
        return Ok(is_first || ours.iter().any(|one| one.as_str() == subscription));
    }
    let links = account::in_force_since(connection, now)?;
    Ok(links.iter().any(|link| Some(link.customer.as_str()) == event.customer.as_deref()))
}

fn is_metered(connection: &Connection, meter: &str, now: Timestamp) -> Result<bool, JobError> {
    let Ok(meter) = BillingMeterId::new(meter) else { return Ok(false) };
    for link in account::in_force_since(connection, now)? {
        let items = account::items_of(connection, link.id)?;
        if items.iter().any(|item| matches!(&item.channel, Channel::Meter(on) if on.id == meter)) {
            return Ok(true);
        }
    }
    Ok(false)
}
