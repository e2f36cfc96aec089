//! How a subscription begins.

use serde_json::Value;

use super::billing;
use super::books::{self, Record};
use super::call::Call;
use super::changes;
use super::customers::{Customer, Metadata, payment_method, update_metadata};
use super::discounts;
use super::errors::ApiError;
use super::form::Form;
use super::invoices::Invoice;
use super::item_periods::OwnPeriod;
use super::items::{self, Item};
use super::lines::{self, Line, Stretch};
use super::payments;
use super::periods::{self, Anchor, Interval};
use super::prices::Price;
use super::subscriptions::{self, Status, Subscription};
use super::trials::{self, TrialWithoutMethod};

/// The first invoice of an incomplete subscription can be paid this long, seconds.
const INCOMPLETE: i64 = 23 * 3_600;

const FIELDS: [&str; 31] = [
    "customer",
    "items[][price]",
    "items[][quantity]",
    "items[][metadata][*]",
    "items[][billing_thresholds][usage_gte]",
    "metadata",
    "metadata[*]",
    "description",
    "currency",
    "payment_behavior",
    "proration_behavior",
    "collection_method",
    "days_until_due",
    "default_payment_method",
    "billing_cycle_anchor",
    "billing_cycle_anchor_config[day_of_month]",
    "billing_cycle_anchor_config[month]",
    "billing_cycle_anchor_config[hour]",
    "billing_cycle_anchor_config[minute]",
    "billing_cycle_anchor_config[second]",
    "billing_thresholds[amount_gte]",
    "billing_thresholds[reset_billing_cycle_anchor]",
    "trial_end",
    "trial_period_days",
    "trial_settings[end_behavior][missing_payment_method]",
    "cancel_at_period_end",
    "off_session",
    "payment_settings[save_default_payment_method]",
    "payment_settings[payment_method_types][]",
    "billing_mode[type]",
    "automatic_tax[enabled]",
];

pub(super) const PAYMENT_BEHAVIORS: [&str; 4] =
    ["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"];
pub(super) const PRORATION_BEHAVIORS: [&str; 3] = ["always_invoice", "create_prorations", "none"];

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    refuse_not_kept(call)?;
    form.allow(&[&FIELDS[..], discounts::fields(call.version)].concat())?;
    let mut customer: Customer = books::get_at(call.books, "customer", form.required("customer")?)?;
    let id = books::new_id("sub_");
    let mut ordered = read_items(call, &id)?;
    let first = ordered.first().ok_or_else(|| ApiError::missing("items"))?;
    let currency = first.1.currency.clone();
    let flexible = is_flexible(call)?;
    let shortest = ordered.iter().map(|(_, price)| interval_of(price));
    let shortest = shortest.min_by_key(|interval| Anchor::at(call.now).next_after(*interval, call.now));
    let interval = if flexible { shortest.unwrap_or_else(|| interval_of(&first.1)) } else { interval_of(&first.1) };
    refuse_mismatch(&ordered, interval, &currency, flexible && call.version.mixes_intervals())?;
    refuse_currency(form, &customer, &currency)?;
    let mut subscription = begin(call, id, &customer, interval, currency)?;
    subscription.flexible = flexible;
    subscription.discount = discounts::redeem(call, &subscription.currency)?;
    for (item, price) in ordered.iter_mut().filter(|_| flexible) {
        let (anchor, trial_end) = (subscription.anchor, subscription.trial_end);
        item.period = Some(OwnPeriod::begin(interval_of(price), anchor, call.now, trial_end));
    }
    update_metadata(&mut subscription.metadata, form)?;
    customer.currency = Some(subscription.currency.clone());
    books::put(call.books, &customer)?;
    books::put(call.books, &subscription)?;
    for (item, _) in &ordered {
        books::put(call.books, item)?;
    }
    let prorates = form.word("proration_behavior", &PRORATION_BEHAVIORS)? != Some("none");
    let lines = first_lines(call, &subscription, &ordered, prorates)?;
    invoice_first(call, &mut subscription, lines)?;
    subscriptions::render(call.books, &subscription, call.version)
}

fn refuse_not_kept(call: &Call<'_>) -> Result<(), ApiError> {
    let form = call.form;
    for (param, what) in [
        ("add_invoice_items", "an added invoice item"),
        ("backdate_start_date", "a start in the past"),
        ("cancel_at", "an end at a date of its own"),
    ] {
        if form.has(param) {
            return Err(ApiError::not_kept(param, what));
        }
    }
    if !call.version.has_billing_mode() && form.has("billing_mode") {
        let message = "Received unknown parameter: billing_mode";
        return Err(ApiError::parameter("billing_mode", "parameter_unknown", message));
    }
    if form.boolean("automatic_tax[enabled]")? == Some(true) {
        return Err(ApiError::not_kept("automatic_tax[enabled]", "tax"));
    }
    Ok(())
}

