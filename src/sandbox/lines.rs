//! Invoice lines: quantities times prices, rounded once per line.

use rusqlite::Connection;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books;
use super::errors::ApiError;
use super::items::Item;
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
}

/// A stretch of time that a line is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// Units at a price, for the share `part` of `whole` seconds, in hundredths of the currency unit, halves away from zero.
pub(super) fn amount(price: &Price, quantity: i64, part: i64, whole: i64) -> Result<i64, ApiError> {
    let exact = price.unit_amount().checked_mul(Decimal::from(quantity));
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
    let whole = period.end.saturating_sub(whole_start);
    let free = subscription.status == Status::Trialing;
    let amount = if free { 0 } else { amount(&price, quantity, part, whole)? };
    let mut line = Line::new(books, item, price, quantity, amount, period)?;
    if free {
        line.description = format!("Trial period for {}", line.description);
    }
    Ok(Some(line))
}

/// What a metered item costs for a period that ends, by its usage. `None` for a licensed one.
pub(super) fn in_arrears(
    books: &Connection,
    subscription: &Subscription,
    item: &Item,
    period: Stretch,
) -> Result<Option<Line>, ApiError> {
    let price: Price = books::get(books, &item.price)?;
    if *price.usage() == Usage::Licensed {
        return Ok(None);
    }
    let quantity = usage_records::total(books, item, &price, period)?;
    let amount = if subscription.status == Status::Trialing { 0 } else { amount(&price, quantity, 1, 1)? };
    Line::new(books, item, price, quantity, amount, period).map(Some)
}

/// A share of a licensed item's price for the rest of a period; given back where `sign` is −1.
pub(super) fn proration(
    books: &Connection,
    subscription: &Subscription,
    item: &Item,
    sign: i64,
    now: i64,
) -> Result<Option<Line>, ApiError> {
    let period = Stretch { start: now, end: subscription.period_end };
    let Some(mut line) = in_advance(books, subscription, item, period)? else { return Ok(None) };
    line.proration = true;
    line.amount = line.amount.saturating_mul(sign);
    let what = if sign < 0 { "Unused time on" } else { "Remaining time on" };
    line.description = format!("{what} {}", line.description);
    Ok(Some(line))
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
        let each = price.unit_amount().checked_div(Decimal::ONE_HUNDRED).unwrap_or_default().normalize();
        let per = price.recurring.as_ref().map_or("once", |recurring| recurring.interval.unit.word());
        let name = prices::product_name(books, &price)?;
        let currency = price.currency.to_ascii_uppercase();
        Ok(Self {
            id: books::new_id("il_"),
            item: item.id.clone(),
            quantity,
            amount,
            description: format!("{quantity} × {name} (at {each} {currency} / {per})"),
            price,
            start: period.start,
            end: period.end,
            proration: false,
        })
    }

    /// What it is about.
    pub(super) const fn period(&self) -> Stretch {
        Stretch { start: self.start, end: self.end }
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
