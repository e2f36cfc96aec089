//! A coupon, found by its id, which is ours.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::OperatorError;
use super::amount::shown;
use super::caller::Caller;
use super::catalog::{Catalog, Coupon, is_id};
use super::form::Form;
use super::report::Names;
use crate::model::Timestamp;

/// A coupon at Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CouponReport {
    /// Whether it was made now; else it was there.
    pub created: bool,
    /// Its id.
    pub coupon: String,
    /// Its terms, in words.
    pub terms: String,
}

impl Names for CouponReport {
    fn named(&self) -> Option<&str> {
        Some(&self.coupon)
    }
}

#[derive(Debug, Deserialize)]
struct CouponAtStripe {
    id: String,
    percent_off: Option<serde_json::Number>,
    amount_off: Option<i64>,
    currency: Option<String>,
    duration: String,
    duration_in_months: Option<u32>,
    max_redemptions: Option<u32>,
    redeem_by: Option<i64>,
}

/// Finds the coupon of this id, or makes it. One that is there with other terms is left, and said to be.
pub async fn create(
    caller: &Caller,
    catalog: &Catalog,
    id: &str,
    terms: &Coupon,
) -> Result<CouponReport, OperatorError> {
    refuse_bad(id, terms)?;
    let what = format!("cannot read the coupon {id}");
    let found: Option<CouponAtStripe> = caller.find(&what, &format!("/v1/coupons/{id}"), &Form::new()).await?;
    let wanted = words(&catalog.currency, terms)?;
    if let Some(found) = found {
        let there = found.words();
        if there == wanted {
            return Ok(CouponReport { created: false, coupon: found.id, terms: there });
        }
        let what = format!("there is a coupon {id} already: {there}; wanted is: {wanted}");
        let hint =
            "a coupon's terms cannot be changed: choose another id, or delete it in the dashboard; who has it keeps it";
        return Err(OperatorError::refused("coupon_differs", what, hint));
    }
    refuse_past(caller, id, terms)?;
    let form = form(&catalog.currency, id, terms)?;
    let made = caller.change(&format!("cannot create the coupon {id}"), "/v1/coupons", form).await?;
    let coupon = if caller.is_dry_run() { id.to_owned() } else { made.id };
    Ok(CouponReport { created: true, coupon, terms: wanted })
}

fn refuse_bad(id: &str, terms: &Coupon) -> Result<(), OperatorError> {
    let fault = if is_id(id) { terms.fault() } else { Some("its id is not of letters, digits, - and _".to_owned()) };
    match fault {
        None => Ok(()),
        Some(fault) => {
            let hint = "name its terms: usagectl stripe coupon create --help, or [coupons] in the catalog";
            Err(OperatorError::refused("coupon_terms", format!("the coupon {id} cannot be made: {fault}"), hint))
        }
    }
}

/// By Stripe's clock, which has just answered.
fn refuse_past(caller: &Caller, id: &str, terms: &Coupon) -> Result<(), OperatorError> {
    let Some((by, now)) = terms.redeem_by.zip(caller.date()) else { return Ok(()) };
    let moment = Timestamp::from_secs(by);
    if moment > now {
        return Ok(());
    }
    let text = moment.to_string();
    // Whoever wrote the last day of a year down as its first second is a year off.
    let year = text.strip_suffix("-01-01T00:00:00Z");
    let which = year.map(|year| format!(", the first moment of {year} and not the end of it,")).unwrap_or_default();
    let what = format!("the coupon {id} could be redeemed until {by}, which is {text}{which} and in the past");
    Err(OperatorError::refused("redeem_by_past", what, "name another moment: --redeem-by 2027-01-01T00:00:00Z"))
}

fn form(currency: &str, id: &str, terms: &Coupon) -> Result<Form, OperatorError> {
    let mut form = Form::new().with("id", id).with_some("name", terms.name.as_ref());
    if let Some(percent) = terms.percent_off {
        form = form.with("percent_off", percent.number().normalize().to_string());
    }
    if let Some(amount) = smallest(currency, terms)? {
        form = form.with("amount_off", amount.to_string()).with("currency", currency);
    }
    Ok(form
        .with("duration", terms.duration.word())
        .with_some("duration_in_months", terms.months.map(|months| months.to_string()))
        .with_some("max_redemptions", terms.max_redemptions.map(|max| max.to_string()))
        .with_some("redeem_by", terms.redeem_by.map(|by| by.to_string()))
        .with_some("metadata[description]", terms.description.as_ref()))
}

/// What it takes off in the currency's smallest unit, which is whole.
fn smallest(currency: &str, terms: &Coupon) -> Result<Option<Decimal>, OperatorError> {
    let Some(amount) = terms.amount_off else { return Ok(None) };
    let bad =
        |what| OperatorError::refused("coupon_terms", what, "name an amount in whole currency units, as 10 or 9.50");
    let amount = amount.in_smallest(currency).map_err(bad)?;
    if amount.fract().is_zero() { Ok(Some(amount)) } else { Err(bad(format!("{currency} has no such small amount"))) }
}

fn words(currency: &str, terms: &Coupon) -> Result<String, OperatorError> {
    let off = match (terms.percent_off, smallest(currency, terms)?) {
        (Some(percent), _) => format!("{} %", percent.number().normalize()),
        (None, amount) => shown(currency, amount.unwrap_or_default()),
    };
    Ok(sentence(&off, terms.duration.word(), terms.months, terms.max_redemptions, terms.redeem_by))
}

impl CouponAtStripe {
    fn words(&self) -> String {
        let percent = self.percent_off.as_ref().map(|percent| {
            let exact = Decimal::from_str_exact(&percent.to_string());
            exact.map_or_else(|_| percent.to_string(), |percent| percent.normalize().to_string())
        });
        let off = match percent {
            Some(percent) => format!("{percent} %"),
            None => {
                shown(self.currency.as_deref().unwrap_or_default(), Decimal::from(self.amount_off.unwrap_or_default()))
            }
        };
        sentence(&off, &self.duration, self.duration_in_months, self.max_redemptions, self.redeem_by)
    }
}

/// All that a coupon's terms are. Two of the same words are the same.
fn sentence(off: &str, duration: &str, months: Option<u32>, max: Option<u32>, redeem_by: Option<i64>) -> String {
    let duration = match months {
        Some(months) => format!("{off} off for {months} months"),
        None => format!("{off} off, {duration}"),
    };
    let max = max.map(|max| format!("{max} times at most"));
    let until = redeem_by.map(|by| format!("until {}", Timestamp::from_secs(by)));
    [Some(duration), max, until].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