/// Whether its items are to have periods of their own.
fn is_flexible(call: &Call<'_>) -> Result<bool, ApiError> {
    let named = call.form.word("billing_mode[type]", &["classic", "flexible"])?;
    Ok(named.map_or(call.version.is_flexible(), |mode| mode == "flexible"))
}

fn read_items(call: &Call<'_>, subscription: &str) -> Result<Vec<(Item, Price)>, ApiError> {
    let forms = call.form.list("items");
    if forms.is_empty() {
        return Err(ApiError::missing("items"));
    }
    if forms.len() > 20 {
        return Err(ApiError::uncoded("items", "A subscription can have at most 20 items."));
    }
    let mut ordered: Vec<(Item, Price)> = Vec::new();
    for form in forms {
        let (item, price) = items::read(call.books, &form, subscription, call.now)?;
        if ordered.iter().any(|(other, _)| other.price == item.price) {
            let message = format!("Cannot add multiple subscription items with the same plan: {}", item.price);
            return Err(ApiError::refused_at("items", message));
        }
        ordered.push((item, price));
    }
    Ok(ordered)
}

/// The interval of a price that can be subscribed to.
pub(super) fn interval_of(price: &Price) -> Interval {
    let monthly = Interval { unit: periods::Unit::Month, count: 1 };
    price.recurring.as_ref().map_or(monthly, |recurring| recurring.interval)
}

/// All items of a subscription are paid in one currency and, but for mixed ones, at one interval.
fn refuse_mismatch(
    ordered: &[(Item, Price)],
    interval: Interval,
    currency: &str,
    is_mixed: bool,
) -> Result<(), ApiError> {
    ordered.iter().try_for_each(|(_, price)| {
        refuse_other_terms(price, if is_mixed { interval_of(price) } else { interval }, currency)
    })
}

pub(super) fn refuse_other_terms(price: &Price, interval: Interval, currency: &str) -> Result<(), ApiError> {
    let field = if interval_of(price) != interval {
        "interval"
    } else if price.currency != currency {
        "currency"
    } else {
        return Ok(());
    };
    let message = format!(
        "Currency and interval fields must match across all plans on this subscription. Found mismatch in {field} field."
    );
    Err(ApiError::refused_at("items", message))
}

fn refuse_currency(form: &Form, customer: &Customer, currency: &str) -> Result<(), ApiError> {
    if form.text("currency")?.is_some_and(|named| !named.eq_ignore_ascii_case(currency)) {
        let message = format!("The price specified only supports `{currency}`.");
        return Err(ApiError::refused_at("currency", message));
    }
    match &customer.currency {
        Some(other) if other != currency => Err(ApiError::refused(format!(
            "You cannot combine currencies on a single customer. This customer has an active subscription, subscription \
             schedule, discount, quote, or invoice item with currency {other}"
        ))),
        _ => Ok(()),
    }
}

fn begin(
    call: &Call<'_>,
    id: String,
    customer: &Customer,
    interval: Interval,
    currency: String,
) -> Result<Subscription, ApiError> {
    let form = call.form;
    let trial_end = trials::end(call)?;
    let configured = form.has("billing_cycle_anchor_config");
    let anchor = match (configured, form.text("billing_cycle_anchor")?) {
        (true, Some(_)) => {
            return Err(ApiError::malformed(
                "You may only specify one of these parameters: billing_cycle_anchor, billing_cycle_anchor_config.",
            ));
        }
        (true, None) => periods::anchor_config(form, interval.unit, trial_end.unwrap_or(call.now))?,
        (false, Some(_)) => given_anchor(call, interval)?,
        (false, None) => Anchor::at(trial_end.unwrap_or(call.now)),
    };
    let threshold = match form.natural("billing_thresholds[amount_gte]")? {
        Some(amount) => Some(amount),
        None => form.list("items").iter().find_map(|item| item.natural("billing_thresholds[usage_gte]").ok()?),
    };
    let default_payment_method = form.text("default_payment_method")?;
    let first_end = anchor.next_after(interval, call.now);
    Ok(Subscription {
        id,
        created: call.now,
        customer: customer.id.clone(),
        test_clock: customer.test_clock.clone(),
        status: if trial_end.is_some() { Status::Trialing } else { Status::Active },
        currency,
        interval,
        anchor,
        anchor_configured: configured,
        period_start: call.now,
        period_end: trial_end.unwrap_or(first_end),
        metadata: Metadata::new(),
        description: form.text("description")?.map(str::to_owned),
        days_until_due: days_until_due(form)?,
        payment_method: default_payment_method.map(|one| payment_method("default_payment_method", one)).transpose()?,
        cancel_at_period_end: form.boolean("cancel_at_period_end")?.unwrap_or(false),
        cancel_at: None,
        canceled_at: None,
        ended_at: None,
        threshold,
        latest_invoice: None,
        trial_end,
        told_trial_end: None,
        incomplete_until: None,
        pending: Vec::new(),
        pause: None,
        trial_without_method: TrialWithoutMethod::read(form)?.unwrap_or_default(),
        flexible: false,
        discount: None,
        promised_invoice: None,
    })
}

