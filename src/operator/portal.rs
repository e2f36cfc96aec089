//! What customers may do in Stripe's portal, and a way in for one of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OperatorError;
use super::caller::Caller;
use super::catalog::Catalog;
use super::diff::prices;
use super::form::Form;
use super::report::Names;
use crate::model::CustomerId;

/// The metadata field that tells our configuration from others.
const MARK: &str = "usagectl";
const MARKED: &str = "portal";

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortalReport {
    /// `created`, `changed` or `kept`.
    pub action: &'static str,
    /// `bpc_…`.
    pub configuration: String,
    /// Lookup keys among which customers may switch.
    pub prices: Vec<String>,
}

impl Names for PortalReport {
    fn named(&self) -> Option<&str> {
        Some(&self.configuration)
    }
}

/// A way in. Whoever has the URL is the customer, until it is used or some minutes have passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionReport {
    /// `cus_…`.
    pub customer: String,
    /// Where to send the customer; empty in a dry run.
    pub url: String,
}

impl Names for SessionReport {
    fn named(&self) -> Option<&str> {
        Some(&self.url)
    }
}

#[derive(Debug, Deserialize)]
struct ConfigurationAtStripe {
    id: String,
    default_return_url: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    features: Features,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Features {
    customer_update: CustomerUpdate,
    invoice_history: Switch,
    payment_method_update: Switch,
    subscription_cancel: Cancel,
    subscription_update: Update,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Switch {
    enabled: bool,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct CustomerUpdate {
    enabled: bool,
    allowed_updates: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Cancel {
    enabled: bool,
    mode: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Update {
    enabled: bool,
    default_allowed_updates: BTreeSet<String>,
    proration_behavior: String,
    /// Shown where it is asked for.
    #[serde(default)]
    products: Option<BTreeSet<Product>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Product {
    product: String,
    prices: BTreeSet<String>,
}

/// Lets customers update payment method and billing address, see invoices, cancel, and switch between the base prices of
/// the catalog's plans.
pub async fn configure(
    caller: &Caller,
    catalog: &Catalog,
    return_url: Option<&str>,
) -> Result<PortalReport, OperatorError> {
    let keys: BTreeSet<&str> =
        catalog.plans.values().flat_map(|plan| plan.monthly.iter().chain(&plan.annual)).map(String::as_str).collect();
    let wanted = Features::wanted(products(caller, &keys).await?);
    let prices = keys.iter().map(|key| (*key).to_owned()).collect();
    let form = wanted.form().with_some("default_return_url", return_url).with(format!("metadata[{MARK}]"), MARKED);
    let path = "/v1/billing_portal/configurations";
    let (action, configuration) = match find(caller).await? {
        None => ("created", caller.change("cannot configure the portal", path, form).await?.id),
        Some(found) if found.features == wanted && found.returns_to(return_url) => ("kept", found.id),
        Some(found) => {
            caller.change("cannot change the portal's configuration", &format!("{path}/{}", found.id), form).await?;
            ("changed", found.id)
        }
    };
    Ok(PortalReport { action, configuration, prices })
}

/// Opens the portal for a customer, with our configuration where there is one, else with the dashboard's.
pub async fn open(caller: &Caller, customer: &CustomerId, return_url: &str) -> Result<SessionReport, OperatorError> {
    let configuration = find(caller).await?.map(|found| found.id);
    let form = Form::new()
        .with("customer", customer.as_str())
        .with("return_url", return_url)
        .with_some("configuration", configuration);
    let made = caller.change("cannot open the portal", "/v1/billing_portal/sessions", form).await?;
    let url = made.object.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(SessionReport { customer: customer.to_string(), url })
}

async fn find(caller: &Caller) -> Result<Option<ConfigurationAtStripe>, OperatorError> {
    let query = Form::new().with("active", "true").with("expand[]", "data.features.subscription_update.products");
    let what = "cannot list the portal's configurations";
    let all: Vec<ConfigurationAtStripe> = caller.list(what, "/v1/billing_portal/configurations", &query).await?;
    Ok(all.into_iter().find(|one| one.metadata.get(MARK).is_some_and(|mark| mark == MARKED)))
}

async fn products(caller: &Caller, keys: &BTreeSet<&str>) -> Result<BTreeSet<Product>, OperatorError> {
    let found = prices(caller, &keys.iter().copied().collect::<Vec<_>>()).await?;
    if let Some(missing) = keys.iter().find(|key| !found.contains_key(**key)) {
        let what = format!("there is no price {missing} at Stripe");
        return Err(OperatorError::refused(
            "no_price",
            what,
            "make what the catalog says: usagectl stripe catalog apply",
        ));
    }
    let mut products: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for price in found.into_values() {
        products.entry(price.product).or_default().insert(price.id);
    }
    Ok(products.into_iter().map(|(product, prices)| Product { product, prices }).collect())
}

impl ConfigurationAtStripe {
    fn returns_to(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| self.default_return_url.as_deref() == Some(wanted))
    }
}

impl Features {
    fn wanted(products: BTreeSet<Product>) -> Self {
        let on = || Switch { enabled: true };
        Self {
            customer_update: CustomerUpdate { enabled: true, allowed_updates: BTreeSet::from(["address".to_owned()]) },
            invoice_history: on(),
            payment_method_update: on(),
            subscription_cancel: Cancel { enabled: true, mode: "at_period_end".to_owned() },
            subscription_update: Update {
                enabled: true,
                default_allowed_updates: BTreeSet::from(["price".to_owned()]),
                proration_behavior: "create_prorations".to_owned(),
                products: Some(products),
            },
        }
    }

    fn form(&self) -> Form {
        let at = |name: &str| format!("features[{name}]");
        let mut form = Form::new()
            .with(at("customer_update][enabled"), "true")
            .with(at("customer_update][allowed_updates][0"), "address")
            .with(at("invoice_history][enabled"), "true")
            .with(at("payment_method_update][enabled"), "true")
            .with(at("subscription_cancel][enabled"), "true")
            .with(at("subscription_cancel][mode"), &self.subscription_cancel.mode)
            .with(at("subscription_update][enabled"), "true")
            .with(at("subscription_update][default_allowed_updates][0"), "price")
            .with(at("subscription_update][proration_behavior"), &self.subscription_update.proration_behavior);
        for (index, product) in self.subscription_update.products.iter().flatten().enumerate() {
            let at = |name: &str| format!("features[subscription_update][products][{index}][{name}]");
            form = form.with(at("product"), &product.product);
            for (index, price) in product.prices.iter().enumerate() {
                form = form.with(at(&format!("prices][{index}")), price);
            }
        }
        form
    }
}
