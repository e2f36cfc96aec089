//! A subscription to a plan: how it begins, what it is, how it ends.

use serde::Serialize;
use serde_json::Value;

use super::caller::{Caller, decode};
use super::catalog::{Catalog, Plan};
use super::diff::prices;
use super::form::Form;
use super::promotion::id_of;
use super::report::Names;
use super::subscription_view::{SubscriptionAtStripe, SubscriptionView};
use super::{Kind, OperatorError};
use crate::model::{CustomerId, SubscriptionId};

/// What is to be subscribed to.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// Who pays.
    pub customer: CustomerId,
    /// The plan's name.
    pub plan: String,
    /// Whether the base price is paid yearly.
    pub annual: bool,
    /// Whether periods begin on the first of each month, 00:00 UTC.
    pub first_of_month: bool,
    /// A coupon or a promotion code on the base price.
    pub discount: Option<Discount>,
    /// Whether the customer's payment method is charged at once; else it waits until the customer has paid.
    pub charge_now: bool,
}

/// What makes it cheaper.
#[derive(Debug, Clone)]
pub enum Discount {
    /// A coupon's id.
    Coupon(String),
    /// A promotion code, as customers type it or by its id, `promo_…`.
    PromotionCode(String),
}

/// What a customer has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubscriptionReport {
    /// One, or the two that an annual base price with monthly usage needs before meters.
    pub subscriptions: Vec<SubscriptionView>,
    /// What the agent is linked to: the one with the metered items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl Names for SubscriptionReport {
    fn named(&self) -> Option<&str> {
        self.link.as_deref().or_else(|| Some(&self.subscriptions.first()?.subscription))
    }
}

/// Prices that make one subscription.
struct Part {
    /// Lookup keys.
    keys: Vec<String>,
    /// Their ids, in the same order.
    prices: Vec<String>,
    has_base: bool,
    /// Whether its items have different intervals.
    is_mixed: bool,
}

/// Finds what the customer has of this plan, and makes what is missing.
pub async fn create(
    caller: &Caller,
    catalog: &Catalog,
    new: &NewSubscription,
) -> Result<SubscriptionReport, OperatorError> {
    let parts = parts(caller, catalog, new).await?;
    let known = of_customer(caller, &new.customer).await?;
    refuse_other_plan(catalog, &parts, &known)?;
    let new = &with_promotion_id(caller, new).await?;
    let mut subscriptions = Vec::new();
    for part in &parts {
        let found = known.iter().find(|one| one.is_running() && one.has_exactly(&part.prices));
        let (id, is_new) = match found {
            Some(found) => {
                refuse_missing_discount(new, part, found)?;
                (found.id.clone(), false)
            }
            None => (begin(caller, new, part, &known).await?, true),
        };
        let view = if is_new && caller.is_dry_run() {
            SubscriptionView::planned(id, new.customer.as_str(), &part.keys)
        } else {
            pay(caller, new, read(caller, &id).await?).await?
        };
        subscriptions.push(SubscriptionView { created: Some(is_new), ..view });
    }
    Ok(SubscriptionReport::of(subscriptions))
}

/// Customers type a promotion code's word; Stripe takes its id.
async fn with_promotion_id(caller: &Caller, new: &NewSubscription) -> Result<NewSubscription, OperatorError> {
    let discount = match &new.discount {
        Some(Discount::PromotionCode(code)) => Some(Discount::PromotionCode(id_of(caller, code).await?)),
        other => other.clone(),
    };
    Ok(NewSubscription { discount, ..new.clone() })
}

/// Charges the first invoice of one that waits for it, where that is asked for.
async fn pay(
    caller: &Caller,
    new: &NewSubscription,
    view: SubscriptionView,
) -> Result<SubscriptionView, OperatorError> {
    let waiting = view.latest_invoice.as_ref().filter(|_| new.charge_now && view.status == "incomplete");
    let Some(invoice) = waiting else { return Ok(view) };
    let what = format!("cannot charge the first invoice of {}", view.subscription);
    caller.change(&what, &format!("/v1/invoices/{invoice}/pay"), Form::new()).await?;
    if caller.is_dry_run() { Ok(view) } else { read(caller, &view.subscription).await }
}

