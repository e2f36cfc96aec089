//! Link: bind this VM to a subscription, after everything that could make a wrong bill was looked at.

use std::sync::Arc;

use serde_json::{Value, json};

use super::periods;
use super::{Context, JobError};
use crate::account::{self, Item, NewLink};
use crate::config::Config;
use crate::ledger;
use crate::model::{CustomerId, Included, ItemId, MeterName, Plan, PlanName, Problem, Span, SubscriptionId, Timestamp};
use crate::outbox::{self, Generation, Held};
use crate::provider::{ItemView, Outcome, Provider, RefusalKind, SubscriptionView};
use crate::store::{self, Tx};
use crate::wire::{LinkReport, LinkRequest, LinkedItem, SCHEMA};

/// An item that passed, with what stands on it now.
struct Checked {
    item: Item,
    period: Span,
    stands: i64,
}

/// Reads the subscription, checks everything, and links. `actor` is who asked, as `uid:0`.
pub async fn link(context: &Arc<Context>, request: &LinkRequest, actor: &str) -> Result<LinkReport, JobError> {
    let settings = context.settings();
    if matches!(settings.provider, Provider::None) {
        return Err(JobError::refused(
            "no_provider",
            "no billing provider is in force: it is not configured, or its key is missing",
            "set provider.kind and a key in usaged.toml, then: systemctl reload usaged",
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
    let (customer, subscription) = ids(request)?;
    let answer = settings.provider.read_subscription(&subscription).await;
    context.note_date(&answer);
    let view = answer.value?;
    check_subscription(&view, &customer)?;
    let plan = choose_plan(&settings.config, request, &view)?;
    let Choice { billed, not_billed } = choose_items(&settings.config, plan, request, &view)?;
    let checked = check_items(context, billed, request).await?;
    let period = common_period(&checked, &view)?;
    let now = context.now();
    let from = start(request, period, now)?;
    let new = NewLink {
        customer: customer.clone(),
        subscription: subscription.clone(),
        plan: plan.name.clone(),
        from,
        made_by: actor.to_owned(),
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
    let billable = periods::is_billable(&view);
    let (generation, on_top) = (context.generation(), request.on_top);
    let to_claim: Vec<ItemId> = checked.iter().map(|checked| checked.item.item.clone()).collect();
    context.store.write(move |tx| begin(tx, &new, &checked, billable, on_top, &generation, now)).await?;
    claim(context, &to_claim).await?;
    tracing::info!(%customer, %subscription, plan = %report.plan, from = %report.from, "linked");
    Ok(report)
}

fn linked_item(checked: &Checked) -> LinkedItem {
    LinkedItem {
        meter: checked.item.meter.to_string(),
        item: checked.item.item.to_string(),
        price: checked.item.price.to_string(),
        lookup_key: checked.item.lookup_key.clone(),
        stands: u64::try_from(checked.stands).unwrap_or(0),
    }
}

fn ids(request: &LinkRequest) -> Result<(CustomerId, SubscriptionId), JobError> {
    let bad = |error: crate::model::NameError| {
        JobError::refused("bad_id", error.to_string(), "copy it from the provider's dashboard")
    };
    Ok((CustomerId::new(&*request.customer).map_err(bad)?, SubscriptionId::new(&*request.subscription).map_err(bad)?))
}

fn check_subscription(view: &SubscriptionView, customer: &CustomerId) -> Result<(), JobError> {
    if view.customer != *customer {
        return Err(JobError::refused(
            "wrong_customer",
            format!("the subscription {} belongs to {}, not to {customer}", view.id, view.customer),
            "check both ids",
        ));
    }
    if !matches!(view.status.as_str(), "active" | "trialing" | "past_due") {
        return Err(JobError::refused(
            "subscription_not_active",
            format!("the subscription {} is {}", view.id, view.status),
            "link a subscription that is active, trialing or past_due",
        ));
    }
    if view.has_billing_thresholds {
        return Err(thresholds(view.id.as_str()));
    }
    Ok(())
}

fn thresholds(on: &str) -> JobError {
    JobError::refused(
        "billing_thresholds",
        format!("{on} has billing thresholds, and then the provider refuses to set totals (rule S10)"),
        "remove the billing thresholds, or bill on an item without them",
    )
}

/// The plan that was named, or the one whose price names the subscription's items carry.
fn choose_plan<'c>(config: &'c Config, request: &LinkRequest, view: &SubscriptionView) -> Result<&'c Plan, JobError> {
    if let Some(name) = &request.plan {
        let known = || config.plans.keys().map(PlanName::as_str).collect::<Vec<_>>().join(", ");
        return PlanName::new(&**name).ok().and_then(|name| config.plans.get(&name)).ok_or_else(|| {
            JobError::refused("unknown_plan", format!("there is no plan {name:?}"), format!("known plans: {}", known()))
        });
    }
    let carries = |key: &str| view.items.iter().any(|item| item.lookup_key.as_deref() == Some(key));
    let base = |plan: &&Plan| plan.monthly.iter().chain(&plan.annual).any(|price| carries(&price.price));
    let mut matching = config.plans.values().filter(base);
    match (matching.next(), matching.next()) {
        (Some(plan), None) => Ok(plan),
        _ => Err(JobError::refused(
            "plan_unclear",
            format!("the items of {} do not tell which plan it is", view.id),
            "name it: usagectl link … --plan NAME",
        )),
    }
}

/// Which meters are billed on which items.
#[derive(Default)]
struct Choice {
    billed: Vec<(Item, ItemView)>,
    /// What is only measured, with the reason.
    not_billed: Vec<String>,
}

/// Pairs the plan's meters with the subscription's items.
fn choose_items(
    config: &Config,
    plan: &Plan,
    request: &LinkRequest,
    view: &SubscriptionView,
) -> Result<Choice, JobError> {
    let mut choice = Choice::default();
    for meter in config.meters.keys() {
        let Some(terms) = plan.meters.get(meter) else {
            choice.not_billed.push(format!("{meter}: the plan {} does not mention it", plan.name));
            continue;
        };
        match terms.included {
            Some(Included::Unlimited) => {
                choice.not_billed.push(format!("{meter}: unlimited in the plan {}", plan.name));
                continue;
            }
            None => {
                return Err(JobError::refused(
                    "plan_not_ready",
                    format!("the plan {} does not state how much {meter} it includes", plan.name),
                    format!(
                        "write it in usaged.toml: [plans.{}] included = {{ {meter} = N }}, then: systemctl reload usaged",
                        plan.name
                    ),
                ));
            }
            Some(Included::Units(_)) => {}
        }
        let found = find_item(meter, terms.price.as_deref(), request, view)?;
        check_item(plan, meter, found)?;
        choice.billed.push((new_item(meter, found), found.clone()));
    }
    Ok(choice)
}

fn new_item(meter: &MeterName, found: &ItemView) -> Item {
    Item {
        meter: meter.clone(),
        item: found.id.clone(),
        price: found.price.clone(),
        lookup_key: found.lookup_key.clone(),
        unit_amount: found.unit_amount,
        currency: found.currency.clone(),
        created_s: found.created_s,
    }
}

fn find_item<'v>(
    meter: &MeterName,
    price: Option<&str>,
    request: &LinkRequest,
    view: &'v SubscriptionView,
) -> Result<&'v ItemView, JobError> {
    let named = request.items.get(meter.as_str());
    let found = match named {
        Some(id) => view.items.iter().find(|item| item.id.as_str() == id),
        None => view.items.iter().find(|item| price.is_some() && item.lookup_key.as_deref() == price),
    };
    found.ok_or_else(|| {
        let what = match (named, price) {
            (Some(id), _) => format!("the subscription {} has no item {id} for {meter}", view.id),
            (None, Some(price)) => {
                format!("no item of {} has the price {price} that the plan names for {meter}", view.id)
            }
            (None, None) => format!("the plan names no price for {meter}"),
        };
        JobError::refused("item_not_found", what, format!("name the item: usagectl link … --item {meter}=si_…"))
    })
}

