//! By what means an item's totals are told, from its price and meter; and which of them cannot be billed exactly (S10).

use std::sync::Arc;

use super::super::{Context, JobError};
use crate::account::Item;
use crate::config::ProviderKind;
use crate::model::{BillingMeter, BillingMeterId, Channel, Formula, MICROS_PER_DAY, Meter, Report, Timestamp};
use crate::provider::{ItemView, MeterView, SubscriptionView};
use crate::wire::LinkRequest;

/// Gives each item its channel, or refuses with the setting that fixes it.
pub(super) async fn choose(
    context: &Arc<Context>,
    subscription: &SubscriptionView,
    billed: &mut [(Item, ItemView)],
    request: &LinkRequest,
) -> Result<(), JobError> {
    let settings = context.settings();
    for (item, view) in billed {
        refuse_twin(subscription, view)?;
        let meter = settings.config.meters.get(&item.meter);
        item.channel = channel(context, settings.config.provider.kind, view).await?;
        item.shared = request.shared;
        refuse_free_tier(meter, view)?;
        if request.shared {
            refuse_shared(meter, item, view)?;
        }
    }
    Ok(())
}

async fn channel(context: &Arc<Context>, kind: ProviderKind, view: &ItemView) -> Result<Channel, JobError> {
    match (kind, &view.meter) {
        (ProviderKind::LemonSqueezy, _) => {
            refuse_other_aggregations(view)?;
            Ok(Channel::CurrentUsage)
        }
        (ProviderKind::StripeMeters, Some(id)) => read_meter(context, view, id).await.map(Channel::Meter),
        (ProviderKind::StripeMeters, None) => Err(JobError::refused(
            "wrong_kind",
            format!("the price of {} is on no meter, so it takes usage records, not meter events", view.id),
            "write provider.kind = \"stripe-usage-records\" in usaged.toml, or move the item to a price on a meter",
        )),
        (_, Some(on)) => Err(JobError::refused(
            "wrong_kind",
            format!("the price of {} is on the meter {on}, which takes no usage records", view.id),
            "write provider.kind = \"stripe-meters\" in usaged.toml, or move the item to a metered price without a meter",
        )),
        (_, None) => {
            refuse_last_ever(view)?;
            Ok(Channel::UsageRecords)
        }
    }
}

/// What `set` means is documented for this aggregation alone.
/// <https://docs.lemonsqueezy.com/api/usage-records/create-usage-record>
fn refuse_other_aggregations(view: &ItemView) -> Result<(), JobError> {
    match view.aggregate_usage.as_deref() {
        Some("last_during_period") => Ok(()),
        other => Err(JobError::refused(
            "aggregation",
            format!(
                "the price of {} aggregates {}, on which a total cannot be set exactly (rule S10)",
                view.id,
                other.unwrap_or("nothing")
            ),
            "use the usage aggregation \"most recent usage during a period\"",
        )),
    }
}

/// Every event of a meter is billed on each item whose price is on it.
fn refuse_twin(subscription: &SubscriptionView, view: &ItemView) -> Result<(), JobError> {
    match subscription.twin_of(view) {
        Some(twin) => Err(JobError::refused(
            "meter_twice",
            format!(
                "the prices of {} and {} are on one meter, so each of its units is billed on both",
                view.id, twin.id
            ),
            "take one of the items off the subscription, then link again",
        )),
        None => Ok(()),
    }
}

fn refuse_last_ever(view: &ItemView) -> Result<(), JobError> {
    if view.aggregate_usage.as_deref() != Some("last_ever") {
        return Ok(());
    }
    let what = format!("the price of {} aggregates last_ever, which bills a quiet period again (rule S10)", view.id);
    Err(JobError::refused("last_ever", what, "use aggregate_usage=sum"))
}

async fn read_meter(context: &Arc<Context>, view: &ItemView, id: &BillingMeterId) -> Result<BillingMeter, JobError> {
    let answer = context.settings().provider.read_meter(id).await;
    context.note_date(&answer);
    let meter = answer.value?;
    let formula = formula(view, &meter)?;
    Ok(BillingMeter {
        id: meter.id,
        event_name: meter.event_name,
        customer_key: meter.customer_key,
        value_key: meter.value_key,
        formula,
    })
}

/// What totals can be set on exactly.
fn formula(view: &ItemView, meter: &MeterView) -> Result<Formula, JobError> {
    let refuse = |code, what: String, hint| Err(JobError::refused(code, what, hint));
    if !meter.is_active {
        let what = format!("the meter {} of {} is archived and takes no events", meter.id, view.id);
        return refuse(
            "meter_archived",
            what,
            "reactivate it in the Stripe dashboard, or use a price on another meter",
        );
    }
    match (meter.formula.as_str(), meter.window.as_deref()) {
        ("last", None) => Ok(Formula::Last),
        ("sum", None) => Ok(Formula::Sum),
        ("sum", Some("day")) if starts_days(view) => Ok(Formula::SumOfDays),
        ("sum", Some("day")) => refuse(
            "day_windows",
            format!(
                "the meter {} has day windows, and the periods of {} do not begin at 00:00 UTC: one day would count in \
                 two of them (rule S10)",
                meter.id, view.id
            ),
            "use a meter with the formula last, or a subscription whose billing cycle begins at 00:00 UTC",
        ),
        (formula, window) => refuse(
            "meter_formula",
            format!(
                "the meter {} has the formula {formula}{}, on which totals cannot be set exactly (rule S10)",
                meter.id,
                window.map_or_else(String::new, |window| format!(" with {window} windows"))
            ),
            "use a meter with the formula last; or sum, with day windows or none",
        ),
    }
}

fn starts_days(view: &ItemView) -> bool {
    let is_midnight = |at: Timestamp| at.micros().rem_euclid(MICROS_PER_DAY) == 0;
    is_midnight(view.period.from) && is_midnight(view.period.to)
}

/// A free first tier is the allowance already: taken off twice, the customer would be billed too little.
fn refuse_free_tier(meter: Option<&Meter>, view: &ItemView) -> Result<(), JobError> {
    match meter {
        Some(meter) if view.has_free_tier && meter.report != Report::Gross => Err(JobError::refused(
            "free_tier",
            format!(
                "the price of {} has a free first tier, and {} is reported above its allowance",
                view.id, meter.name
            ),
            format!(
                "write report = \"gross\" for the meter {} in usaged.toml, or use a price without tiers",
                meter.name
            ),
        )),
        _ => Ok(()),
    }
}

/// Rule S10: VMs add up only where each adds its own whole usage and the allowance is taken off at the provider.
fn refuse_shared(meter: Option<&Meter>, item: &Item, view: &ItemView) -> Result<(), JobError> {
    let is_gross = meter.is_some_and(|meter| meter.report == Report::Gross);
    if item.channel.formula() == Some(Formula::Sum) && is_gross && view.has_free_tier {
        return Ok(());
    }
    Err(JobError::refused(
        "cannot_share",
        format!("{} cannot be shared by several VMs: each would set its own total (rule S10)", view.id),
        "sharing needs a meter with the formula sum and no windows, report = \"gross\", and a price whose first tier is \
         free; otherwise give each VM its own item or customer",
    ))
}
