//! Invoice lines: quantities times prices, rounded once per line.

use rusqlite::Connection;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books;
use super::errors::ApiError;
use super::items::Item;
use super::meter_totals;
use super::prices::{self, Price, Usage};
use super::shapes::merged;
use super::subscriptions::{Status, Subscription};
use super::usage_records;
use super::version::Version;

/// One line of an invoice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    id: String,
    pub(super) item: String,
    price: Price,
    pub(super) quantity: i64,
    pub(super) amount: i64,
    description: String,
    start: i64,
    end: i64,
    proration: bool,
    /// Its quantity follows the meter until the invoice is final.
    follows_meter: bool,
}

/// A stretch of time that a line is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// Units at a price, for the share `part` of `whole` seconds, in hundredths of the currency unit, halves away from zero.
pub(super) fn amount(price: &Price, quantity: impl Into<Decimal>, part: i64, whole: i64) -> Result<i64, ApiError> {
    let exact = price.unit_amount().checked_mul(quantity.into());
    let share = exact.and_then(|exact| exact.checked_mul(Decimal::from(part))?.checked_div(Decimal::from(whole)));
    let rounded = share.map(|share| share.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero));
    let too_large = || ApiError::refused_at("quantity", "The resulting amount is too large.");
    rounded.and_then(|rounded| rounded.to_i64()).ok_or_else(too_large)
}

/// What a licensed item costs for a period, in advance: a share of it where the period is a part of an interval.
/// `None` for an item that usage decides.
pub(super) fn in_advance(
    books: &Connection,
    subscription: &Subscription,
    item: &Item,
    period: Stretch,
) -> Result<Option<Line>, ApiError> {
    let Some(quantity) = item.quantity else { return Ok(None) };
    let price: Price = books::get(books, &item.price)?;
    let whole_start = subscription.anchor.last_before(subscription.interval, period.end);
    let part = period.end.saturating_sub(period.start.max(whole_start));
    let whole = subscription.anchor.next_after(subscription.interval, whole_start).saturating_sub(whole_start);
    let free = subscription.status == Status::Trialing;
    let amount = if free { 0 } else { amount(&price, quantity, part, whole)? };
    let mut line = Line::new(books, item, price, quantity, amount, period)?;
    if free {
        line.description = format!("Trial period for {}", line.description);
    }
    Ok(Some(line))
}

/// What a metered item costs for a stretch of time, by its usage: of a meter, as previews see it at `seen_at`, else all
/// of it. `None` for a licensed one.
pub(super) fn in_arrears(
    books: &Connection,
    subscription: &Subscription,
    item: &Item,
    period: Stretch,
    seen_at: Option<i64>,
) -> Result<Option<Line>, ApiError> {
    let price: Price = books::get(books, &item.price)?;
    let period = item.counts_within(period);
    let (used, follows_meter) = match price.usage() {
        Usage::Licensed => return Ok(None),
        Usage::Metered(_) => (Decimal::from(usage_records::total(books, item, &price, period)?), false),
        Usage::OnMeter(meter) => (meter_totals::billed(books, meter, &subscription.customer, period, seen_at)?, true),
    };
    let is_free = subscription.status == Status::Trialing;
    let amount = if is_free { 0 } else { usage_amount(&price, used) };
    let mut line = Line::new(books, item, price, shown(used), amount, period)?;
    line.follows_meter = follows_meter && !is_free;
    Ok(Some(line))
}

/// What usage costs. One that cannot be written down costs the most that can, since a period must come to its end.
fn usage_amount(price: &Price, used: Decimal) -> i64 {
    amount(price, used, 1, 1).unwrap_or(i64::MAX)
}

/// Quantities are shown in whole units; amounts are those of the exact quantity.
fn shown(used: Decimal) -> i64 {
    used.floor().to_i64().unwrap_or(i64::MAX)
}