fn check_item(plan: &Plan, meter: &MeterName, item: &ItemView) -> Result<(), JobError> {
    let refuse = |code, what: String, hint: &str| Err(JobError::refused(code, what, hint));
    if !item.metered {
        let what = format!("the item {} for {meter} has a licensed price, not a metered one", item.id);
        return refuse("not_metered", what, "use a price with usage_type=metered");
    }
    if let Some(on) = &item.meter {
        let what = format!("the price of {} is on the meter {on}, which takes no usage records", item.id);
        return refuse("wrong_kind", what, "use a metered price without a meter; meters are not offered yet");
    }
    if item.aggregate_usage.as_deref() == Some("last_ever") {
        let what =
            format!("the price of {} aggregates last_ever, which bills a quiet period again (rule S10)", item.id);
        return refuse("last_ever", what, "use aggregate_usage=sum");
    }
    if item.has_billing_thresholds {
        return Err(thresholds(item.id.as_str()));
    }
    if item.currency != plan.currency {
        let what =
            format!("the price of {} is in {}, the plan {} in {}", item.id, item.currency, plan.name, plan.currency);
        return refuse("wrong_currency", what, "correct the plan's currency or the item's price");
    }
    Ok(())
}

/// Rules S4 and S10: nobody else may be billing on these items, unless the operator says what to do about it.
async fn check_items(
    context: &Arc<Context>,
    items: Vec<(Item, ItemView)>,
    request: &LinkRequest,
) -> Result<Vec<Checked>, JobError> {
    let mut checked = Vec::new();
    for (item, view) in items {
        check_claim(context, &view)?;
        let answer = context.settings().provider.read_summaries(&item.item).await;
        context.note_date(&answer);
        let current = answer.value?.into_iter().find(|summary| summary.invoice.is_none());
        let stands = current.map_or(0, |summary| i64::try_from(summary.total).unwrap_or(i64::MAX));
        let (id, from) = (item.item.clone(), view.period.from);
        let known = context.store.read(move |c| outbox::known_standing(c, &id, from)).await?;
        if stands > 0 && known.is_none() && !request.on_top && !request.from_next_period {
            return Err(JobError::refused(
                "something_stands",
                format!(
                    "{stands} units stand on {} in this period already, and this VM did not put them there",
                    item.item
                ),
                "an item belongs to one VM: give this VM its own item or customer; or bill on top of what stands \
                 (--on-top); or begin with the next period (--from-next-period)",
            ));
        }
        checked.push(Checked { item, period: view.period, stands });
    }
    Ok(checked)
}

