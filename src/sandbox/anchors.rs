//! An anchor that is set to now: the open period is cut short, and its end is not where it was said to be.

use serde_json::Value;

use super::behaviour::{self, ResetUsage};
use super::billing;
use super::books;
use super::call::Call;
use super::collection;
use super::errors::ApiError;
use super::item_periods;
use super::items;
use super::lines::{self, Line, Stretch};
use super::payments;
use super::subscribe::PRORATION_BEHAVIORS;
use super::subscriptions::{self, Status, Subscription};
use super::usage_records;

/// Applies `billing_cycle_anchor`, which names now or nothing to do. From endive on it is an object.
pub(super) fn update(call: &Call<'_>, subscription: &mut Subscription) -> Result<(), ApiError> {
    let name = if call.version.is_endive() { "billing_cycle_anchor[type]" } else { "billing_cycle_anchor" };
    for other in ["billing_cycle_anchor", "billing_cycle_anchor[type]"] {
        if other != name && call.form.raw(other).is_some() {
            return Err(ApiError::uncoded(other, format!("This API version takes {name}.")));
        }
    }
    if call.form.word(name, &["now", "unchanged"])? == Some("now") {
        reset(call, subscription)?;
    }
    Ok(())
}

/// Ends the open period now, and begins a whole one. One invoice carries the usage, what is given back for the rest of
/// the old period, and the new one in advance; it is collected at once.
pub(super) fn reset(call: &Call<'_>, subscription: &mut Subscription) -> Result<(), ApiError> {
    if subscription.status == Status::Incomplete {
        return Err(ApiError::refused("The billing cycle anchor of an incomplete subscription cannot be reset."));
    }
    let (books, now) = (call.books, call.now);
    let cut = Stretch { start: subscription.period_start, end: now };
    let gives_back = call.form.word("proration_behavior", &PRORATION_BEHAVIORS)? != Some("none")
        && subscription.status != Status::Trialing;
    let bills_usage = behaviour::of(books)?.reset == ResetUsage::Billed;
    let mut all: Vec<Line> = subscription.pending.drain(..).collect();
    let mut metered = Vec::new();
    for item in items::live(books, &subscription.id)? {
        let seen = subscription.seen_by(&item);
        let so_far = Stretch { start: seen.period_start, end: now };
        let line = lines::in_arrears(books, &seen, &item, so_far, None)?.filter(|_| bills_usage);
        all.extend(line.clone());
        metered.extend(line);
        if gives_back {
            all.extend(lines::proration(books, &seen, &item, -1, now)?);
        }
    }
    if subscription.status == Status::Trialing {
        (subscription.status, subscription.trial_end) = (Status::Active, Some(now));
    }
    item_periods::restart(books, subscription, now)?;
    for item in items::live(books, &subscription.id)? {
        let seen = subscription.seen_by(&item);
        all.extend(lines::in_advance(books, &seen, &item, seen.period())?);
    }
    let mut invoice = billing::promised(subscription, "subscription_update", cut, all, now);
    for line in &metered {
        usage_records::close(books, line, &invoice.id)?;
    }
    subscription.latest_invoice = Some(invoice.id.clone());
    books::put(books, subscription)?;
    collection::issue(books, subscription, &mut invoice, now)?;
    *subscription = books::get(books, &subscription.id)?;
    Ok(())
}

/// `POST /v1/subscriptions/{id}/resume`: goes on after a trial that ended without anything to pay with.
pub(super) fn resume(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["billing_cycle_anchor", "proration_behavior"])?;
    let mut subscription: Subscription = books::get(call.books, call.id)?;
    if subscription.status != Status::Paused {
        return Err(ApiError::refused("You can only resume a subscription whose status is paused."));
    }
    if call.form.word("billing_cycle_anchor", &["now", "unchanged"])? == Some("unchanged") {
        return Err(ApiError::not_kept("billing_cycle_anchor", "a resumption in the old periods"));
    }
    if payments::payer(call.books, &subscription)?.is_none() {
        return Err(payments::no_payment_method());
    }
    // What was used in the trial is free, also where it is billed now.
    subscription.status = Status::Trialing;
    reset(call, &mut subscription)?;
    subscriptions::render(call.books, &subscription, call.version)
}
