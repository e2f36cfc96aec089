//! When a subscription is told to end: with its period, or at a moment, which may lie within it.

use super::call::Call;
use super::errors::ApiError;
use super::items;
use super::subscription_changes as changes;
use super::subscriptions::Subscription;

/// Applies `cancel_at_period_end` and `cancel_at`; an empty `cancel_at` takes the end back.
/// <https://docs.stripe.com/api/subscriptions/update>
pub(super) fn update(call: &Call<'_>, subscription: &mut Subscription) -> Result<(), ApiError> {
    let old = (subscription.cancel_at_period_end, subscription.cancel_at);
    let new = match (call.form.boolean("cancel_at_period_end")?, call.form.raw("cancel_at")) {
        (None, None) => old,
        (Some(true), None | Some("")) => (true, None),
        (Some(true), Some(_)) => {
            let message = "You may only specify one of these parameters: cancel_at, cancel_at_period_end.";
            return Err(ApiError::malformed(message));
        }
        // A moment stands until it is taken back itself.
        (Some(false), None) => (false, old.1),
        (_, Some("")) => (false, None),
        (_, Some(_)) => (false, moment(call)?),
    };
    if new == old {
        return Ok(());
    }
    let before = subscription.clone();
    (subscription.cancel_at_period_end, subscription.cancel_at) = new;
    subscription.canceled_at = (new != (false, None)).then_some(call.now);
    prorate(call, subscription, &before)
}

fn moment(call: &Call<'_>) -> Result<Option<i64>, ApiError> {
    let name = "cancel_at";
    if matches!(call.form.raw(name), Some("min_period_end" | "max_period_end")) {
        return Err(ApiError::not_kept(name, "an end that is named by the items' periods"));
    }
    let at = call.form.natural(name)?;
    if at.is_some_and(|at| at <= call.now || at > super::LATEST.secs()) {
        return Err(ApiError::uncoded(name, "Invalid timestamp: must be an integer Unix timestamp in the future."));
    }
    Ok(at)
}

/// What was paid in advance for the time after the new end is given back, and what was not for the time before it is
/// charged. A period that has not begun is charged by its share when it does.
fn prorate(call: &Call<'_>, subscription: &mut Subscription, before: &Subscription) -> Result<(), ApiError> {
    for item in items::live(call.books, &subscription.id)? {
        let (old, new) = (before.seen_by(&item), subscription.seen_by(&item));
        let (old_end, new_end) = (old.period().end, new.period().end);
        if new_end < old_end {
            changes::prorate_from(call, subscription, &old, &item, -1, new_end)?;
        } else if old_end < new_end {
            changes::prorate_from(call, subscription, &new, &item, 1, old_end)?;
        }
    }
    Ok(())
}
