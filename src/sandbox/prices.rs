//! Prices. Their ids are the sandbox's; a caller finds one by its lookup key.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::customers::{Metadata, update_metadata};
use super::errors::ApiError;
use super::form::Form;
use super::lists;
use super::meters::Meter;
use super::periods::{Interval, Unit};
use super::products::{self, Product};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Price {
    pub(super) id: String,
    created: i64,
    pub(super) product: String,
    pub(super) currency: String,
    /// In hundredths of the currency unit, up to 12 places. Text, so that it is kept exactly.
    pub(super) unit_amount_decimal: String,
    lookup_key: Option<String>,
    pub(super) active: bool,
    nickname: Option<String>,
    metadata: Metadata,
    pub(super) recurring: Option<Recurring>,
    tax_behavior: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recurring {
    pub(super) interval: Interval,
    pub(super) usage: Usage,
}

/// How the quantity of an item comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Usage {
    /// Set on the item, billed in advance.
    Licensed,
    /// Reported as usage records, billed in arrears.
    Metered(Aggregate),
    /// Reported as events of this meter, billed in arrears.
    OnMeter(String),
}

/// How usage records of a period become its total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aggregate {
    Sum,
    LastDuringPeriod,
    LastEver,
    Max,
}

impl Aggregate {
    const fn word(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::LastDuringPeriod => "last_during_period",
            Self::LastEver => "last_ever",
            Self::Max => "max",
        }
    }
}

impl Record for Price {
    const KIND: &'static str = "price";
    const NOUN: &'static str = "price";
    fn id(&self) -> &str {
        &self.id
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

impl Price {
    /// What one unit costs, in hundredths of the currency unit.
    pub(super) fn unit_amount(&self) -> Decimal {
        Decimal::from_str_exact(&self.unit_amount_decimal).unwrap_or_default()
    }

    /// How its quantity comes about.
    pub(super) fn usage(&self) -> &Usage {
        self.recurring.as_ref().map_or(&Usage::Licensed, |recurring| &recurring.usage)
    }
}

const FIELDS: [&str; 18] = [
    "currency",
    "product",
    "product_data[name]",
    "unit_amount",
    "unit_amount_decimal",
    "recurring[interval]",
    "recurring[interval_count]",
    "recurring[usage_type]",
    "recurring[aggregate_usage]",
    "recurring[meter]",
    "lookup_key",
    "transfer_lookup_key",
    "nickname",
    "metadata",
    "metadata[*]",
    "active",
    "billing_scheme",
    "tax_behavior",
];

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    refuse_not_kept(form)?;
    form.allow(&FIELDS)?;
    let currency = form.required("currency")?;
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(ApiError::uncoded("currency", format!("Invalid currency: {currency}.")));
    }
    let mut price = Price {
        id: books::new_id("price_"),
        created: call.now,
        product: String::new(),
        currency: currency.to_ascii_lowercase(),
        unit_amount_decimal: unit_amount(form)?.normalize().to_string(),
        lookup_key: form.text("lookup_key")?.map(str::to_owned),
        active: form.boolean("active")?.unwrap_or(true),
        nickname: form.text("nickname")?.map(str::to_owned),
        metadata: Metadata::new(),
        recurring: recurring(call)?,
        tax_behavior: tax_behavior(form)?.unwrap_or("unspecified").to_owned(),
    };
    update_metadata(&mut price.metadata, form)?;
    let transfer = form.boolean("transfer_lookup_key")?.unwrap_or(false);
    price.product = product(call)?;
    take_lookup_key(call, &price, transfer)?;
    books::put(call.books, &price)?;
    Ok(render(&price))
}

fn refuse_not_kept(form: &Form) -> Result<(), ApiError> {
    for (param, what) in [
        ("tiers", "a tiered price"),
        ("tiers_mode", "a tiered price"),
        ("transform_quantity", "a price per package"),
        ("currency_options", "a price in several currencies"),
        ("custom_unit_amount", "a price the customer chooses"),
    ] {
        if form.has(param) {
            return Err(ApiError::not_kept(param, what));
        }
    }
    match form.word("billing_scheme", &["per_unit", "tiered"])? {
        Some("tiered") => Err(ApiError::not_kept("billing_scheme", "a tiered price")),
        _ => Ok(()),
    }
}

