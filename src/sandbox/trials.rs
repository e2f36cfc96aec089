//! Trials: how long they last, and what happens at their end.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::anchors;
use super::books::{self, Record};
use super::call::Call;
use super::changes;
use super::collection;
use super::errors::ApiError;
use super::form::Form;
use super::payments;
use super::periods::Anchor;
use super::subscriptions::{Status, Subscription};

/// What becomes of a subscription whose trial ends while there is nothing to pay with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TrialWithoutMethod {
    /// It goes on, and its invoice stays open.
    #[default]
    CreateInvoice,
    Cancel,
    Pause,
}

impl TrialWithoutMethod {
    pub(super) fn read(form: &Form) -> Result<Option<Self>, ApiError> {
        let name = "trial_settings[end_behavior][missing_payment_method]";
        Ok(form.word(name, &["cancel", "create_invoice", "pause"])?.map(|word| match word {
            "cancel" => Self::Cancel,
            "pause" => Self::Pause,
            _ => Self::CreateInvoice,
        }))
    }
}

/// The end that a new subscription's request names.
pub(super) fn end(call: &Call<'_>) -> Result<Option<i64>, ApiError> {
    let days = call.form.natural("trial_period_days")?.filter(|days| *days > 0);
    match (call.form.raw("trial_end"), days) {
        (Some("now") | None, None) => Ok(None),
        (Some("now") | None, Some(days)) => {
            let end = call.now.saturating_add(days.saturating_mul(86_400));
            checked(call, "trial_period_days", end).map(Some)
        }
        (Some(_), Some(_)) => Err(ApiError::malformed("You may only specify one of trial_end and trial_period_days.")),
        (Some(_), None) => named(call).map(Some),
    }
}

fn named(call: &Call<'_>) -> Result<i64, ApiError> {
    checked(call, "trial_end", call.form.integer("trial_end")?.unwrap_or(call.now))
}

fn checked(call: &Call<'_>, param: &str, end: i64) -> Result<i64, ApiError> {
    let latest = call.now.saturating_add(730 * 86_400);
    if end > call.now && end <= latest {
        return Ok(end);
    }
    let message = "Invalid timestamp: must be an integer Unix timestamp in the future, at most two years from now.";
    Err(ApiError::uncoded(param, message))
}

/// Applies `trial_end` and `trial_settings[...]` to a subscription: a trial that runs ends now, or at another time.
pub(super) fn update(call: &Call<'_>, subscription: &mut Subscription) -> Result<(), ApiError> {
    if let Some(behavior) = TrialWithoutMethod::read(call.form)? {
        subscription.trial_without_method = behavior;
    }
    let runs = subscription.status == Status::Trialing;
    match call.form.text("trial_end")? {
        Some("now") if runs => anchors::reset(call, subscription),
        None | Some("now") => Ok(()),
        Some(_) if runs && !subscription.flexible => {
            let end = named(call)?;
            subscription.trial_end = Some(end);
            subscription.period_end = end;
            if !subscription.anchor_configured {
                subscription.anchor = Anchor::at(end);
            }
            Ok(())
        }
        Some(_) => Err(ApiError::not_kept("trial_end", "a trial of a running or of a flexible subscription")),
    }
}

/// Whether a trial ends that cannot be paid for and that ends or pauses its subscription then: without an invoice.
pub(super) fn ends_unpayable(books: &Connection, subscription: &mut Subscription) -> Result<bool, ApiError> {
    let asks = subscription.status == Status::Trialing && subscription.days_until_due.is_none();
    if !asks || subscription.ends_with_period() || payments::payer(books, subscription)?.is_some() {
        return Ok(false);
    }
    match subscription.trial_without_method {
        TrialWithoutMethod::CreateInvoice => return Ok(false),
        TrialWithoutMethod::Pause => subscription.status = Status::Paused,
        TrialWithoutMethod::Cancel => {
            collection::stop(books, subscription)?;
            let end = Some(subscription.period_end);
            subscription.status = Status::Canceled;
            (subscription.canceled_at, subscription.ended_at) = (end, end);
        }
    }
    Ok(true)
}

/// So long before its end is told of a trial, seconds; of a shorter one when it begins.
/// <https://docs.stripe.com/billing/subscriptions/trials>
const TOLD_BEFORE: i64 = 3 * 86_400;

/// When it is to be told that a trial ends soon.
pub(super) fn told_at(subscription: &Subscription) -> Option<i64> {
    let runs = subscription.status == Status::Trialing;
    let end = subscription.trial_end.filter(|end| runs && subscription.told_trial_end != Some(*end))?;
    Some(end.saturating_sub(TOLD_BEFORE).max(subscription.created))
}

/// Tells that a trial ends soon.
pub(super) fn tell(books: &Connection, subscription: &mut Subscription) -> Result<(), ApiError> {
    subscription.told_trial_end = subscription.trial_end;
    books::put(books, subscription)?;
    changes::tell(books, Subscription::KIND, &subscription.id, "customer.subscription.trial_will_end")
}
