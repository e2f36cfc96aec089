//! Coupons: what makes an invoice cheaper. Their ids may be the caller's.

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::customers::{Metadata, update_metadata};
use super::errors::ApiError;
use super::form::Form;
use super::lists;

/// A coupon can be redeemed for so long at most, seconds. <https://docs.stripe.com/api/coupons/create>
const LONGEST: i64 = 5 * 366 * 86_400;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Coupon {
    pub(super) id: String,
    created: i64,
    name: Option<String>,
    off: Off,
    pub(super) duration: Duration,
    max_redemptions: Option<i64>,
    redeem_by: Option<i64>,
    pub(super) times_redeemed: i64,
    metadata: Metadata,
}

/// How much cheaper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Off {
    /// Of a hundred; text, so that it is kept exactly.
    Percent(String),
    /// In the currency's smallest unit.
    Amount(i64, String),
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Duration {
    /// For one invoice.
    Once,
    /// For so many months.
    Repeating(u32),
    Forever,
}

impl Record for Coupon {
    const KIND: &'static str = "coupon";
    const NOUN: &'static str = "coupon";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Coupon {
    /// What it takes off an invoice whose lines come to this, rounded once, halves away from zero.
    pub(super) fn takes_off(&self, subtotal: i64) -> i64 {
        let subtotal = subtotal.max(0);
        match &self.off {
            Off::Amount(amount, _) => (*amount).min(subtotal),
            Off::Percent(percent) => {
                let percent = Decimal::from_str_exact(percent).unwrap_or_default();
                let share =
                    Decimal::from(subtotal).checked_mul(percent).and_then(|all| all.checked_div(Decimal::ONE_HUNDRED));
                let rounded =
                    share.map(|share| share.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero));
                rounded.and_then(|rounded| rounded.to_i64()).unwrap_or(subtotal)
            }
        }
    }

    fn is_valid(&self, now: i64) -> bool {
        self.redeem_by.is_none_or(|by| now < by) && self.max_redemptions.is_none_or(|max| self.times_redeemed < max)
    }

    /// Refuses where it cannot be redeemed now, on something paid in this currency.
    pub(super) fn refuse_redeeming(&self, param: &str, currency: &str, now: i64) -> Result<(), ApiError> {
        if let Off::Amount(_, of) = &self.off
            && of != currency
        {
            let message = format!("The coupon {} is in {of}, and the subscription in {currency}.", self.id);
            return Err(ApiError::refused_at(param, message));
        }
        if self.is_valid(now) {
            return Ok(());
        }
        Err(ApiError::parameter(param, "coupon_expired", format!("Coupon expired: {}", self.id)))
    }
}

const FIELDS: [&str; 11] = [
    "id",
    "name",
    "percent_off",
    "amount_off",
    "currency",
    "duration",
    "duration_in_months",
    "max_redemptions",
    "redeem_by",
    "metadata",
    "metadata[*]",
];

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    for (param, what) in
        [("applies_to", "a coupon for some products"), ("currency_options", "a coupon in several currencies")]
    {
        if form.has(param) {
            return Err(ApiError::not_kept(param, what));
        }
    }
    form.allow(&FIELDS)?;
    let id = form.text("id")?.map_or_else(|| books::new_id("").chars().take(8).collect(), str::to_owned);
    if books::find::<Coupon>(call.books, &id)?.is_some() {
        return Err(ApiError::refused_as("resource_already_exists", "Coupon already exists."));
    }
    let mut coupon = Coupon {
        id,
        created: call.now,
        name: form.text("name")?.map(str::to_owned),
        off: off(form)?,
        duration: duration(form)?,
        max_redemptions: positive(form, "max_redemptions")?,
        redeem_by: redeem_by(call)?,
        times_redeemed: 0,
        metadata: Metadata::new(),
    };
    update_metadata(&mut coupon.metadata, form)?;
    books::put(call.books, &coupon)?;
    Ok(render(&coupon, call.now))
}

