//! The catalog and the one customer that `usaged run --sandbox` bills.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::books;
use super::call::{Call, Handler};
use super::errors::{ApiError, SandboxError};
use super::form::Form;
use super::version::{PINNED_VERSION, Version};
use super::{Sandbox, auth, customers, meters, prices, products, subscribe};

/// What the demo is made of. The same after every restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demo {
    /// A restricted key with what an agent needs and no more.
    pub agent_key: String,
    /// A secret key, which may do everything.
    pub secret_key: String,
    /// `cus_…`.
    pub customer: String,
    /// `sub_…`.
    pub subscription: String,
    /// `si_…` of the base price.
    pub item_base: String,
    /// `si_…` of compute overage.
    pub item_compute: String,
    /// `si_…` of API overage.
    pub item_api: String,
    /// `si_…` of compute by the second.
    pub item_seconds: String,
    /// Price ids by lookup key.
    pub prices: BTreeMap<String, String>,
    /// `mtr_…` of `api_credits` events, where the metered prices are on meters.
    pub meter_api: Option<String>,
    /// `mtr_…` of `compute_hours` events, where the metered prices are on meters.
    pub meter_compute: Option<String>,
}

/// Lookup key of the demo's own price: compute by the second, so that a first minute shows something.
pub const SECONDS_PRICE: &str = "price_compute_seconds_demo";

/// The first version in which a metered price can only be on a meter.
const METERS_VERSION: &str = "2025-03-31.basil";

const AGENT_KEY: &str = "rk_test_usagedDemoAgent";
const SECRET_KEY: &str = "sk_test_usagedDemoSecret";

/// Reads what it is linked to, writes and reads usage.
const AGENT_MAY: [&str; 9] = [
    "usage_record_write",
    "billing_meter_event_write",
    "billing_meter_read",
    "subscription_read",
    "customer_read",
    "plan_read",
    "product_read",
    "invoice_read",
    "balance_read",
];

const PRODUCTS: [(&str, &str, &str); 3] = [
    ("prod_magicbox_starter", "Magic Box Starter", "Solo developer tier"),
    ("prod_magicbox_pro", "Magic Box Pro", "Growing team tier"),
    ("prod_magicbox_enterprise", "Magic Box Enterprise", "Large team tier"),
];

/// Lookup key, product, cents, interval, and the events that decide where usage does.
const PRICES: [(&str, &str, &str, &str, Option<&str>); 10] = [
    ("price_starter_monthly", "prod_magicbox_starter", "9900", "month", None),
    ("price_starter_annual", "prod_magicbox_starter", "99000", "year", None),
    ("price_pro_monthly", "prod_magicbox_pro", "19900", "month", None),
    ("price_pro_annual", "prod_magicbox_pro", "199000", "year", None),
    ("price_enterprise_monthly", "prod_magicbox_enterprise", "49900", "month", None),
    ("price_enterprise_annual", "prod_magicbox_enterprise", "499000", "year", None),
    ("price_compute_overage_starter", "prod_magicbox_starter", "5", "month", Some(COMPUTE)),
    ("price_compute_overage_pro", "prod_magicbox_pro", "4", "month", Some(COMPUTE)),
    ("price_api_overage", "prod_magicbox_pro", "1", "month", Some(API)),
    (SECONDS_PRICE, "prod_magicbox_pro", "0.001", "month", Some(SECONDS)),
];

const COMPUTE: &str = "compute_hours";
const API: &str = "api_credits";
const SECONDS: &str = "compute_seconds";

/// How the demo's metered prices are metered.
#[derive(Clone, Copy)]
enum Metering<'a> {
    UsageRecords,
    Meters { formula: &'a str, window: Option<&'a str> },
}

/// Creates the catalog, a customer and its `pro` subscription with a base, a compute and an API item, all in one
/// transaction; or finds what an earlier call created. The subscription's periods end on the first of each month,
/// 00:00 UTC; its first one begins when it is created.
///
/// # Errors
/// The books cannot be written.
pub fn seed_demo(sandbox: &Sandbox) -> Result<Demo, SandboxError> {
    remembered(sandbox, "demo", Metering::UsageRecords, None)
}

/// As [`seed_demo`], with the metered prices on meters of `api_credits` and `compute_hours` events (and one of
/// `compute_seconds`) with this formula (`sum`, `count`, `last`) and `event_time_window` (`hour`, `day`). The
/// subscription's `billing_cycle_anchor` is as given, unix seconds, else the first of each month as there.
///
/// # Errors
/// The formula, window or anchor is none, the books hold the other demo, or they cannot be written.
pub fn seed_meter_demo(
    sandbox: &Sandbox,
    formula: &str,
    window: Option<&str>,
    anchor: Option<i64>,
) -> Result<Demo, SandboxError> {
    remembered(sandbox, "meter_demo", Metering::Meters { formula, window }, anchor)
}

