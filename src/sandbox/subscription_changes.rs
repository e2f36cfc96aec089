//! How a subscription changes and ends by its owner's act.

use serde_json::Value;

use super::anchors;
use super::behaviour::{self, AddedUsage, RemovedUsage, SwappedUsage};
use super::billing;
use super::books;
use super::call::Call;
use super::collection;
use super::customers::{payment_method, update_metadata};
use super::endings;
use super::errors::ApiError;
use super::form::Form;
use super::item_periods::{self, OwnPeriod};
use super::items::{self, Item};
use super::lines::{self, Stretch};
use super::prices::{Price, Usage};
use super::subscribe::{PAYMENT_BEHAVIORS, PRORATION_BEHAVIORS, interval_of, refuse_other_terms};
use super::subscriptions::{self, Status, Subscription};
use super::trials;
use super::usage_records;

const FIELDS: [&str; 24] = [
    "items[][id]",
    "items[][price]",
    "items[][quantity]",
    "items[][deleted]",
    "items[][clear_usage]",
    "items[][metadata][*]",
    "metadata",
    "metadata[*]",
    "description",
    "cancel_at_period_end",
    "cancel_at",
    "default_payment_method",
    "payment_behavior",
    "proration_behavior",
    "billing_thresholds[amount_gte]",
    "billing_thresholds[reset_billing_cycle_anchor]",
    "off_session",
    "pause_collection",
    "pause_collection[behavior]",
    "pause_collection[resumes_at]",
    "trial_end",
    "trial_settings[end_behavior][missing_payment_method]",
    "billing_cycle_anchor",
    "billing_cycle_anchor[type]",
];

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&FIELDS)?;
    let mut subscription: Subscription = books::get(call.books, call.id)?;
    if subscription.status.is_over() {
        let message = "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(ApiError::refused(message));
    }
    update_metadata(&mut subscription.metadata, form)?;
    if let Some(text) = form.raw("description") {
        subscription.description = Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    if let Some(method) = form.text("default_payment_method")? {
        subscription.payment_method = Some(payment_method("default_payment_method", method)?);
    }
    endings::update(call, &mut subscription)?;
    if let Some(amount) = form.natural("billing_thresholds[amount_gte]")? {
        subscription.threshold = Some(amount);
    }
    collection::update_pause(&mut subscription, form, call.now)?;
    for part in form.list("items") {
        change_part(call, &mut subscription, &part)?;
    }
    trials::update(call, &mut subscription)?;
    anchors::update(call, &mut subscription)?;
    books::put(call.books, &subscription)?;
    subscriptions::render(call.books, &subscription, call.version)
}

fn change_part(call: &Call<'_>, subscription: &mut Subscription, part: &Form) -> Result<(), ApiError> {
    let Some(id) = part.text("id")? else {
        return add_item(call, subscription, part).map(drop);
    };
    let name = part.full_name("id");
    let item: Option<Item> = books::find(call.books, id)?;
    let item = item.filter(|item| item.subscription == subscription.id && !item.removed);
    let mut item = item.ok_or_else(|| ApiError::no_such_at(&name, "subscription item", id))?;
    if part.boolean("deleted")? == Some(true) {
        return remove_item(call, subscription, &mut item, part);
    }
    change_item(call, subscription, &mut item, part)
}

/// Puts a new item on a subscription.
pub(super) fn add_item(call: &Call<'_>, subscription: &mut Subscription, form: &Form) -> Result<Item, ApiError> {
    let (mut item, price) = items::read(call.books, form, &subscription.id, call.now)?;
    if subscription.flexible {
        let trial_end = subscription.trial_end.filter(|_| subscription.status == Status::Trialing);
        item.period = Some(OwnPeriod::begin(interval_of(&price), subscription.anchor, call.now, trial_end));
    }
    if matches!(price.usage(), Usage::OnMeter(_)) && behaviour::of(call.books)?.added == AddedUsage::SinceAdded {
        item.since = Some(call.now);
    }
    refuse_change(subscription, &price)?;
    refuse_twice(call, subscription, &item)?;
    books::put(call.books, &item)?;
    prorate(call, subscription, &item, 1)?;
    item_periods::show_first(call.books, subscription)?;
    Ok(item)
}