fn off(form: &Form) -> Result<Off, ApiError> {
    let percent = form.decimal("percent_off", 2)?;
    let amount = positive(form, "amount_off")?;
    match (percent, amount) {
        (Some(_), Some(_)) => {
            Err(ApiError::malformed("You may only specify one of these parameters: amount_off, percent_off."))
        }
        (None, None) => Err(ApiError::malformed("You must specify one of these parameters: amount_off, percent_off.")),
        (Some(percent), None) if percent.is_zero() || percent > Decimal::ONE_HUNDRED => {
            Err(ApiError::uncoded("percent_off", "percent_off must be greater than 0 and at most 100."))
        }
        (Some(percent), None) => Ok(Off::Percent(percent.normalize().to_string())),
        (None, Some(amount)) => Ok(Off::Amount(amount, form.required("currency")?.to_ascii_lowercase())),
    }
}

fn duration(form: &Form) -> Result<Duration, ApiError> {
    let months = positive(form, "duration_in_months")?;
    match (form.word("duration", &["forever", "once", "repeating"])?, months) {
        (Some("repeating"), Some(months)) => Ok(Duration::Repeating(u32::try_from(months).unwrap_or(u32::MAX))),
        (Some("repeating"), None) => Err(ApiError::missing("duration_in_months")),
        (_, Some(_)) => Err(ApiError::uncoded("duration_in_months", "It goes with duration=repeating only.")),
        (Some("forever"), None) => Ok(Duration::Forever),
        _ => Ok(Duration::Once),
    }
}

pub(super) fn positive(form: &Form, name: &str) -> Result<Option<i64>, ApiError> {
    match form.integer(name)? {
        Some(number) if number < 1 => {
            let message = "This value must be greater than or equal to 1.";
            Err(ApiError::parameter(&form.full_name(name), "parameter_invalid_integer", message))
        }
        other => Ok(other),
    }
}

fn redeem_by(call: &Call<'_>) -> Result<Option<i64>, ApiError> {
    let Some(by) = call.form.integer("redeem_by")? else { return Ok(None) };
    let message = if by <= call.now {
        "redeem_by must be in the future."
    } else if by.saturating_sub(call.now) > LONGEST {
        "redeem_by cannot be more than five years in the future."
    } else {
        return Ok(Some(by));
    };
    Err(ApiError::uncoded("redeem_by", message))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?, call.now))
}

/// All but the name stays as it was created.
pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["name", "metadata", "metadata[*]"])?;
    let mut coupon: Coupon = books::get(call.books, call.id)?;
    if let Some(name) = call.form.raw("name") {
        coupon.name = Some(name.to_owned()).filter(|text| !text.is_empty());
    }
    update_metadata(&mut coupon.metadata, call.form)?;
    books::put(call.books, &coupon)?;
    Ok(render(&coupon, call.now))
}

/// `DELETE /v1/coupons/{id}`: who has it keeps it.
pub(super) fn delete(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let coupon: Coupon = books::get(call.books, call.id)?;
    books::remove(call.books, &coupon)?;
    Ok(json!({ "id": coupon.id, "object": "coupon", "deleted": true }))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["limit", "starting_after", "ending_before"])?;
    let coupons: Vec<Coupon> = books::all(call.books, None)?;
    lists::page(call, "/v1/coupons", coupons.iter().map(|coupon| render(coupon, call.now)).collect())
}

pub(super) fn render(coupon: &Coupon, now: i64) -> Value {
    let (percent, amount, currency) = match &coupon.off {
        Off::Percent(percent) => (serde_json::from_str(percent).unwrap_or(Value::Null), None, None),
        Off::Amount(amount, currency) => (Value::Null, Some(amount), Some(currency)),
    };
    let (duration, months) = match coupon.duration {
        Duration::Once => ("once", None),
        Duration::Repeating(months) => ("repeating", Some(months)),
        Duration::Forever => ("forever", None),
    };
    json!({
        "id": coupon.id,
        "object": "coupon",
        "amount_off": amount,
        "created": coupon.created,
        "currency": currency,
        "duration": duration,
        "duration_in_months": months,
        "livemode": false,
        "max_redemptions": coupon.max_redemptions,
        "metadata": coupon.metadata,
        "name": coupon.name,
        "percent_off": percent,
        "redeem_by": coupon.redeem_by,
        "times_redeemed": coupon.times_redeemed,
        "valid": coupon.is_valid(now),
    })
}
