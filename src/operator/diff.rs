//! What is at Stripe, and where the catalog says otherwise.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::amount::shown;
use super::caller::Caller;
use super::catalog::{Catalog, Meter, Price, Product};
use super::form::Form;
use super::{Kind, OperatorError};

/// Lookup keys in one request. <https://docs.stripe.com/api/prices/list>
const LOOKUP_KEYS_MAX: usize = 10;

/// What the catalog asks of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is to be done.
    pub action: Action,
    /// `product`, `meter` or `price`.
    pub object: &'static str,
    /// Its name in the catalog.
    pub name: String,
    /// Its id at Stripe, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What differs, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// See [`Change::action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is as it should be.
    Keep,
    /// It is not there.
    Create,
    /// It is there, and may be changed in place.
    Update,
    /// A price: another one takes over its lookup key, and subscriptions keep this one.
    Replace,
    /// It is there, differs, and cannot be changed: somebody has to decide.
    Blocked,
}

#[derive(Debug, Deserialize)]
pub(super) struct ProductAtStripe {
    id: String,
    name: String,
    description: Option<String>,
    active: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct MeterAtStripe {
    id: String,
    event_name: String,
    display_name: String,
    status: String,
    default_aggregation: Formula,
    event_time_window: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Formula {
    formula: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PriceAtStripe {
    pub(super) id: String,
    pub(super) lookup_key: Option<String>,
    pub(super) product: String,
    active: bool,
    currency: String,
    nickname: Option<String>,
    billing_scheme: Option<String>,
    transform_quantity: Option<serde::de::IgnoredAny>,
    unit_amount_decimal: Option<String>,
    recurring: Option<Recurring>,
}

#[derive(Debug, Clone, Deserialize)]
struct Recurring {
    interval: String,
    interval_count: Option<u32>,
    usage_type: String,
    meter: Option<String>,
}

/// What is at Stripe under the names of the catalog.
#[derive(Debug, Default)]
pub(super) struct AtStripe {
    products: BTreeMap<String, ProductAtStripe>,
    /// By the name of their events; an active one where there is one.
    meters: BTreeMap<String, MeterAtStripe>,
    prices: BTreeMap<String, PriceAtStripe>,
}

impl AtStripe {
    /// Reads it all.
    pub(super) async fn read(caller: &Caller, catalog: &Catalog) -> Result<Self, OperatorError> {
        let keys: Vec<&str> = catalog.prices.keys().map(String::as_str).collect();
        Ok(Self {
            products: products(caller, catalog).await?,
            meters: if catalog.kind == Kind::StripeMeters { meters(caller).await? } else { BTreeMap::new() },
            prices: prices(caller, &keys).await?,
        })
    }

    /// What the catalog asks of each object, in the order in which it is done.
    pub(super) fn compare(&self, catalog: &Catalog) -> Vec<Change> {
        let products = catalog.products.iter().map(|(id, product)| self.compare_product(id, product));
        let with_meters = catalog.meters.iter().filter(|_| catalog.kind == Kind::StripeMeters);
        let meters = with_meters.map(|(name, meter)| self.compare_meter(name, meter));
        let prices = catalog.prices.iter().map(|(key, price)| self.compare_price(catalog, key, price));
        products.chain(meters).chain(prices).collect()
    }

    fn compare_product(&self, id: &str, wanted: &Product) -> Change {
        let Some(found) = self.products.get(id) else { return Change::create("product", id) };
        let mut why = Vec::new();
        differ(&mut why, "name", &found.name, &wanted.name);
        if wanted.description.is_some() {
            differ(&mut why, "description", text(found.description.as_ref()), text(wanted.description.as_ref()));
        }
        if !found.active {
            why.push("it is archived".to_owned());
        }
        Change::of("product", id, &found.id, Action::Update, why)
    }

    fn compare_meter(&self, name: &str, wanted: &Meter) -> Change {
        let Some(found) = self.meters.get(name) else { return Change::create("meter", name) };
        let mut fixed = Vec::new();
        differ(&mut fixed, "aggregation", &found.default_aggregation.formula, wanted.aggregation.word());
        let window = wanted.window.map_or("", super::catalog::Window::word);
        differ(&mut fixed, "window", text(found.event_time_window.as_ref()), window);
        if !fixed.is_empty() && found.status == "active" {
            fixed.push("a meter cannot be changed: name other events, or deactivate it by hand".to_owned());
            return Change::of("meter", name, &found.id, Action::Blocked, fixed);
        }
        if !fixed.is_empty() {
            return Change::create("meter", name);
        }
        let mut why = Vec::new();
        differ(&mut why, "display name", &found.display_name, &wanted.display_name);
        if found.status != "active" {
            why.push("it is inactive".to_owned());
        }
        Change::of("meter", name, &found.id, Action::Update, why)
    }

    fn compare_price(&self, catalog: &Catalog, key: &str, wanted: &Price) -> Change {
        let Some(found) = self.prices.get(key) else { return Change::create("price", key) };
        let fixed = self.fixed_terms(catalog, found, wanted);
        if !fixed.is_empty() {
            return Change::of("price", key, &found.id, Action::Replace, fixed);
        }
        let mut why = Vec::new();
        if wanted.nickname.is_some() {
            differ(&mut why, "nickname", text(found.nickname.as_ref()), text(wanted.nickname.as_ref()));
        }
        if !found.active {
            why.push("it is archived".to_owned());
        }
        Change::of("price", key, &found.id, Action::Update, why)
    }

    /// What differs and can never be changed about a price.
    fn fixed_terms(&self, catalog: &Catalog, found: &PriceAtStripe, wanted: &Price) -> Vec<String> {
        let mut fixed = Vec::new();
        let amount = wanted.amount.in_smallest(&catalog.currency).unwrap_or_default();
        if found.billing_scheme.as_deref() == Some("tiered") || found.transform_quantity.is_some() {
            fixed.push("it has tiers or packages".to_owned());
        } else if found.unit_amount() != Some(amount) || found.currency != catalog.currency {
            let old = shown(&found.currency, found.unit_amount().unwrap_or_default());
            fixed.push(format!("{old} -> {}", shown(&catalog.currency, amount)));
        }
        differ(&mut fixed, "product", &found.product, &wanted.product);
        let recurring = found.recurring.as_ref();
        let every = recurring.map_or(String::from("once"), |found| match found.interval_count {
            None | Some(1) => found.interval.clone(),
            Some(count) => format!("{count} {}", found.interval),
        });
        differ(&mut fixed, "interval", &every, wanted.interval.word());
        let usage_type = recurring.map_or("", |found| &found.usage_type);
        differ(&mut fixed, "usage", usage_type, if wanted.meter.is_some() { "metered" } else { "licensed" });
        let on_meter = recurring.and_then(|found| found.meter.as_deref()).unwrap_or("none");
        let meter = wanted.meter.as_ref().filter(|_| catalog.kind == Kind::StripeMeters);
        let wanted_meter = meter.map_or_else(|| "none".to_owned(), |name| self.meter_to_be(catalog, name));
        differ(&mut fixed, "meter", on_meter, &wanted_meter);
        fixed
    }

    /// The id under which a meter will stand, where it is there already and stays.
    fn meter_to_be(&self, catalog: &Catalog, name: &str) -> String {
        let change = catalog.meters.get(name).map(|wanted| self.compare_meter(name, wanted));
        change.and_then(|change| change.id).unwrap_or_else(|| "a new one".to_owned())
    }
}

impl PriceAtStripe {
    /// In the currency's smallest unit.
    fn unit_amount(&self) -> Option<Decimal> {
        Decimal::from_str_exact(self.unit_amount_decimal.as_deref()?).ok()
    }
}

impl Change {
    fn create(object: &'static str, name: &str) -> Self {
        Self { action: Action::Create, object, name: name.to_owned(), id: None, why: Vec::new() }
    }

    /// The action, or none where nothing differs.
    fn of(object: &'static str, name: &str, id: &str, action: Action, why: Vec<String>) -> Self {
        let action = if why.is_empty() { Action::Keep } else { action };
        Self { action, object, name: name.to_owned(), id: Some(id.to_owned()), why }
    }
}

fn differ(why: &mut Vec<String>, name: &str, found: &str, wanted: &str) {
    if found != wanted {
        why.push(format!("{name} {found:?} -> {wanted:?}"));
    }
}

fn text(maybe: Option<&String>) -> &str {
    maybe.map_or("", String::as_str)
}

async fn products(caller: &Caller, catalog: &Catalog) -> Result<BTreeMap<String, ProductAtStripe>, OperatorError> {
    let mut found = BTreeMap::new();
    for id in catalog.products.keys() {
        let what = format!("cannot read the product {id}");
        if let Some(product) =
            caller.find::<ProductAtStripe>(&what, &format!("/v1/products/{id}"), &Form::new()).await?
        {
            found.insert(id.clone(), product);
        }
    }
    Ok(found)
}

async fn meters(caller: &Caller) -> Result<BTreeMap<String, MeterAtStripe>, OperatorError> {
    let all: Vec<MeterAtStripe> = caller.list("cannot list the meters", "/v1/billing/meters", &Form::new()).await?;
    let mut found: BTreeMap<String, MeterAtStripe> = BTreeMap::new();
    for meter in all {
        // Newest first; of those that are inactive the newest is the likeliest to be meant.
        let is_better =
            found.get(&meter.event_name).is_none_or(|known| known.status != "active" && meter.status == "active");
        if is_better {
            found.insert(meter.event_name.clone(), meter);
        }
    }
    Ok(found)
}

/// Prices by their lookup keys.
pub(super) async fn prices(caller: &Caller, keys: &[&str]) -> Result<BTreeMap<String, PriceAtStripe>, OperatorError> {
    let mut found = BTreeMap::new();
    for some in keys.chunks(LOOKUP_KEYS_MAX) {
        let query = some.iter().fold(Form::new(), |query, key| query.with("lookup_keys[]", *key));
        let prices: Vec<PriceAtStripe> = caller.list("cannot list the prices", "/v1/prices", &query).await?;
        found.extend(prices.into_iter().filter_map(|price| Some((price.lookup_key.clone()?, price))));
    }
    Ok(found)
}