/// Gives an item another price, quantity or metadata.
pub(super) fn change_item(
    call: &Call<'_>,
    subscription: &mut Subscription,
    item: &mut Item,
    form: &Form,
) -> Result<(), ApiError> {
    update_metadata(&mut item.metadata, form)?;
    let old: Price = books::get(call.books, &item.price)?;
    let new = items::read_price(call.books, form)?.unwrap_or_else(|| old.clone());
    let licensed = *new.usage() == Usage::Licensed;
    let quantity = items::read_quantity(form, &new)?.or(item.quantity).unwrap_or(1);
    let quantity = licensed.then_some(quantity);
    if new.id != item.price || quantity != item.quantity {
        refuse_change(subscription, &new)?;
        let swapped = behaviour::of(call.books)?.swapped;
        if new.id != old.id && swapped != SwappedUsage::AtNewPrice {
            leave_usage(call, subscription, item, swapped == SwappedUsage::AtOldPrice)?;
        }
        if licensed && *old.usage() != Usage::Licensed {
            refuse_usage(call, subscription, item)?;
        }
        prorate(call, subscription, item, -1)?;
        if subscription.flexible && interval_of(&new) != interval_of(&old) {
            item.period = Some(OwnPeriod::begin(interval_of(&new), subscription.anchor, call.now, None));
        }
        (item.price, item.quantity) = (new.id, quantity);
        refuse_twice(call, subscription, item)?;
        prorate(call, subscription, item, 1)?;
    }
    books::put(call.books, item)?;
    item_periods::show_first(call.books, subscription)
}

/// Takes an item off its subscription. Usage on it has to be given up in so many words.
pub(super) fn remove_item(
    call: &Call<'_>,
    subscription: &mut Subscription,
    item: &mut Item,
    form: &Form,
) -> Result<(), ApiError> {
    if form.boolean("clear_usage")? == Some(true) {
        usage_records::clear(call.books, item, counted(subscription, item))?;
    }
    match behaviour::of(call.books)?.removed {
        RemovedUsage::Dropped => refuse_usage(call, subscription, item)?,
        RemovedUsage::Billed => leave_usage(call, subscription, item, true)?,
    }
    if items::live(call.books, &subscription.id)?.len() <= 1 {
        let message = "A subscription must have at least one active plan. You may cancel the subscription instead.";
        return Err(ApiError::refused(message));
    }
    prorate(call, subscription, item, -1)?;
    item.removed = true;
    books::put(call.books, item)?;
    item_periods::show_first(call.books, subscription)
}

/// Usage up to now is no longer the item's. It is billed on the next invoice or dropped; also dropped where the caller
/// wants no proration. <https://docs.stripe.com/billing/subscriptions/usage-based/manage-billing-setup>
fn leave_usage(
    call: &Call<'_>,
    subscription: &mut Subscription,
    item: &mut Item,
    is_billed: bool,
) -> Result<(), ApiError> {
    let seen = subscription.seen_by(item);
    let so_far = Stretch { start: seen.period_start, end: call.now };
    let line = lines::in_arrears(call.books, &seen, item, so_far, None)?;
    item.since = Some(call.now);
    let is_billed = is_billed && proration(call)? != Some("none");
    let Some(line) = line.filter(|line| is_billed && (line.quantity, line.amount) != (0, 0)) else { return Ok(()) };
    if line.is_of_usage_records() {
        let invoice = subscription.promised_invoice.get_or_insert_with(|| books::new_id("in_"));
        usage_records::close(call.books, &line, invoice)?;
    }
    subscription.pending.push(line.settled());
    Ok(())
}