/// A share of a licensed item's price from a moment to the end of the open period; given back where `sign` is −1.
pub(super) fn proration(
    books: &Connection,
    subscription: &Subscription,
    item: &Item,
    sign: i64,
    from: i64,
) -> Result<Option<Line>, ApiError> {
    let period = Stretch { start: from, end: subscription.period().end };
    let Some(mut line) = in_advance(books, subscription, item, period)? else { return Ok(None) };
    line.proration = true;
    line.amount = line.amount.saturating_mul(sign);
    let what = if sign < 0 { "Unused time on" } else { "Remaining time on" };
    line.description = format!("{what} {}", line.description);
    Ok(Some(line))
}

fn describe(books: &Connection, price: &Price, quantity: i64) -> Result<String, ApiError> {
    let each = price.unit_amount().checked_div(Decimal::ONE_HUNDRED).unwrap_or_default().normalize();
    let per = price.recurring.as_ref().map_or("once", |recurring| recurring.interval.unit.word());
    let name = prices::product_name(books, price)?;
    let currency = price.currency.to_ascii_uppercase();
    Ok(format!("{quantity} × {name} (at {each} {currency} / {per})"))
}

impl Line {
    fn new(
        books: &Connection,
        item: &Item,
        price: Price,
        quantity: i64,
        amount: i64,
        period: Stretch,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            id: books::new_id("il_"),
            item: item.id.clone(),
            quantity,
            amount,
            description: describe(books, &price, quantity)?,
            price,
            start: period.start,
            end: period.end,
            proration: false,
            follows_meter: false,
        })
    }

    /// Whether usage records make its quantity.
    pub(super) fn is_of_usage_records(&self) -> bool {
        matches!(self.price.usage(), Usage::Metered(_))
    }

    /// What it is about.
    pub(super) const fn period(&self) -> Stretch {
        Stretch { start: self.start, end: self.end }
    }

    /// With the quantity that it has.
    pub(super) fn settled(self) -> Self {
        Self { follows_meter: false, ..self }
    }

    /// Takes its quantity from the meter for the last time, where it is on one.
    pub(super) fn settle(&mut self, books: &Connection, customer: &str) -> Result<(), ApiError> {
        if let (true, Usage::OnMeter(meter)) = (self.follows_meter, self.price.usage()) {
            let used = meter_totals::billed(books, meter, customer, self.period(), None)?;
            (self.quantity, self.amount) = (shown(used), usage_amount(&self.price, used));
            self.description = describe(books, &self.price, self.quantity)?;
            self.follows_meter = false;
        }
        Ok(())
    }

    pub(super) fn render(&self, subscription: &str, version: &Version) -> Value {
        let value = json!({
            "id": self.id,
            "object": "line_item",
            "amount": self.amount,
            "amount_excluding_tax": self.amount,
            "currency": self.price.currency,
            "description": self.description,
            "discount_amounts": [],
            "discountable": true,
            "discounts": [],
            "livemode": false,
            "metadata": {},
            "period": { "end": self.end, "start": self.start },
            "quantity": self.quantity,
        });
        let of_version =
            if version.is_basil() { self.since_basil(subscription) } else { self.before_basil(subscription) };
        merged(value, of_version)
    }

    fn before_basil(&self, subscription: &str) -> Value {
        json!({
            "plan": prices::render_plan(&self.price),
            "price": prices::render(&self.price),
            "proration": self.proration,
            "proration_details": { "credited_items": null },
            "subscription": subscription,
            "subscription_item": self.item,
            "tax_amounts": [],
            "tax_rates": [],
            "type": "subscription",
            "unit_amount_excluding_tax": self.price.unit_amount_decimal,
        })
    }

    fn since_basil(&self, subscription: &str) -> Value {
        json!({
            "parent": {
                "invoice_item_details": null,
                "subscription_item_details": {
                    "invoice_item": null,
                    "proration": self.proration,
                    "proration_details": { "credited_items": null },
                    "subscription": subscription,
                    "subscription_item": self.item,
                },
                "type": "subscription_item_details",
            },
            "pricing": {
                "price_details": { "price": self.price.id, "product": self.price.product },
                "type": "price_details",
                "unit_amount_decimal": self.price.unit_amount_decimal,
            },
            "taxes": [],
        })
    }
}
