//! The customer portal: what customers may do in it, and the door to it.
//!
//! <https://docs.stripe.com/api/customer_portal/configurations> and `/sessions`. Nobody is behind the door.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::customers::{Customer, Metadata, update_metadata};
use super::errors::ApiError;
use super::form::Form;
use super::lists;
use super::prices::Price;
use super::products::Product;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Configuration {
    id: String,
    created: i64,
    updated: i64,
    active: bool,
    default_return_url: Option<String>,
    headline: Option<String>,
    features: Features,
    metadata: Metadata,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Features {
    /// What customers may change about themselves; empty where that is off.
    customer_update: Vec<String>,
    invoice_history: bool,
    payment_method_update: bool,
    /// `at_period_end` or `immediately`; `None` where that is off.
    subscription_cancel: Option<String>,
    /// Products with the prices among which customers may switch; empty where that is off.
    products: Vec<(String, Vec<String>)>,
    allowed_updates: Vec<String>,
    proration_behavior: Option<String>,
}

impl Record for Configuration {
    const KIND: &'static str = "billing_portal.configuration";
    const NOUN: &'static str = "configuration";
    fn id(&self) -> &str {
        &self.id
    }
}

const FIELDS: [&str; 16] = [
    "business_profile[headline]",
    "default_return_url",
    "features[customer_update][enabled]",
    "features[customer_update][allowed_updates][]",
    "features[invoice_history][enabled]",
    "features[payment_method_update][enabled]",
    "features[subscription_cancel][enabled]",
    "features[subscription_cancel][mode]",
    "features[subscription_cancel][proration_behavior]",
    "features[subscription_update][enabled]",
    "features[subscription_update][default_allowed_updates][]",
    "features[subscription_update][proration_behavior]",
    "features[subscription_update][products][][product]",
    "features[subscription_update][products][][prices][]",
    "metadata",
    "metadata[*]",
];

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&FIELDS)?;
    if !call.form.has("features") {
        return Err(ApiError::missing("features"));
    }
    let mut configuration = Configuration {
        id: books::new_id("bpc_"),
        created: call.now,
        updated: call.now,
        active: true,
        default_return_url: None,
        headline: None,
        features: Features::default(),
        metadata: Metadata::new(),
    };
    change(call, &mut configuration)?;
    Ok(render(&configuration))
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[&FIELDS[..], &["active"]].concat())?;
    let mut configuration: Configuration = books::get(call.books, call.id)?;
    configuration.active = call.form.boolean("active")?.unwrap_or(configuration.active);
    configuration.updated = call.now;
    change(call, &mut configuration)?;
    Ok(render(&configuration))
}

fn change(call: &Call<'_>, configuration: &mut Configuration) -> Result<(), ApiError> {
    let form = call.form;
    if let Some(url) = form.raw("default_return_url") {
        configuration.default_return_url = Some(checked_url("default_return_url", url)?);
    }
    if let Some(headline) = form.raw("business_profile[headline]") {
        configuration.headline = Some(headline.to_owned()).filter(|text| !text.is_empty());
    }
    change_features(call, &mut configuration.features)?;
    update_metadata(&mut configuration.metadata, form)?;
    books::put(call.books, configuration)
}

fn change_features(call: &Call<'_>, features: &mut Features) -> Result<(), ApiError> {
    let form = call.form;
    let enabled = |feature: &str| form.boolean(&format!("features[{feature}][enabled]"));
    if let Some(on) = enabled("customer_update")? {
        let updates = form.texts("features[customer_update][allowed_updates]");
        let words = ["address", "email", "name", "phone", "shipping", "tax_id"];
        refuse_other_words("features[customer_update][allowed_updates]", &updates, &words)?;
        features.customer_update = if on { updates } else { Vec::new() };
    }
    features.invoice_history = enabled("invoice_history")?.unwrap_or(features.invoice_history);
    features.payment_method_update = enabled("payment_method_update")?.unwrap_or(features.payment_method_update);
    if let Some(on) = enabled("subscription_cancel")? {
        let mode = form.word("features[subscription_cancel][mode]", &["at_period_end", "immediately"])?;
        features.subscription_cancel = on.then(|| mode.unwrap_or("at_period_end").to_owned());
    }
    match enabled("subscription_update")? {
        Some(true) => change_switching(call, features),
        Some(false) => {
            (features.products, features.allowed_updates) = (Vec::new(), Vec::new());
            Ok(())
        }
        None => Ok(()),
    }
}

fn change_switching(call: &Call<'_>, features: &mut Features) -> Result<(), ApiError> {
    let at = |name: &str| format!("features[subscription_update][{name}]");
    let updates = call.form.texts(&at("default_allowed_updates"));
    if updates.is_empty() {
        return Err(ApiError::missing(&at("default_allowed_updates")));
    }
    refuse_other_words(&at("default_allowed_updates"), &updates, &["price", "promotion_code", "quantity"])?;
    let products = call.form.list(&at("products"));
    if products.is_empty() {
        return Err(ApiError::missing(&at("products")));
    }
    features.products = products.iter().map(|form| switchable(call, form)).collect::<Result<_, _>>()?;
    features.allowed_updates = updates;
    let words = ["always_invoice", "create_prorations", "none"];
    features.proration_behavior = call.form.word(&at("proration_behavior"), &words)?.map(str::to_owned);
    Ok(())
}

