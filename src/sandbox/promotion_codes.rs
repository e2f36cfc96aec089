//! Promotion codes: words that customers type for a coupon.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::coupons::{self, Coupon};
use super::customers::{Metadata, update_metadata};
use super::errors::ApiError;
use super::lists;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PromotionCode {
    id: String,
    created: i64,
    code: String,
    pub(super) coupon: String,
    active: bool,
    max_redemptions: Option<i64>,
    expires_at: Option<i64>,
    pub(super) times_redeemed: i64,
    metadata: Metadata,
}

impl Record for PromotionCode {
    const KIND: &'static str = "promotion_code";
    const NOUN: &'static str = "promotion code";
    fn id(&self) -> &str {
        &self.id
    }
}

impl PromotionCode {
    fn is_active(&self, now: i64) -> bool {
        self.active
            && self.expires_at.is_none_or(|at| now < at)
            && self.max_redemptions.is_none_or(|max| self.times_redeemed < max)
    }

    /// Refuses where it cannot be redeemed now.
    pub(super) fn refuse_redeeming(&self, param: &str, now: i64) -> Result<(), ApiError> {
        if self.is_active(now) {
            return Ok(());
        }
        let message = format!("This promotion code cannot be redeemed: {}.", self.id);
        Err(ApiError::refused_at(param, message))
    }
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    for (param, what) in
        [("restrictions", "a restricted promotion code"), ("customer", "a customer's own promotion code")]
    {
        if form.has(param) {
            return Err(ApiError::not_kept(param, what));
        }
    }
    let by = if call.version.has_promotion() { &["promotion[type]", "promotion[coupon]"][..] } else { &["coupon"] };
    let others = ["code", "active", "max_redemptions", "expires_at", "metadata", "metadata[*]"];
    form.allow(&[by, &others].concat())?;
    let coupon = if call.version.has_promotion() {
        form.word("promotion[type]", &["coupon"])?.ok_or_else(|| ApiError::missing("promotion[type]"))?;
        "promotion[coupon]"
    } else {
        "coupon"
    };
    let coupon: Coupon = books::get_at(call.books, coupon, form.required(coupon)?)?;
    let expires_at = form.integer("expires_at")?;
    if expires_at.is_some_and(|at| at <= call.now) {
        return Err(ApiError::uncoded("expires_at", "expires_at must be in the future."));
    }
    let drawn = || books::new_id("").chars().take(8).collect::<String>().to_ascii_uppercase();
    let mut promotion = PromotionCode {
        id: books::new_id("promo_"),
        created: call.now,
        code: form.text("code")?.map_or_else(drawn, str::to_owned),
        coupon: coupon.id,
        active: form.boolean("active")?.unwrap_or(true),
        max_redemptions: coupons::positive(form, "max_redemptions")?,
        expires_at,
        times_redeemed: 0,
        metadata: Metadata::new(),
    };
    if !promotion.code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(ApiError::uncoded("code", "A code is letters, digits and dashes."));
    }
    update_metadata(&mut promotion.metadata, form)?;
    refuse_twice(call, &promotion)?;
    books::put(call.books, &promotion)?;
    render(call, &promotion)
}

/// Regardless of case, a code is of one active promotion code.
fn refuse_twice(call: &Call<'_>, promotion: &PromotionCode) -> Result<(), ApiError> {
    let all: Vec<PromotionCode> = books::all(call.books, None)?;
    let is_taken = |one: &PromotionCode| {
        one.id != promotion.id && one.is_active(call.now) && one.code.eq_ignore_ascii_case(&promotion.code)
    };
    if promotion.active && all.iter().any(is_taken) {
        let message = format!("An active promotion code with `code: {}` already exists.", promotion.code);
        return Err(ApiError::refused_at("code", message));
    }
    Ok(())
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    render(call, &books::get(call.books, call.id)?)
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["active", "metadata", "metadata[*]"])?;
    let mut promotion: PromotionCode = books::get(call.books, call.id)?;
    promotion.active = call.form.boolean("active")?.unwrap_or(promotion.active);
    update_metadata(&mut promotion.metadata, call.form)?;
    refuse_twice(call, &promotion)?;
    books::put(call.books, &promotion)?;
    render(call, &promotion)
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["code", "coupon", "active", "limit", "starting_after", "ending_before"])?;
    let (code, coupon, active) = (form.text("code")?, form.text("coupon")?, form.boolean("active")?);
    let mut all: Vec<PromotionCode> = books::all(call.books, None)?;
    all.retain(|one| {
        code.is_none_or(|code| one.code.eq_ignore_ascii_case(code))
            && coupon.is_none_or(|coupon| one.coupon == coupon)
            && active.is_none_or(|active| one.is_active(call.now) == active)
    });
    let rendered = all.iter().map(|one| render(call, one)).collect::<Result<_, _>>()?;
    lists::page(call, "/v1/promotion_codes", rendered)
}

fn render(call: &Call<'_>, promotion: &PromotionCode) -> Result<Value, ApiError> {
    let mut value = json!({
        "id": promotion.id,
        "object": "promotion_code",
        "active": promotion.is_active(call.now),
        "code": promotion.code,
        "created": promotion.created,
        "customer": null,
        "expires_at": promotion.expires_at,
        "livemode": false,
        "max_redemptions": promotion.max_redemptions,
        "metadata": promotion.metadata,
        "restrictions": {
            "first_time_transaction": false, "minimum_amount": null, "minimum_amount_currency": null,
        },
        "times_redeemed": promotion.times_redeemed,
    });
    let coupon: Option<Coupon> = books::find(call.books, &promotion.coupon)?;
    let coupon = coupon.map(|coupon| coupons::render(&coupon, call.now));
    if let Some(fields) = value.as_object_mut() {
        if call.version.has_promotion() {
            fields.insert("promotion".to_owned(), json!({ "coupon": promotion.coupon, "type": "coupon" }));
        } else {
            fields.insert("coupon".to_owned(), json!(coupon));
        }
    }
    Ok(value)
}