fn check_claim(context: &Context, view: &ItemView) -> Result<(), JobError> {
    match (&view.claim, context.machine.machine_id()) {
        (Some(claim), machine) if machine.as_deref() != Some(claim.as_str()) => Err(JobError::refused(
            "claimed",
            format!("the item {} is claimed by another machine, {claim} (rule S10)", view.id),
            "give this VM its own item or customer; or, if that machine is gone, remove the item's metadata usaged_machine",
        )),
        _ => Ok(()),
    }
}

/// Items of one classic subscription share their period; a link over several could not say when it begins.
fn common_period(checked: &[Checked], view: &SubscriptionView) -> Result<Span, JobError> {
    let mut periods = checked.iter().map(|checked| checked.period);
    let first = periods.next().or_else(|| view.items.first().map(|item| item.period));
    match first {
        Some(first) if periods.all(|period| period == first) => Ok(first),
        Some(_) => Err(JobError::refused(
            "periods_differ",
            format!("the metered items of {} have different periods", view.id),
            "put the metered items on one subscription with one interval",
        )),
        None => Err(JobError::refused(
            "no_items",
            format!("the subscription {} has no items", view.id),
            "add its items first",
        )),
    }
}

/// Rule R1: billing starts now, or at a moment inside the current period.
fn start(request: &LinkRequest, period: Span, now: Timestamp) -> Result<Timestamp, JobError> {
    if request.from_next_period {
        return Ok(period.to);
    }
    let Some(text) = &request.from else { return Ok(now) };
    let from =
        Timestamp::parse(text).map_err(|error| JobError::refused("bad_time", error.to_string(), "use RFC 3339"))?;
    if from < period.from || from > now {
        return Err(JobError::refused(
            "from_outside_period",
            format!("billing cannot start at {from}: it may start between {} and now (rule R1)", period.from),
            "leave --from out to start now",
        ));
    }
    Ok(from)
}

