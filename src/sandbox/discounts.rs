//! A coupon on a subscription, and what it takes off the invoices.

use chrono::Months;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books;
use super::call::Call;
use super::coupons::{self, Coupon, Duration};
use super::errors::ApiError;
use super::promotion_codes::PromotionCode;
use super::version::Version;

/// A coupon that was redeemed. It stays as it was then, also when the coupon is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Discount {
    id: String,
    coupon: Coupon,
    promotion_code: Option<String>,
    start: i64,
    /// Unix seconds from which on it takes nothing off any more.
    end: Option<i64>,
}

impl Discount {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What it takes off an invoice whose lines come to this.
    pub(super) fn takes_off(&self, subtotal: i64) -> i64 {
        self.coupon.takes_off(subtotal)
    }

    /// Whether an invoice made at this moment is cheaper by it.
    pub(super) fn holds_at(&self, now: i64) -> bool {
        self.end.is_none_or(|end| now < end)
    }

    /// Whether it is gone after an invoice.
    pub(super) fn is_used_up(&self) -> bool {
        self.coupon.duration == Duration::Once
    }

    /// In the shape that subscriptions and invoices carried before basil.
    pub(super) fn render(&self, subscription: &str, customer: &str) -> Value {
        json!({
            "id": self.id,
            "object": "discount",
            "checkout_session": null,
            "coupon": coupons::render(&self.coupon, self.start),
            "customer": customer,
            "end": self.end,
            "invoice": null,
            "invoice_item": null,
            "promotion_code": self.promotion_code,
            "start": self.start,
            "subscription": subscription,
            "subscription_item": null,
        })
    }
}

/// Parameters of a subscription's beginning. Before basil a coupon may stand outside of the list.
pub(super) fn fields(version: &Version) -> &'static [&'static str] {
    let before = &["discounts[][coupon]", "discounts[][promotion_code]", "coupon", "promotion_code"];
    if version.is_basil() { &before[..2] } else { before }
}

/// Redeems what a new subscription names.
pub(super) fn redeem(call: &Call<'_>, currency: &str) -> Result<Option<Discount>, ApiError> {
    let listed = call.form.list("discounts");
    let outside = call.form.has("coupon") || call.form.has("promotion_code");
    let form = match (listed.as_slice(), outside) {
        ([], false) => return Ok(None),
        ([], true) => call.form,
        ([only], false) => only,
        _ => return Err(ApiError::not_kept("discounts", "more than one discount")),
    };
    let (coupon, code) = (form.text("coupon")?, form.text("promotion_code")?);
    let (param, id, code) = match (coupon, code) {
        (Some(id), None) => (form.full_name("coupon"), id.to_owned(), None),
        (None, Some(id)) => {
            let param = form.full_name("promotion_code");
            let mut code: PromotionCode = books::get_at(call.books, &param, id)?;
            code.refuse_redeeming(&param, call.now)?;
            code.times_redeemed = code.times_redeemed.saturating_add(1);
            books::put(call.books, &code)?;
            (param, code.coupon, Some(id.to_owned()))
        }
        _ => return Err(ApiError::malformed("A discount has either a coupon or a promotion_code.")),
    };
    redeem_coupon(call.books, &param, &id, code, currency, call.now).map(Some)
}

fn redeem_coupon(
    books: &Connection,
    param: &str,
    id: &str,
    promotion_code: Option<String>,
    currency: &str,
    now: i64,
) -> Result<Discount, ApiError> {
    let mut coupon: Coupon = books::get_at(books, param, id)?;
    coupon.refuse_redeeming(param, currency, now)?;
    coupon.times_redeemed = coupon.times_redeemed.saturating_add(1);
    books::put(books, &coupon)?;
    let end = match coupon.duration {
        Duration::Repeating(months) => {
            let start = chrono::DateTime::from_timestamp(now, 0);
            start.and_then(|start| start.checked_add_months(Months::new(months))).map(|end| end.timestamp())
        }
        Duration::Once | Duration::Forever => None,
    };
    Ok(Discount { id: books::new_id("di_"), coupon, promotion_code, start: now, end })
}
