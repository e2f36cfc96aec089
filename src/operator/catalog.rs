//! The catalog file: what is sold, and under which names it is found at Stripe.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::amount::Amount;
use super::{Kind, OperatorError};

/// The catalog that is used where no file is named.
pub const BUILT_IN: &str = include_str!("catalog.toml");

/// What is sold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// How usage reaches Stripe.
    #[serde(default)]
    pub kind: Kind,
    /// Of every price; ISO 4217, lowercase.
    pub currency: String,
    /// Names of metadata fields.
    pub metadata: MetadataNames,
    /// By their ids, which are ours.
    pub products: BTreeMap<String, Product>,
    /// By the name of their events.
    #[serde(default)]
    pub meters: BTreeMap<String, Meter>,
    /// By their lookup keys.
    pub prices: BTreeMap<String, Price>,
    /// By their names.
    #[serde(default)]
    pub plans: BTreeMap<String, Plan>,
    /// By their ids, which are ours.
    #[serde(default)]
    pub coupons: BTreeMap<String, Coupon>,
}

/// Under which names the vendor's own ids stand in metadata.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataNames {
    /// As `magic_box_customer_id`.
    pub customer_id: String,
    /// As `magic_box_vm_id`.
    pub vm_id: String,
}

/// A product.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// On invoices.
    pub name: String,
    /// For customers.
    pub description: Option<String>,
}

/// A billing meter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// In the dashboard.
    pub display_name: String,
    /// How its events become a quantity.
    pub aggregation: Aggregation,
    /// With `sum`, in which one event stands for a whole UTC day.
    pub window: Option<Window>,
}

/// See [`Meter::aggregation`]. `count` is none of them: the agent reports totals (rule S10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// The last total counts.
    Last,
    /// Events add up.
    Sum,
}

impl Aggregation {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Sum => "sum",
        }
    }
}

/// See [`Meter::window`]. `hour` is none of them (rule S10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// A UTC day.
    Day,
}

impl Window {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
        }
    }
}

/// A price.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The product's id.
    pub product: String,
    /// In the dashboard.
    pub nickname: Option<String>,
    /// In whole currency units, of one unit.
    pub amount: Amount,
    /// How often it is billed.
    pub interval: Interval,
    /// The meter whose usage it bills; absent for a price that is paid in advance.
    pub meter: Option<String>,
}

/// How often a price is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// Every week.
    Week,
    /// Every month.
    Month,
    /// Every year.
    Year,
}

impl Interval {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// What a customer buys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Lookup key of the base price paid monthly.
    pub monthly: Option<String>,
    /// Lookup key of the base price paid yearly.
    pub annual: Option<String>,
    /// Lookup keys of the metered prices.
    #[serde(default)]
    pub overage: Vec<String>,
}

/// A coupon's terms.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coupon {
    /// On invoices.
    pub name: Option<String>,
    /// So many of a hundred.
    pub percent_off: Option<Amount>,
    /// So much, in whole units of the catalog's currency.
    pub amount_off: Option<Amount>,
    /// For how long a subscription is cheaper by it.
    #[serde(default)]
    pub duration: Duration,
    /// With `repeating`: so many months.
    pub months: Option<u32>,
    /// Until when it can be redeemed, unix seconds.
    pub redeem_by: Option<i64>,
    /// How often.
    pub max_redemptions: Option<u32>,
    /// For the dashboard, in its metadata.
    pub description: Option<String>,
}

/// See [`Coupon::duration`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duration {
    /// For one invoice.
    #[default]
    Once,
    /// For some months.
    Repeating,
    /// For as long as it runs.
    Forever,
}

impl Duration {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Repeating => "repeating",
            Self::Forever => "forever",
        }
    }
}