/// The part of the open period whose usage counts on the item.
fn counted(subscription: &Subscription, item: &Item) -> Stretch {
    item.counts_within(subscription.seen_by(item).period())
}

fn proration(call: &Call<'_>) -> Result<Option<&'static str>, ApiError> {
    call.form.word("proration_behavior", &PRORATION_BEHAVIORS)
}

fn refuse_change(subscription: &Subscription, price: &Price) -> Result<(), ApiError> {
    if subscription.status.is_over() {
        return Err(ApiError::refused("The subscription has been canceled; its items cannot change any more."));
    }
    let interval = if subscription.flexible { interval_of(price) } else { subscription.interval };
    refuse_other_terms(price, interval, &subscription.currency)
}

fn refuse_twice(call: &Call<'_>, subscription: &Subscription, item: &Item) -> Result<(), ApiError> {
    let others = items::live(call.books, &subscription.id)?;
    if others.iter().any(|other| other.id != item.id && other.price == item.price) {
        let message = format!("An existing Subscription Item is already using that Price: {}", item.price);
        return Err(ApiError::refused_at("price", message));
    }
    Ok(())
}

fn refuse_usage(call: &Call<'_>, subscription: &Subscription, item: &Item) -> Result<(), ApiError> {
    if item.quantity.is_none() && usage_records::has_usage(call.books, item, counted(subscription, item))? {
        let message = format!(
            "Subscription item {} cannot be removed because it has usage in the current period. Pass `clear_usage=true` \
             to delete it without billing that usage.",
            item.id
        );
        return Err(ApiError::refused(message));
    }
    Ok(())
}

/// Notes a share of an item's price for the rest of its period, for the next invoice.
fn prorate(call: &Call<'_>, subscription: &mut Subscription, item: &Item, sign: i64) -> Result<(), ApiError> {
    let seen = subscription.seen_by(item);
    prorate_from(call, subscription, &seen, item, sign, call.now)
}

/// As [`lines::proration`], on the subscription's next invoice, unless the caller wants none.
pub(super) fn prorate_from(
    call: &Call<'_>,
    subscription: &mut Subscription,
    seen: &Subscription,
    item: &Item,
    sign: i64,
    from: i64,
) -> Result<(), ApiError> {
    call.form.word("payment_behavior", &PAYMENT_BEHAVIORS)?;
    match proration(call)? {
        Some("none") => Ok(()),
        Some("always_invoice") => {
            Err(ApiError::not_kept("proration_behavior", "an invoice made at once for a proration"))
        }
        _ => {
            let line = lines::proration(call.books, seen, item, sign, from)?;
            subscription.pending.extend(line.filter(|line| line.amount != 0));
            Ok(())
        }
    }
}

/// `DELETE /v1/subscriptions/{id}`: at once. Un-invoiced usage is dropped unless `invoice_now=true`.
pub(super) fn cancel(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["invoice_now", "prorate", "cancellation_details[comment]", "cancellation_details[feedback]"])?;
    let mut subscription: Subscription = books::get(call.books, call.id)?;
    if subscription.status.is_over() {
        return Err(ApiError::no_such("subscription", call.id));
    }
    let invoices_now = form.boolean("invoice_now")?.unwrap_or(false);
    if form.boolean("prorate")?.unwrap_or(false) {
        for item in items::live(call.books, &subscription.id)? {
            let line = lines::proration(call.books, &subscription.seen_by(&item), &item, -1, call.now)?;
            subscription.pending.extend(line.filter(|line| line.amount != 0));
        }
    }
    if invoices_now {
        billing::invoice_now(call.books, &mut subscription, call.now)?;
    }
    collection::stop(call.books, &mut subscription)?;
    subscription.status = Status::Canceled;
    subscription.canceled_at = Some(call.now);
    subscription.ended_at = Some(call.now);
    (subscription.cancel_at_period_end, subscription.cancel_at) = (false, None);
    books::put(call.books, &subscription)?;
    subscriptions::render(call.books, &subscription, call.version)
}
