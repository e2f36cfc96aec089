//! Link: bind this VM to a subscription, after everything that could make a wrong bill was looked at.

mod begin;
mod channel;
pub(super) mod claim;
mod follow;
mod plan;
mod segment;
mod standing;
mod subscription;

use std::sync::Arc;

pub(super) use follow::follow;

use super::{Context, JobError, periods};
use crate::account::{self, Item, NewLink};
use crate::model::{CustomerId, ItemId, Span, SubscriptionId};
use crate::outbox::{At, Stands};
use crate::provider::Provider;
use crate::wire::{LinkReport, LinkRequest, LinkedItem, SCHEMA};

/// An item that passed, with what stands on it now.
struct Checked {
    item: Item,
    period: Span,
    stands: Stands,
}

/// Reads the subscription, checks everything, and links. `actor` is who asked, as `uid:0`.
pub async fn link(context: &Arc<Context>, request: &LinkRequest, actor: &str) -> Result<LinkReport, JobError> {
    let settings = context.settings();
    if matches!(settings.provider, Provider::None) {
        return Err(JobError::refused(
            "no_provider",
            "no billing provider is in force: it is not configured, or its key is missing",
            "set provider.kind in usaged.toml and give it a key (man usaged), then: sudo systemctl restart usaged",
        ));
    }
    if context.identity_changed() {
        return Err(JobError::refused(
            "identity_changed",
            "this ledger belongs to another machine",
            "usagectl doctor says what to do",
        ));
    }
    let _one_at_a_time = context.pushing.lock().await;
    bind(context, request, actor, Unclear::IsHeld).await
}

/// What becomes of a period of which it cannot be told what is billed already (rule R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unclear {
    /// It is linked, and held.
    IsHeld,
    /// It is not linked.
    IsRefused,
}

/// Links, while nothing else is pushed.
async fn bind(
    context: &Arc<Context>,
    request: &LinkRequest,
    actor: &str,
    unclear: Unclear,
) -> Result<LinkReport, JobError> {
    let settings = context.settings();
    let (customer, subscription) = ids(request)?;
    let answer = settings.provider.read_subscription(&subscription).await;
    context.note_date(&answer);
    let view = answer.value?;
    subscription::check_subscription(&view, &customer)?;
    let plan = plan::choose_plan(&settings.config, request, &view)?;
    let plan::Choice { mut billed, not_billed } = plan::choose_items(&settings.config, plan, request, &view)?;
    channel::choose(context, &view, &mut billed, request).await?;
    let checked = standing::check_items(context, &customer, billed, request).await?;
    subscription::check_months(settings.config.provider.periods, &checked, &view)?;
    let period = subscription::common_period(&checked, &view)?;
    let now = context.now();
    let from = subscription::start(request, period, now)?;
    let identity_since = context.store.read(account::identity_since).await?;
    subscription::refuse_anothers(from, identity_since)?;
    let new = NewLink {
        customer: customer.clone(),
        subscription: subscription.clone(),
        plan: plan.name.clone(),
        from,
        made_by: actor.to_owned(),
        single_writer: request.single_writer,
        follows: plan::told(&settings.config, &view).is_some_and(|told| told.name == plan.name),
        items: checked.iter().map(|checked| checked.item.clone()).collect(),
    };
    let linked = checked.iter().map(linked_item).collect();
    let report = LinkReport {
        schema: SCHEMA,
        customer: customer.to_string(),
        subscription: subscription.to_string(),
        plan: plan.name.to_string(),
        from: from.to_string(),
        period_from: period.from.to_string(),
        period_to: period.to.to_string(),
        items: linked,
        not_billed,
    };
    let changes = segment::look(context, &customer, &view, &checked).await?;
    if unclear == Unclear::IsRefused {
        segment::refuse_unclear(&changes)?;
    }
    let billable = periods::is_billable(&view);
    let provider_now = context.provider_now(context.clock.read()).unwrap_or(now);
    let at = At { now, provider_now };
    let terms = begin::Terms { billable, on_top: request.on_top, generation: context.generation(), at };
    let to_claim: Vec<ItemId> = checked.iter().map(|checked| checked.item.item.clone()).collect();
    context
        .store
        .write(move |tx| {
            periods::note_read(tx, &view, now)?;
            begin::begin(tx, &new, &checked, &changes, &terms)
        })
        .await?;
    claim::claim(context, &to_claim).await?;
    tracing::info!(%customer, %subscription, plan = %report.plan, from = %report.from, "linked");
    Ok(report)
}

fn linked_item(checked: &Checked) -> LinkedItem {
    LinkedItem {
        meter: checked.item.meter.to_string(),
        item: checked.item.item.to_string(),
        price: checked.item.price.to_string(),
        lookup_key: checked.item.lookup_key.clone(),
        channel: checked.item.channel.words().to_owned(),
        stands: u64::try_from(checked.stands.total).unwrap_or(0),
    }
}

fn ids(request: &LinkRequest) -> Result<(CustomerId, SubscriptionId), JobError> {
    let bad = |error: crate::model::NameError| {
        JobError::refused("bad_id", error.to_string(), "copy it from the provider's dashboard")
    };
    Ok((CustomerId::new(&*request.customer).map_err(bad)?, SubscriptionId::new(&*request.subscription).map_err(bad)?))
}
