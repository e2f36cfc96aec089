//! A promotion code, found by the word that customers type.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OperatorError;
use super::caller::Caller;
use super::form::Form;
use super::report::Names;
use crate::model::Timestamp;

/// A promotion code that is wanted.
#[derive(Debug, Clone)]
pub struct NewPromotion {
    /// What customers type; case does not matter.
    pub code: String,
    /// The coupon's id.
    pub coupon: String,
    /// How often it can be redeemed.
    pub max_redemptions: Option<u32>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

/// A promotion code at Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromotionReport {
    /// Whether it was made now; else it was there.
    pub created: bool,
    /// `promo_…`.
    pub promotion_code: String,
    /// What customers type.
    pub code: String,
    /// The coupon's id.
    pub coupon: String,
}

impl Names for PromotionReport {
    fn named(&self) -> Option<&str> {
        Some(&self.promotion_code)
    }
}

#[derive(Debug, Deserialize)]
struct PromotionAtStripe {
    id: String,
    code: String,
    /// Before clover.
    coupon: Option<Reference>,
    /// Since clover.
    promotion: Option<Promotion>,
}

#[derive(Debug, Deserialize)]
struct Promotion {
    coupon: Option<Reference>,
}

/// An id, or the whole object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Whole { id: String },
}

impl PromotionAtStripe {
    fn coupon(&self) -> &str {
        let within = self.promotion.as_ref().and_then(|promotion| promotion.coupon.as_ref());
        match within.or(self.coupon.as_ref()) {
            Some(Reference::Id(id) | Reference::Whole { id }) => id,
            None => "",
        }
    }
}

/// Finds the active code, or makes it.
pub async fn create(caller: &Caller, new: &NewPromotion) -> Result<PromotionReport, OperatorError> {
    if let Some(found) = find(caller, &new.code).await? {
        let coupon = found.coupon().to_owned();
        if coupon != new.coupon {
            let what = format!("the promotion code {} is there already, for the coupon {coupon}", found.code);
            let hint = "choose another code, or deactivate that one in the dashboard";
            return Err(OperatorError::refused("promotion_differs", what, hint));
        }
        return Ok(PromotionReport { created: false, promotion_code: found.id, code: found.code, coupon });
    }
    let form = Form::new();
    // <https://docs.stripe.com/changelog/clover>
    let form = if caller.is_before_basil() {
        form.with("coupon", &new.coupon)
    } else {
        form.with("promotion[type]", "coupon").with("promotion[coupon]", &new.coupon)
    };
    let form = form
        .with("code", &new.code)
        .with_some("max_redemptions", new.max_redemptions.map(|max| max.to_string()))
        .with_some("expires_at", new.expires_at.map(|at| at.secs().to_string()));
    let what = format!("cannot create the promotion code {}", new.code);
    let made = caller.change(&what, "/v1/promotion_codes", form).await?;
    let code = made.object.get("code").and_then(Value::as_str).unwrap_or(&new.code).to_owned();
    Ok(PromotionReport { created: true, promotion_code: made.id, code, coupon: new.coupon.clone() })
}

/// The id of an active code; an id is taken as it is.
pub(super) async fn id_of(caller: &Caller, code: &str) -> Result<String, OperatorError> {
    if code.starts_with("promo_") {
        return Ok(code.to_owned());
    }
    let found = find(caller, code).await?.map(|found| found.id);
    found.ok_or_else(|| {
        let what = format!("there is no active promotion code {code}");
        OperatorError::refused("no_promotion", what, "make it: usagectl stripe promotion create --help")
    })
}

async fn find(caller: &Caller, code: &str) -> Result<Option<PromotionAtStripe>, OperatorError> {
    let query = Form::new().with("code", code).with("active", "true");
    let found: Vec<PromotionAtStripe> =
        caller.list("cannot list the promotion codes", "/v1/promotion_codes", &query).await?;
    Ok(found.into_iter().next())
}