fn unit_amount(form: &Form) -> Result<Decimal, ApiError> {
    let whole = form.natural("unit_amount")?.map(Decimal::from);
    match (whole, form.decimal("unit_amount_decimal", 12)?) {
        (Some(_), Some(_)) => {
            Err(ApiError::malformed("You may only specify one of these parameters: unit_amount, unit_amount_decimal."))
        }
        (Some(amount), None) | (None, Some(amount)) => Ok(amount),
        (None, None) => Err(ApiError::missing("unit_amount")),
    }
}

fn tax_behavior(form: &Form) -> Result<Option<&'static str>, ApiError> {
    form.word("tax_behavior", &["exclusive", "inclusive", "unspecified"])
}

fn recurring(call: &Call<'_>) -> Result<Option<Recurring>, ApiError> {
    let form = call.form;
    if !form.has("recurring") {
        return Ok(None);
    }
    let unit = form.word("recurring[interval]", &["day", "week", "month", "year"])?;
    let unit = Unit::from_word(unit.ok_or_else(|| ApiError::missing("recurring[interval]"))?);
    let count = form.integer("recurring[interval_count]")?.unwrap_or(1);
    let count = u32::try_from(count).ok().filter(|count| *count > 0 && *count <= unit.most_in_three_years());
    let count = count.ok_or_else(|| {
        let message = "The interval and interval_count together must be at least one and at most three years.";
        ApiError::parameter("recurring[interval_count]", "parameter_invalid_integer", message)
    })?;
    Ok(Some(Recurring { interval: Interval { unit, count }, usage: usage(call)? }))
}

fn usage(call: &Call<'_>) -> Result<Usage, ApiError> {
    let form = call.form;
    let (aggregate_name, meter_name) = ("recurring[aggregate_usage]", "recurring[meter]");
    let words = ["sum", "last_during_period", "last_ever", "max"];
    if call.version.is_basil() && form.has(aggregate_name) {
        let message = format!("Received unknown parameter: {aggregate_name}");
        return Err(ApiError::parameter(aggregate_name, "parameter_unknown", message));
    }
    let aggregate = form.word(aggregate_name, &words)?;
    let meter = form.text(meter_name)?;
    if form.word("recurring[usage_type]", &["licensed", "metered"])? != Some("metered") {
        return match (aggregate, meter) {
            (None, None) => Ok(Usage::Licensed),
            _ => Err(ApiError::malformed("aggregate_usage and meter can only be given where usage_type is metered.")),
        };
    }
    if let Some(meter) = meter {
        if aggregate.is_some() {
            return Err(ApiError::malformed("You cannot specify both a meter and aggregate_usage."));
        }
        return Ok(Usage::OnMeter(books::get_at::<Meter>(call.books, meter_name, meter)?.id));
    }
    if call.version.is_basil() {
        let message = "Metered prices must be backed by a meter from version 2025-03-31.basil on.";
        return Err(ApiError::parameter(meter_name, "parameter_missing", message));
    }
    Ok(Usage::Metered(match aggregate {
        Some("last_during_period") => Aggregate::LastDuringPeriod,
        Some("last_ever") => Aggregate::LastEver,
        Some("max") => Aggregate::Max,
        _ => Aggregate::Sum,
    }))
}

fn product(call: &Call<'_>) -> Result<String, ApiError> {
    match (call.form.text("product")?, call.form.text("product_data[name]")?) {
        (Some(id), None) => Ok(books::get_at::<Product>(call.books, "product", id)?.id),
        (None, Some(name)) => {
            let product = Product::new(name, call.now);
            books::put(call.books, &product)?;
            Ok(product.id)
        }
        (Some(_), Some(_)) => {
            Err(ApiError::malformed("You may only specify one of these parameters: product, product_data."))
        }
        (None, None) => Err(ApiError::missing("product")),
    }
}