fn begin(
    tx: &Tx<'_>,
    new: &NewLink,
    checked: &[Checked],
    billable: bool,
    on_top: bool,
    generation: &Generation,
    now: Timestamp,
) -> Result<(), JobError> {
    refuse_overlap(tx, new, now)?;
    let link = account::begin(tx, new, now)?;
    ledger::boundaries::note(tx, link.from, "link")?;
    for checked in checked {
        ledger::boundaries::note(tx, checked.period.from, "period")?;
        ledger::boundaries::note(tx, checked.period.to, "period")?;
        if link.from >= checked.period.to {
            continue;
        }
        let segment = other_item_in_period(tx, new, checked)?;
        let id = outbox::ensure(tx, &periods::new_record(&link, &checked.item, checked.period, billable))?;
        if outbox::by_id(tx, id)?.price != checked.item.price {
            let what = format!("the price of {} changed inside the period", checked.item.item);
            outbox::hold(tx, id, &Held::Segment { what }, now)?;
        }
        if let Some(other) = segment {
            let what = format!("{} was billed on {other} before, in the same period", checked.item.meter);
            outbox::hold(tx, id, &Held::Segment { what }, now)?;
        }
        // What this ledger knows already is compared by the read before the next push (rule S5).
        let unread = outbox::by_id(tx, id)?.standing.is_none();
        if unread && (on_top || checked.stands == 0) {
            outbox::note_first_read(tx, id, checked.stands, generation, now)?;
        }
    }
    Ok(())
}

/// Rule R1: no moment belongs to two links, and another customer's usage never moves.
fn refuse_overlap(tx: &Tx<'_>, new: &NewLink, now: Timestamp) -> Result<(), JobError> {
    for link in account::all(tx)? {
        let end = match link.to {
            Some(to) if link.from < to => to,
            None if link.customer != new.customer && link.from < now => now,
            _ => continue,
        };
        if new.from < end {
            return Err(JobError::refused(
                "overlaps",
                format!("until {end} this VM was linked to {} on {}", link.customer, link.subscription),
                "leave --from out to start now",
            ));
        }
    }
    Ok(())
}

/// Rule R5: the same meter of the same customer, billed on another item in a period that overlaps this one.
fn other_item_in_period(tx: &Tx<'_>, new: &NewLink, checked: &Checked) -> Result<Option<ItemId>, JobError> {
    let same = |record: &outbox::UsageRecord| {
        record.customer == new.customer
            && record.meter == checked.item.meter
            && record.item != checked.item.item
            && record.period.overlap(checked.period).is_some()
    };
    Ok(outbox::unfinished(tx)?.into_iter().find(same).map(|record| record.item))
}

/// Rule S10's claim. A key that may not write it is fine: then only usage tells two VMs apart.
async fn claim(context: &Arc<Context>, items: &[ItemId]) -> Result<(), JobError> {
    let Some(machine) = context.machine.machine_id() else { return Ok(()) };
    for item in items {
        let key = format!("claim:{item}:{machine}:{}", context.generation().token);
        audit(context, "claim.sent", item, json!({"machine": machine, "key": key})).await?;
        let answer = context.settings().provider.claim_item(item, &machine, &key).await;
        let said = match answer.value {
            Outcome::Accepted => None,
            Outcome::Refused(why) | Outcome::Unavailable { why, .. } | Outcome::Unknown { why, .. } => Some(why),
        };
        let error = said.as_ref().map(|why| why.message.clone());
        audit(context, "claim.answered", item, json!({"request_id": answer.request_id, "error": error})).await?;
        match said {
            Some(why) if why.kind != RefusalKind::NotPermitted => context.raise(Problem::note(
                "claim_not_written",
                format!("{item} was not marked as this VM's: {}", why.message),
                "nothing to do if no other VM is linked to it",
            )),
            // An agent's restricted key need not be allowed to write it.
            _ => context.clear("claim_not_written"),
        }
    }
    Ok(())
}

async fn audit(context: &Context, action: &'static str, item: &ItemId, detail: Value) -> Result<(), JobError> {
    let (item, now) = (item.clone(), context.now());
    context.store.write(move |tx| store::audit::append(tx, now, "usaged", action, item.as_str(), &detail)).await?;
    Ok(())
}