impl Catalog {
    /// Reads a file, or the built-in catalog.
    pub fn load(path: Option<&Path>) -> Result<Self, OperatorError> {
        let Some(path) = path else { return Self::parse("the built-in catalog", BUILT_IN) };
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| OperatorError::Catalog { file: file.clone(), what: format!("cannot be read: {error}") })?;
        Self::parse(&file, &text)
    }

    fn parse(file: &str, text: &str) -> Result<Self, OperatorError> {
        let unusable = |what: String| OperatorError::Catalog { file: file.to_owned(), what };
        let catalog: Self = toml::from_str(text).map_err(|error| unusable(error.to_string().trim_end().to_owned()))?;
        let faults = catalog.faults();
        if faults.is_empty() { Ok(catalog) } else { Err(unusable(faults.join("\n"))) }
    }

    /// The same, with usage on its way to Stripe differently.
    #[must_use]
    pub fn of_kind(self, kind: Option<Kind>) -> Self {
        Self { kind: kind.unwrap_or(self.kind), ..self }
    }

    /// The plan of a name.
    pub(super) fn plan(&self, name: &str) -> Result<&Plan, OperatorError> {
        self.plans.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.plans.keys().map(String::as_str).collect();
            let what = format!("the catalog has no plan {name:?}");
            OperatorError::refused("unknown_plan", what, format!("its plans are {}", known.join(", ")))
        })
    }
}

/// Whether it may stand in a URL.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(change: impl FnOnce(String) -> String) -> String {
        Catalog::parse("c.toml", &change(BUILT_IN.to_owned())).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_catalog_has_the_products_prices_and_plans_that_are_sold() {
        let catalog = Catalog::load(None).unwrap();
        assert_eq!((catalog.prices.len(), catalog.plans.len(), catalog.kind), (9, 3, Kind::StripeMeters));
        let smallest = |key: &str| catalog.prices[key].amount.in_smallest("eur").unwrap().to_string();
        for (key, cents) in [
            ("price_starter_monthly", "9900"),
            ("price_starter_annual", "99000"),
            ("price_pro_monthly", "19900"),
            ("price_pro_annual", "199000"),
            ("price_enterprise_monthly", "49900"),
            ("price_enterprise_annual", "499000"),
            ("price_compute_overage_starter", "5"),
            ("price_compute_overage_pro", "4"),
            ("price_api_overage", "1"),
        ] {
            assert_eq!(smallest(key), cents, "{key}");
        }
        assert_eq!(catalog.plan("enterprise").unwrap().overage, ["price_api_overage"], "compute is unlimited");
    }

    /// The agent looks for its prices by the same names.
    #[test]
    fn the_plans_that_the_agent_ships_with_are_priced_alike() {
        let shipped: toml::Table = include_str!("../config/default.toml").parse().unwrap();
        let catalog = Catalog::load(None).unwrap();
        for (name, plan) in shipped["plans"].as_table().unwrap() {
            let ours = catalog.plan(name).unwrap();
            for (term, key) in [("monthly", &ours.monthly), ("annual", &ours.annual)] {
                assert_eq!(plan[term]["price"].as_str(), key.as_deref());
                let amount = Amount::parse(plan[term]["amount"].as_str().unwrap()).unwrap();
                assert_eq!(catalog.prices[key.as_ref().unwrap()].amount, amount, "{name} {term}");
            }
            let overage = plan["overage"].as_table().unwrap();
            assert_eq!(overage.len(), ours.overage.len(), "{name}");
            for (meter, terms) in overage {
                let price = &catalog.prices[terms["price"].as_str().unwrap()];
                assert_eq!(price.meter.as_ref(), Some(meter));
                assert_eq!(price.amount, Amount::parse(terms["unit_amount"].as_str().unwrap()).unwrap());
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_all_at_once() {
        let said = fault_of(|text| text.replace("currency = \"eur\"", "currency = \"Euro\"").replace("\"99\"", "0.99"));
        assert!(said.contains("line ") && said.contains("an amount in quotes"), "{said}");
        let said = fault_of(|text| text.replace("currency", "curency"));
        assert!(said.contains("unknown field `curency`"), "{said}");
        let said = fault_of(|text| {
            let text = text.replace("product = \"prod_magicbox_api\"", "product = \"prod_other\"");
            text.replace("annual = \"price_pro_annual\"", "annual = \"price_pro_monthly\"")
                .replace("\"eur\"", "\"EUR\"")
        });
        assert_eq!(
            said,
            "c.toml: currency: \"EUR\" is no currency, as \"eur\"\n\
             prices.price_api_overage: there is no product \"prod_other\"\n\
             plans.pro: price_pro_monthly is not annual"
        );
    }
}
