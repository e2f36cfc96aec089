//! Which plan it is, and which item bills which of its meters.

use super::super::JobError;
use super::subscription::thresholds;
use crate::account::Item;
use crate::config::Config;
use crate::model::{Channel, Included, MeterName, Plan, PlanName};
use crate::provider::{ItemView, SubscriptionView};
use crate::wire::LinkRequest;

/// The plan that was named, or the one whose price names the subscription's items carry.
pub(super) fn choose_plan<'c>(
    config: &'c Config,
    request: &LinkRequest,
    view: &SubscriptionView,
) -> Result<&'c Plan, JobError> {
    if let Some(name) = &request.plan {
        let known = || config.plans.keys().map(PlanName::as_str).collect::<Vec<_>>().join(", ");
        return PlanName::new(&**name).ok().and_then(|name| config.plans.get(&name)).ok_or_else(|| {
            JobError::refused("unknown_plan", format!("there is no plan {name:?}"), format!("known plans: {}", known()))
        });
    }
    told(config, view).ok_or_else(|| {
        JobError::refused(
            "plan_unclear",
            format!("the items of {} do not tell which plan it is", view.id),
            "name it: usagectl link … --plan NAME",
        )
    })
}

/// The plan whose price names the subscription's items carry, if that is one.
pub(super) fn told<'c>(config: &'c Config, view: &SubscriptionView) -> Option<&'c Plan> {
    let carries = |key: &str| view.items.iter().any(|item| item.lookup_key.as_deref() == Some(key));
    let base = |plan: &&Plan| plan.monthly.iter().chain(&plan.annual).any(|price| carries(&price.price));
    let mut matching = config.plans.values().filter(base);
    match (matching.next(), matching.next()) {
        (Some(plan), None) => Some(plan),
        _ => None,
    }
}

/// Which meters are billed on which items.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) billed: Vec<(Item, ItemView)>,
    /// What is only measured, with the reason.
    pub(super) not_billed: Vec<String>,
}

/// Pairs the plan's meters with the subscription's items.
pub(super) fn choose_items(
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
        channel: Channel::UsageRecords,
        shared: false,
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
