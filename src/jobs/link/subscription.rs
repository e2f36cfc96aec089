//! What a subscription must be to be billed on.

use super::super::{JobError, calendar};
use super::Checked;
use crate::config::Periods;
use crate::model::{CustomerId, Span, Timestamp};
use crate::provider::SubscriptionView;
use crate::wire::LinkRequest;

pub(super) fn check_subscription(view: &SubscriptionView, customer: &CustomerId) -> Result<(), JobError> {
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

pub(super) fn thresholds(on: &str) -> JobError {
    JobError::refused(
        "billing_thresholds",
        format!("{on} has billing thresholds, and then the provider refuses to set totals (rule S10)"),
        "remove the billing thresholds, or bill on an item without them",
    )
}

/// Items of one classic subscription share their period; a link over several could not say when it begins.
pub(super) fn common_period(checked: &[Checked], view: &SubscriptionView) -> Result<Span, JobError> {
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

/// Rule R2: where UTC months are asked for, nothing else is linked.
pub(super) fn check_months(asked: Periods, checked: &[Checked], view: &SubscriptionView) -> Result<(), JobError> {
    if asked != Periods::UtcMonths {
        return Ok(());
    }
    for Checked { item, period, .. } in checked {
        let found = view.items.iter().find(|found| found.id == item.item);
        if !calendar::are_utc_months(*period, found.and_then(|found| found.interval)) {
            return Err(JobError::refused(
                "not_utc_months",
                format!(
                    "the periods of {} are not UTC months: the current one is {} to {}",
                    item.item, period.from, period.to
                ),
                "subscribe with billing_cycle_anchor_config: day_of_month 1, hour, minute and second 0; or write \
                 provider.periods = \"provider\" in usaged.toml, to bill the periods as they are",
            ));
        }
    }
    Ok(())
}

/// Rule R1: billing starts now, or at a moment inside the current period.
pub(super) fn start(request: &LinkRequest, period: Span, now: Timestamp) -> Result<Timestamp, JobError> {
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

/// Rules R1 and S11: what this disk's ledger measured on another machine is not this VM's usage.
pub(super) fn refuse_anothers(from: Timestamp, identity_since: Option<Timestamp>) -> Result<(), JobError> {
    match identity_since {
        Some(since) if from < since => Err(JobError::refused(
            "from_another_machine",
            format!("until {since} this ledger was another machine's (rule S11)"),
            "leave --from out to start now",
        )),
        _ => Ok(()),
    }
}