/// Shows one.
pub async fn show(caller: &Caller, id: &SubscriptionId) -> Result<SubscriptionReport, OperatorError> {
    Ok(SubscriptionReport::of(vec![read(caller, id.as_str()).await?]))
}

/// When a subscription is to end, and what becomes of usage that is not invoiced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// When the period that is paid for does.
    AtPeriodEnd,
    /// At once, with an invoice for what was used.
    NowInvoiced,
    /// At once; what was used and is not invoiced is given away.
    NowUnbilled,
}

/// Ends one. One that has ended stays as it is.
pub async fn cancel(caller: &Caller, id: &SubscriptionId, ending: Ending) -> Result<SubscriptionReport, OperatorError> {
    let before = read(caller, id.as_str()).await?;
    let is_done = before.has_ended() || (ending == Ending::AtPeriodEnd && before.cancel_at_period_end);
    if !is_done {
        let what = format!("cannot cancel {id}");
        let path = format!("/v1/subscriptions/{id}");
        match ending {
            Ending::AtPeriodEnd => {
                caller.change(&what, &path, Form::new().with("cancel_at_period_end", "true")).await?;
            }
            Ending::NowInvoiced => {
                caller.end(&what, &path, &Form::new().with("invoice_now", "true")).await?;
            }
            Ending::NowUnbilled => {
                caller.end(&what, &path, &Form::new().with("invoice_now", "false")).await?;
            }
        }
    }
    let after = if caller.is_dry_run() { before } else { read(caller, id.as_str()).await? };
    Ok(SubscriptionReport { subscriptions: vec![after], link: None })
}

impl SubscriptionReport {
    fn of(subscriptions: Vec<SubscriptionView>) -> Self {
        let metered = subscriptions.iter().find(|one| one.items.iter().any(|item| item.metered));
        let link = metered.filter(|one| !one.has_ended()).map(|one| one.subscription.clone());
        Self { subscriptions, link }
    }
}

/// Before `2025-07-30.basil` all items of a subscription share an interval, so that an annual base price and monthly
/// usage are two. <https://docs.stripe.com/billing/subscriptions/mixed-interval>
async fn parts(caller: &Caller, catalog: &Catalog, new: &NewSubscription) -> Result<Vec<Part>, OperatorError> {
    let plan = catalog.plan(&new.plan)?;
    let base = base_price(&new.plan, plan, new.annual)?;
    let is_split = new.annual && catalog.kind == Kind::StripeUsageRecords && !plan.overage.is_empty();
    let keys: Vec<&str> = std::iter::once(base).chain(plan.overage.iter().map(String::as_str)).collect();
    let found = prices(caller, &keys).await?;
    let part = |keys: &[&str], has_base, is_mixed| -> Result<Part, OperatorError> {
        let ids = keys.iter().map(|key| match found.get(*key) {
            Some(price) => Ok(price.id.clone()),
            None => Err(OperatorError::refused(
                "no_price",
                format!("there is no price {key} at Stripe"),
                "make what the catalog says: usagectl stripe catalog apply",
            )),
        });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        Ok(Part { keys: keys.iter().map(|key| (*key).to_owned()).collect(), prices: ids, has_base, is_mixed })
    };
    if !is_split {
        return Ok(vec![part(&keys, true, new.annual && keys.len() > 1)?]);
    }
    let (base, overage) = keys.split_at(1);
    Ok(vec![part(base, true, false)?, part(overage, false, false)?])
}

fn base_price<'a>(name: &str, plan: &'a Plan, annual: bool) -> Result<&'a str, OperatorError> {
    let (price, word, other) =
        if annual { (&plan.annual, "annual", "without --annual") } else { (&plan.monthly, "monthly", "with --annual") };
    price.as_deref().ok_or_else(|| {
        let what = format!("the plan {name} has no {word} price");
        OperatorError::refused("no_base_price", what, format!("run it {other}, or add the price to the catalog"))
    })
}

/// All of a customer's, newest first.
async fn of_customer(caller: &Caller, customer: &CustomerId) -> Result<Vec<SubscriptionAtStripe>, OperatorError> {
    let query = Form::new().with("customer", customer.as_str()).with("status", "all");
    caller.list(&format!("cannot list the subscriptions of {customer}"), "/v1/subscriptions", &query).await
}