/// A product, with those of its prices among which customers may switch.
fn switchable(call: &Call<'_>, form: &Form) -> Result<(String, Vec<String>), ApiError> {
    let product: Product = books::get_at(call.books, &form.full_name("product"), form.required("product")?)?;
    let prices = form.texts("prices");
    let param = form.full_name("prices");
    if prices.is_empty() {
        return Err(ApiError::missing(&param));
    }
    for id in &prices {
        let price: Price = books::get_at(call.books, &param, id)?;
        if price.product != product.id || !price.active || price.recurring.is_none() {
            let message = format!("The price {id} is not an active recurring price of the product {}.", product.id);
            return Err(ApiError::refused_at(&param, message));
        }
    }
    Ok((product.id, prices))
}

fn refuse_other_words(param: &str, words: &[String], known: &[&str]) -> Result<(), ApiError> {
    match words.iter().find(|word| !known.contains(&word.as_str())) {
        None => Ok(()),
        Some(_) => Err(ApiError::uncoded(param, format!("Invalid {param}: must be one of {}", known.join(", ")))),
    }
}

fn checked_url(param: &str, url: &str) -> Result<String, ApiError> {
    let is_url =
        ["https://", "http://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if is_url { Ok(url.to_owned()) } else { Err(ApiError::parameter(param, "url_invalid", "Not a valid URL")) }
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["active", "is_default", "limit", "starting_after", "ending_before"])?;
    let (active, default) = (call.form.boolean("active")?, call.form.boolean("is_default")?);
    let mut all: Vec<Configuration> = books::all(call.books, None)?;
    // The default is the one that is saved in the dashboard, which nobody has here.
    all.retain(|one| active.is_none_or(|active| one.active == active) && default != Some(true));
    lists::page(call, "/v1/billing_portal/configurations", all.iter().map(render).collect())
}

fn render(configuration: &Configuration) -> Value {
    let features = &configuration.features;
    let products: Vec<Value> =
        features.products.iter().map(|(product, prices)| json!({ "product": product, "prices": prices })).collect();
    json!({
        "id": configuration.id,
        "object": "billing_portal.configuration",
        "active": configuration.active,
        "application": null,
        "business_profile": {
            "headline": configuration.headline, "privacy_policy_url": null, "terms_of_service_url": null,
        },
        "created": configuration.created,
        "default_return_url": configuration.default_return_url,
        "features": {
            "customer_update": {
                "allowed_updates": features.customer_update, "enabled": !features.customer_update.is_empty(),
            },
            "invoice_history": { "enabled": features.invoice_history },
            "payment_method_update": { "enabled": features.payment_method_update },
            "subscription_cancel": {
                "enabled": features.subscription_cancel.is_some(),
                "mode": features.subscription_cancel.as_deref().unwrap_or("at_period_end"),
                "proration_behavior": "none",
            },
            "subscription_update": {
                "default_allowed_updates": features.allowed_updates,
                "enabled": !features.products.is_empty(),
                "products": products,
                "proration_behavior": features.proration_behavior.as_deref().unwrap_or("none"),
            },
        },
        "is_default": false,
        "livemode": false,
        "login_page": { "enabled": false, "url": null },
        "metadata": configuration.metadata,
        "updated": configuration.updated,
    })
}

/// `POST /v1/billing_portal/sessions`.
pub(super) fn create_session(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    if form.has("flow_data") {
        return Err(ApiError::not_kept("flow_data", "a session for one task"));
    }
    form.allow(&["customer", "return_url", "configuration", "locale"])?;
    let customer: Customer = books::get_at(call.books, "customer", form.required("customer")?)?;
    let return_url = form.text("return_url")?.map(|url| checked_url("return_url", url)).transpose()?;
    let Some(configuration) = form.text("configuration")? else {
        let message = "No configuration provided and your test mode default configuration has not been created. Provide \
                       a configuration or create your default by saving your customer portal settings in test mode at \
                       https://dashboard.stripe.com/test/settings/billing/portal.";
        return Err(ApiError::refused(message));
    };
    let configuration: Configuration = books::get_at(call.books, "configuration", configuration)?;
    if !configuration.active {
        return Err(ApiError::refused_at("configuration", "This configuration is not active."));
    }
    let id = books::new_id("bps_");
    Ok(json!({
        "id": id,
        "object": "billing_portal.session",
        "configuration": configuration.id,
        "created": call.now,
        "customer": customer.id,
        "flow": null,
        "livemode": false,
        "locale": form.text("locale")?,
        "on_behalf_of": null,
        "return_url": return_url.or(configuration.default_return_url),
        "url": format!("https://billing.stripe.com/p/session/test_{id}"),
    }))
}