/// A lookup key belongs to one price; it changes hands only where the caller says so.
fn take_lookup_key(call: &Call<'_>, price: &Price, transfer: bool) -> Result<(), ApiError> {
    let Some(key) = &price.lookup_key else { return Ok(()) };
    let holders = books::all::<Price>(call.books, None)?;
    let holder = holders.into_iter().find(|one| one.lookup_key.as_ref() == Some(key) && one.id != price.id);
    let Some(mut holder) = holder else { return Ok(()) };
    if !transfer {
        let message = format!("A price (`{}`) already uses that lookup key.", holder.id);
        return Err(ApiError::refused_at("lookup_key", message));
    }
    holder.lookup_key = None;
    books::put(call.books, &holder)
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&[
        "active",
        "lookup_key",
        "transfer_lookup_key",
        "nickname",
        "metadata",
        "metadata[*]",
        "tax_behavior",
    ])?;
    let mut price: Price = books::get(call.books, call.id)?;
    price.active = form.boolean("active")?.unwrap_or(price.active);
    if let Some(nickname) = form.raw("nickname") {
        price.nickname = Some(nickname.to_owned()).filter(|text| !text.is_empty());
    }
    if let Some(key) = form.raw("lookup_key") {
        price.lookup_key = Some(key.to_owned()).filter(|text| !text.is_empty());
    }
    if let Some(behavior) = tax_behavior(form)? {
        behavior.clone_into(&mut price.tax_behavior);
    }
    update_metadata(&mut price.metadata, form)?;
    take_lookup_key(call, &price, form.boolean("transfer_lookup_key")?.unwrap_or(false))?;
    books::put(call.books, &price)?;
    Ok(render(&price))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&[
        "active",
        "currency",
        "product",
        "type",
        "lookup_keys[]",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let (active, product, currency) = (form.boolean("active")?, form.text("product")?, form.text("currency")?);
    let kind = form.word("type", &["one_time", "recurring"])?;
    let keys = form.texts("lookup_keys");
    let prices: Vec<Price> = books::all(call.books, None)?;
    let fits = |one: &&Price| {
        active.is_none_or(|active| one.active == active)
            && product.is_none_or(|product| one.product == product)
            && currency.is_none_or(|currency| one.currency == currency)
            && kind.is_none_or(|kind| (kind == "recurring") == one.recurring.is_some())
            && (keys.is_empty() || one.lookup_key.as_ref().is_some_and(|key| keys.contains(key)))
    };
    lists::page(call, "/v1/prices", prices.iter().filter(fits).map(render).collect())
}

pub(super) fn render(price: &Price) -> Value {
    let amount = price.unit_amount();
    let whole = if amount.fract().is_zero() { amount.to_i64() } else { None };
    json!({
        "id": price.id,
        "object": "price",
        "active": price.active,
        "billing_scheme": "per_unit",
        "created": price.created,
        "currency": price.currency,
        "custom_unit_amount": null,
        "livemode": false,
        "lookup_key": price.lookup_key,
        "metadata": price.metadata,
        "nickname": price.nickname,
        "product": price.product,
        "recurring": price.recurring.as_ref().map(render_recurring),
        "tax_behavior": price.tax_behavior,
        "tiers_mode": null,
        "transform_quantity": null,
        "type": if price.recurring.is_some() { "recurring" } else { "one_time" },
        "unit_amount": whole,
        "unit_amount_decimal": price.unit_amount_decimal,
    })
}

fn render_recurring(recurring: &Recurring) -> Value {
    let (usage_type, aggregate, meter) = match &recurring.usage {
        Usage::Licensed => ("licensed", None, None),
        Usage::Metered(aggregate) => ("metered", Some(aggregate.word()), None),
        Usage::OnMeter(meter) => ("metered", None, Some(meter)),
    };
    json!({
        "aggregate_usage": aggregate,
        "interval": recurring.interval.unit.word(),
        "interval_count": recurring.interval.count,
        "meter": meter,
        "trial_period_days": null,
        "usage_type": usage_type,
    })
}

/// The older shape of a price, which items still carry beside it.
pub(super) fn render_plan(price: &Price) -> Value {
    let mut plan = render(price);
    if let (Some(fields), Some(recurring)) = (plan.as_object_mut(), &price.recurring) {
        let amount = fields.remove("unit_amount").unwrap_or_default();
        let amount_decimal = fields.remove("unit_amount_decimal").unwrap_or_default();
        for gone in ["custom_unit_amount", "lookup_key", "recurring", "tax_behavior", "transform_quantity", "type"] {
            fields.remove(gone);
        }
        fields.insert("object".to_owned(), json!("plan"));
        fields.insert("amount".to_owned(), amount);
        fields.insert("amount_decimal".to_owned(), amount_decimal);
        if let Some(of_interval) = render_recurring(recurring).as_object() {
            fields.extend(of_interval.clone());
        }
        fields.insert("transform_usage".to_owned(), Value::Null);
    }
    plan
}

/// The product of a price, for an invoice line's description.
pub(super) fn product_name(call_books: &rusqlite::Connection, price: &Price) -> Result<String, ApiError> {
    let product: Option<Product> = books::find(call_books, &price.product)?;
    Ok(product.map_or_else(String::new, |product| product.name))
}

/// The product object, where `price.product` is to be expanded.
pub(super) fn expanded_product(call_books: &rusqlite::Connection, id: &str) -> Result<Value, ApiError> {
    Ok(products::render(&books::get(call_books, id)?))
}