/// A second plan beside the first would bill the customer twice.
fn refuse_other_plan(catalog: &Catalog, parts: &[Part], known: &[SubscriptionAtStripe]) -> Result<(), OperatorError> {
    let is_wanted = |one: &SubscriptionAtStripe| parts.iter().any(|part| one.has_exactly(&part.prices));
    let is_ours = |one: &SubscriptionAtStripe| one.products().any(|product| catalog.products.contains_key(product));
    let Some(other) = known.iter().find(|one| one.is_running() && is_ours(one) && !is_wanted(one)) else {
        return Ok(());
    };
    let what = format!("the customer has {} already, with {}", other.id, other.price_names().join(", "));
    let hint = format!(
        "it would be billed for both: usagectl stripe subscription cancel {}; or change that one in the dashboard, then \
         link again on the VM",
        other.id
    );
    Err(OperatorError::refused("other_plan", what, hint))
}

/// One that is there is not changed, so a discount that it lacks is said.
fn refuse_missing_discount(
    new: &NewSubscription,
    part: &Part,
    found: &SubscriptionAtStripe,
) -> Result<(), OperatorError> {
    if new.discount.is_none() || !part.has_base || found.has_discount() {
        return Ok(());
    }
    let what = format!("{} is there already, without a discount", found.id);
    Err(OperatorError::refused(
        "no_discount",
        what,
        "this changes no subscription: add the coupon to it in the dashboard",
    ))
}

async fn begin(
    caller: &Caller,
    new: &NewSubscription,
    part: &Part,
    known: &[SubscriptionAtStripe],
) -> Result<String, OperatorError> {
    let form = form(caller, new, part);
    let what = format!("cannot create the subscription to {}", part.keys.join(", "));
    // The same as long as the customer's last subscription is the same: the next one gets another key.
    let last = known.first().map_or("none", |one| one.id.as_str());
    let key = format!("usagectl-subscription-{}-{:016x}-{last}", new.customer, form.fingerprint());
    match caller.change_under(&what, "/v1/subscriptions", form.clone(), &key).await {
        Err(error) if error.has_used_up_its_key() => {
            let now = of_customer(caller, &new.customer).await?;
            match now.into_iter().find(|one| one.is_running() && one.has_exactly(&part.prices)) {
                Some(found) => Ok(found.id),
                None => Ok(caller.change(&what, "/v1/subscriptions", form).await?.id),
            }
        }
        made => Ok(made?.id),
    }
}

fn form(caller: &Caller, new: &NewSubscription, part: &Part) -> Form {
    let mut form = Form::new().with("customer", new.customer.as_str());
    for (index, price) in part.prices.iter().enumerate() {
        form = form.with(format!("items[{index}][price]"), price);
    }
    let behavior = if new.charge_now { "error_if_incomplete" } else { "default_incomplete" };
    form = form
        .with("payment_behavior", behavior)
        .with("payment_settings[save_default_payment_method]", "on_subscription");
    if part.is_mixed {
        form = form.with("billing_mode[type]", "flexible");
    }
    if new.first_of_month {
        form = form.with("billing_cycle_anchor_config[day_of_month]", "1");
        for part in ["hour", "minute", "second"] {
            form = form.with(format!("billing_cycle_anchor_config[{part}]"), "0");
        }
    }
    match new.discount.as_ref().filter(|_| part.has_base) {
        None => form,
        Some(discount) => {
            let (name, id) = match discount {
                Discount::Coupon(id) => ("coupon", id),
                Discount::PromotionCode(id) => ("promotion_code", id),
            };
            let name = if caller.is_before_basil() { name.to_owned() } else { format!("discounts[0][{name}]") };
            form.with(name, id)
        }
    }
}

async fn read(caller: &Caller, id: &str) -> Result<SubscriptionView, OperatorError> {
    let secret = if caller.is_before_basil() { "payment_intent" } else { "confirmation_secret" };
    let query = Form::new().with("expand[]", format!("latest_invoice.{secret}"));
    let what = format!("cannot read the subscription {id}");
    let value: Value = caller.read(&what, &format!("/v1/subscriptions/{id}"), &query).await?;
    let latest_invoice = value.get("latest_invoice").cloned().unwrap_or_default();
    let subscription: SubscriptionAtStripe = decode(&what, value)?;
    Ok(SubscriptionView::of(subscription, &latest_invoice))
}
