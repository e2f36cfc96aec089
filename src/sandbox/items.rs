//! Subscription items.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::customers::{Metadata, update_metadata};
use super::errors::ApiError;
use super::form::Form;
use super::item_periods::OwnPeriod;
use super::lines::Stretch;
use super::lists;
use super::prices::{self, Price, Usage};
use super::subscription_changes as changes;
use super::subscriptions::Subscription;
use super::version::Version;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) subscription: String,
    pub(super) price: String,
    /// Of a licensed price; `None` where usage decides.
    pub(super) quantity: Option<i64>,
    pub(super) metadata: Metadata,
    /// Taken off its subscription.
    pub(super) removed: bool,
    /// Where its subscription is flexible.
    pub(super) period: Option<OwnPeriod>,
    /// Usage up to here is no longer its own: it was billed or dropped, or came before it was put on a meter.
    pub(super) since: Option<i64>,
}

impl Item {
    /// The part of a period whose usage counts on it.
    pub(super) fn counts_within(&self, period: Stretch) -> Stretch {
        Stretch { start: self.since.map_or(period.start, |since| since.max(period.start)), ..period }
    }
}

impl Record for Item {
    const KIND: &'static str = "subscription_item";
    const NOUN: &'static str = "subscription item";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.subscription)
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Subscription::KIND, &self.subscription))
    }
}

/// The items on a subscription, oldest first.
pub(super) fn live(books: &Connection, subscription: &str) -> Result<Vec<Item>, ApiError> {
    let items: Vec<Item> = books::all(books, Some(subscription))?;
    Ok(items.into_iter().filter(|item| !item.removed).collect())
}

/// The item that the path names, if it is still on its subscription.
pub(super) fn get(books: &Connection, id: &str) -> Result<Item, ApiError> {
    let item: Item = books::get(books, id)?;
    if item.removed { Err(ApiError::no_such(Item::NOUN, id)) } else { Ok(item) }
}

/// A new item from `price`, `quantity` and `metadata` of this part of the request. Not stored.
pub(super) fn read(books: &Connection, form: &Form, subscription: &str, now: i64) -> Result<(Item, Price), ApiError> {
    let price = read_price(books, form)?.ok_or_else(|| ApiError::missing(&form.full_name("price")))?;
    let quantity = read_quantity(form, &price)?;
    let licensed = *price.usage() == Usage::Licensed;
    let mut item = Item {
        id: books::new_id("si_"),
        created: now,
        subscription: subscription.to_owned(),
        price: price.id.clone(),
        quantity: licensed.then(|| quantity.unwrap_or(1)),
        metadata: Metadata::new(),
        removed: false,
        period: None,
        since: None,
    };
    update_metadata(&mut item.metadata, form)?;
    Ok((item, price))
}

/// The price that this part of the request names, if it can be subscribed to.
pub(super) fn read_price(books: &Connection, form: &Form) -> Result<Option<Price>, ApiError> {
    let Some(id) = form.text("price")? else { return Ok(None) };
    let name = form.full_name("price");
    let price: Price = books::get_at(books, &name, id)?;
    if !price.active {
        let message = "The price specified is inactive. This field only accepts active prices.";
        return Err(ApiError::refused_at(&name, message));
    }
    if price.recurring.is_none() {
        let message =
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.";
        return Err(ApiError::refused_at(&name, message));
    }
    Ok(Some(price))
}

/// The quantity that this part of the request names, if the price takes one.
pub(super) fn read_quantity(form: &Form, price: &Price) -> Result<Option<i64>, ApiError> {
    let quantity = form.natural("quantity")?;
    if quantity.is_some() && *price.usage() != Usage::Licensed {
        let message = "You cannot set the quantity for metered plans.";
        return Err(ApiError::refused_at(&form.full_name("quantity"), message));
    }
    Ok(quantity)
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["subscription", "limit", "starting_after", "ending_before"])?;
    let id = call.form.required("subscription")?;
    let subscription: Subscription = books::get_at(call.books, "subscription", id)?;
    let items = live(call.books, id)?;
    let rendered = items.iter().map(|item| render(call.books, item, &subscription, call.version));
    lists::newest_first(call, "/v1/subscription_items", rendered.collect::<Result<_, _>>()?)
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    shown(call, &get(call.books, call.id)?)
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&[
        "subscription",
        "price",
        "quantity",
        "metadata",
        "metadata[*]",
        "proration_behavior",
        "payment_behavior",
    ])?;
    let mut subscription: Subscription = books::get_at(call.books, "subscription", form.required("subscription")?)?;
    let item = changes::add_item(call, &mut subscription, form)?;
    books::put(call.books, &subscription)?;
    shown(call, &item)
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["price", "quantity", "metadata", "metadata[*]", "proration_behavior", "payment_behavior"])?;
    let mut item = get(call.books, call.id)?;
    let mut subscription: Subscription = books::get(call.books, &item.subscription)?;
    changes::change_item(call, &mut subscription, &mut item, call.form)?;
    books::put(call.books, &subscription)?;
    shown(call, &item)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["clear_usage", "proration_behavior", "payment_behavior"])?;
    let mut item = get(call.books, call.id)?;
    let mut subscription: Subscription = books::get(call.books, &item.subscription)?;
    changes::remove_item(call, &mut subscription, &mut item, call.form)?;
    books::put(call.books, &subscription)?;
    Ok(json!({ "id": item.id, "object": "subscription_item", "deleted": true }))
}

fn shown(call: &Call<'_>, item: &Item) -> Result<Value, ApiError> {
    let subscription: Subscription = books::get(call.books, &item.subscription)?;
    render(call.books, item, &subscription, call.version)
}

pub(super) fn render(
    books: &Connection,
    item: &Item,
    subscription: &Subscription,
    version: &Version,
) -> Result<Value, ApiError> {
    let price: Price = books::get(books, &item.price)?;
    let subscription = subscription.seen_by(item);
    let mut value = json!({
        "id": item.id,
        "object": "subscription_item",
        "billing_thresholds": null,
        "created": item.created,
        "discounts": [],
        "metadata": item.metadata,
        "plan": prices::render_plan(&price),
        "price": prices::render(&price),
        "subscription": item.subscription,
        "tax_rates": [],
    });
    if let Some(fields) = value.as_object_mut() {
        if let Some(quantity) = item.quantity {
            fields.insert("quantity".to_owned(), json!(quantity));
        }
        if version.is_basil() {
            fields.insert("current_period_start".to_owned(), json!(subscription.period_start));
            fields.insert("current_period_end".to_owned(), json!(subscription.period().end));
        }
    }
    Ok(value)
}