fn given_anchor(call: &Call<'_>, interval: Interval) -> Result<Anchor, ApiError> {
    let at = call.form.integer("billing_cycle_anchor")?.unwrap_or(call.now);
    if at <= call.now || at > Anchor::at(call.now).next_after(interval, call.now) {
        let message = "billing_cycle_anchor must be in the future and not later than the next natural billing date.";
        return Err(ApiError::refused_at("billing_cycle_anchor", message));
    }
    Ok(Anchor::at(at))
}

fn days_until_due(form: &Form) -> Result<Option<i64>, ApiError> {
    let days = form.natural("days_until_due")?;
    match form.word("collection_method", &["charge_automatically", "send_invoice"])? {
        Some("send_invoice") => days.map(Some).ok_or_else(|| {
            let message = "You must pass `days_until_due` when `collection_method` is set to `send_invoice`.";
            ApiError::uncoded("days_until_due", message)
        }),
        _ if days.is_some() => {
            let message = "`days_until_due` can only be set if `collection_method` is set to `send_invoice`.";
            Err(ApiError::uncoded("days_until_due", message))
        }
        _ => Ok(None),
    }
}

/// What is charged at once: licensed items in advance, and a zero for each metered one.
fn first_lines(
    call: &Call<'_>,
    subscription: &Subscription,
    ordered: &[(Item, Price)],
    prorates: bool,
) -> Result<Vec<Line>, ApiError> {
    let mut first = Vec::new();
    for (item, _) in ordered {
        let seen = subscription.seen_by(item);
        let period = seen.period();
        let is_whole = seen.anchor.last_before(seen.interval, period.end) == period.start;
        if prorates || is_whole || subscription.status == Status::Trialing {
            first.extend(lines::in_advance(call.books, &seen, item, period)?);
        }
        let nothing_yet = Stretch { start: call.now, end: call.now };
        first.extend(lines::in_arrears(call.books, &seen, item, nothing_yet, None)?);
    }
    Ok(first)
}

fn invoice_first(call: &Call<'_>, subscription: &mut Subscription, lines: Vec<Line>) -> Result<(), ApiError> {
    let behavior = call.form.word("payment_behavior", &PAYMENT_BEHAVIORS)?;
    let now = Stretch { start: call.now, end: call.now };
    let mut invoice = billing::promised(subscription, "subscription_create", now, lines, call.now);
    let owes = invoice.amount_due() > 0 && subscription.days_until_due.is_none();
    let payer = payments::payer(call.books, subscription)?;
    let is_declined = payer.as_deref().is_some_and(|method| !payments::pays(method));
    if let Some(method) = payer.as_deref().filter(|_| owes && is_declined && behavior == Some("error_if_incomplete")) {
        return Err(payments::not_paid(method, "subscription_payment_intent_requires_action"));
    }
    let waits = owes && (behavior == Some("default_incomplete") || is_declined);
    if owes && !waits && payer.is_none() {
        return Err(payments::no_payment_method());
    }
    subscription.latest_invoice = Some(invoice.id.clone());
    if waits {
        subscription.status = Status::Incomplete;
        subscription.incomplete_until = Some(call.now.saturating_add(INCOMPLETE));
    }
    books::put(call.books, subscription)?;
    debug_assert!(subscription.due().is_some(), "a subscription that has begun is due at some time");
    books::put(call.books, &invoice)?;
    if waits {
        billing::open(call.books, &mut invoice, call.now)?;
        let charged = payer.as_deref().filter(|_| behavior != Some("default_incomplete"));
        if charged.is_some_and(|method| method != payments::AUTHENTICATED) {
            changes::tell(call.books, Invoice::KIND, &invoice.id, "invoice.payment_failed")?;
        }
        payments::ask_who_pays(call.books, &invoice, charged)
    } else {
        billing::finalize(call.books, &mut invoice, call.now)
    }
}