fn remembered(
    sandbox: &Sandbox,
    name: &str,
    metering: Metering<'_>,
    anchor: Option<i64>,
) -> Result<Demo, SandboxError> {
    sandbox.0.within(|tx, now| {
        if let Some(demo) = books::recall(tx, name)? {
            return Ok(demo);
        }
        let demo = Seed { tx, now, metering }.sow(anchor)?;
        books::remember(tx, name, &demo)?;
        Ok(demo)
    })
}

/// Creates what the demo is made of, by the handlers that requests come to.
struct Seed<'a> {
    tx: &'a Connection,
    now: i64,
    metering: Metering<'a>,
}

impl Seed<'_> {
    fn sow(&self, anchor: Option<i64>) -> Result<Demo, ApiError> {
        for (id, name, description) in PRODUCTS {
            self.run(products::create, &[("id", id), ("name", name), ("description", description)])?;
        }
        let meters = self.meters()?;
        let prices = self.prices(&meters)?;
        let customer = self.run(
            customers::create,
            &[
                ("email", "demo@example.com"),
                ("name", "Demo customer"),
                ("payment_method", "pm_card_visa"),
                ("metadata[magic_box_customer_id]", "demo"),
                ("metadata[magic_box_vm_id]", "this-vm"),
            ],
        )?;
        let customer = text(&customer, "/id");
        let subscription = self.subscription(&customer, &prices, anchor)?;
        auth::register(self.tx, AGENT_KEY, &AGENT_MAY.map(str::to_owned))?;
        Ok(Demo {
            agent_key: AGENT_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            customer,
            subscription: text(&subscription, "/id"),
            item_base: text(&subscription, "/items/data/0/id"),
            item_compute: text(&subscription, "/items/data/1/id"),
            item_api: text(&subscription, "/items/data/2/id"),
            item_seconds: text(&subscription, "/items/data/3/id"),
            prices,
            meter_api: meters.get(API).cloned(),
            meter_compute: meters.get(COMPUTE).cloned(),
        })
    }

    fn run(&self, handler: Handler, pairs: &[(&str, &str)]) -> Result<Value, ApiError> {
        let version = Version::parse(match self.metering {
            Metering::UsageRecords => PINNED_VERSION,
            Metering::Meters { .. } => METERS_VERSION,
        })?;
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let form = Form::from_pairs(owned);
        handler(&Call {
            books: self.tx,
            now: self.now,
            sandbox_now: self.now,
            version: &version,
            form: &form,
            id: "",
            key: None,
        })
    }

    /// Ids by the name of their events; none where usage comes in records.
    fn meters(&self) -> Result<BTreeMap<&'static str, String>, ApiError> {
        let Metering::Meters { formula, window } = self.metering else { return Ok(BTreeMap::new()) };
        let mut ids = BTreeMap::new();
        for event_name in [API, COMPUTE, SECONDS] {
            let mut pairs = vec![
                ("display_name", event_name),
                ("event_name", event_name),
                ("default_aggregation[formula]", formula),
            ];
            pairs.extend(window.map(|window| ("event_time_window", window)));
            ids.insert(event_name, text(&self.run(meters::create, &pairs)?, "/id"));
        }
        Ok(ids)
    }

    /// Ids by lookup key.
    fn prices(&self, meters: &BTreeMap<&str, String>) -> Result<BTreeMap<String, String>, ApiError> {
        let mut ids = BTreeMap::new();
        for (key, product, cents, interval, events) in PRICES {
            let mut pairs = vec![
                ("lookup_key", key),
                ("product", product),
                ("currency", "eur"),
                ("unit_amount_decimal", cents),
                ("recurring[interval]", interval),
            ];
            if let Some(events) = events {
                pairs.push(("recurring[usage_type]", "metered"));
                pairs.push(
                    meters.get(events).map_or(("recurring[aggregate_usage]", "sum"), |id| ("recurring[meter]", id)),
                );
            }
            ids.insert(key.to_owned(), text(&self.run(prices::create, &pairs)?, "/id"));
        }
        Ok(ids)
    }

    fn subscription(
        &self,
        customer: &str,
        prices: &BTreeMap<String, String>,
        anchor: Option<i64>,
    ) -> Result<Value, ApiError> {
        let id_of = |key: &str| prices.get(key).map_or("", String::as_str);
        let mut pairs = vec![
            ("customer", customer),
            ("items[0][price]", id_of("price_pro_monthly")),
            ("items[1][price]", id_of("price_compute_overage_pro")),
            ("items[2][price]", id_of("price_api_overage")),
            ("items[3][price]", id_of(SECONDS_PRICE)),
        ];
        let anchor = anchor.map(|anchor| anchor.to_string());
        match &anchor {
            Some(anchor) => pairs.push(("billing_cycle_anchor", anchor)),
            None => pairs.extend([
                ("billing_cycle_anchor_config[day_of_month]", "1"),
                ("billing_cycle_anchor_config[hour]", "0"),
                ("billing_cycle_anchor_config[minute]", "0"),
                ("billing_cycle_anchor_config[second]", "0"),
            ]),
        }
        self.run(subscribe::create, &pairs)
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
