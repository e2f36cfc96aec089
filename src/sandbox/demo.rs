//! The catalog and the one customer that `usaged run --sandbox` bills.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::books;
use super::call::{Call, Handler};
use super::errors::{ApiError, SandboxError};
use super::form::Form;
use super::version::{PINNED_VERSION, Version};
use super::{Sandbox, auth, customers, prices, products, subscribe};

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
}

/// Lookup key of the demo's own price: compute by the second, so that a first minute shows something.
pub const SECONDS_PRICE: &str = "price_compute_seconds_demo";

const AGENT_KEY: &str = "rk_test_usagedDemoAgent";
const SECRET_KEY: &str = "sk_test_usagedDemoSecret";

/// Reads what it is linked to, writes and reads usage.
const AGENT_MAY: [&str; 7] = [
    "usage_record_write",
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

/// Lookup key, product, cents, interval, whether usage decides.
const PRICES: [(&str, &str, &str, &str, bool); 9] = [
    ("price_starter_monthly", "prod_magicbox_starter", "9900", "month", false),
    ("price_starter_annual", "prod_magicbox_starter", "99000", "year", false),
    ("price_pro_monthly", "prod_magicbox_pro", "19900", "month", false),
    ("price_pro_annual", "prod_magicbox_pro", "199000", "year", false),
    ("price_enterprise_monthly", "prod_magicbox_enterprise", "49900", "month", false),
    ("price_enterprise_annual", "prod_magicbox_enterprise", "499000", "year", false),
    ("price_compute_overage_starter", "prod_magicbox_starter", "5", "month", true),
    ("price_compute_overage_pro", "prod_magicbox_pro", "4", "month", true),
    ("price_api_overage", "prod_magicbox_pro", "1", "month", true),
];

/// Creates the catalog, a customer and its `pro` subscription with a base, a compute and an API item, all in one
/// transaction; or finds what an earlier call created. The subscription's periods end on the first of each month,
/// 00:00 UTC; its first one begins when it is created.
///
/// # Errors
/// The books cannot be written.
pub fn seed_demo(sandbox: &Sandbox) -> Result<Demo, SandboxError> {
    sandbox.0.within(|tx, now| {
        if let Some(demo) = books::recall(tx, "demo")? {
            return Ok(demo);
        }
        let demo = seed(tx, now)?;
        books::remember(tx, "demo", &demo)?;
        Ok(demo)
    })
}

fn seed(tx: &rusqlite::Connection, now: i64) -> Result<Demo, ApiError> {
    let version = Version::parse(PINNED_VERSION)?;
    let run = |handler: Handler, pairs: &[(&str, &str)]| -> Result<Value, ApiError> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let form = Form::from_pairs(owned);
        handler(&Call { books: tx, now, sandbox_now: now, version: &version, form: &form, id: "", key: None })
    };
    for (id, name, description) in PRODUCTS {
        run(products::create, &[("id", id), ("name", name), ("description", description)])?;
    }
    let mut ids = BTreeMap::new();
    for (key, product, cents, interval, is_metered) in PRICES {
        let mut pairs = vec![
            ("lookup_key", key),
            ("product", product),
            ("currency", "eur"),
            ("unit_amount", cents),
            ("recurring[interval]", interval),
        ];
        if is_metered {
            pairs.extend([("recurring[usage_type]", "metered"), ("recurring[aggregate_usage]", "sum")]);
        }
        ids.insert(key.to_owned(), text(&run(prices::create, &pairs)?, "/id"));
    }
    let seconds = run(
        prices::create,
        &[
            ("lookup_key", SECONDS_PRICE),
            ("product", "prod_magicbox_pro"),
            ("currency", "eur"),
            ("unit_amount_decimal", "0.001"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
            ("recurring[aggregate_usage]", "sum"),
        ],
    )?;
    ids.insert(SECONDS_PRICE.to_owned(), text(&seconds, "/id"));
    let customer = run(
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
    let id_of = |key: &str| ids.get(key).cloned().unwrap_or_default();
    let subscription = run(
        subscribe::create,
        &[
            ("customer", &customer),
            ("items[0][price]", &id_of("price_pro_monthly")),
            ("items[1][price]", &id_of("price_compute_overage_pro")),
            ("items[2][price]", &id_of("price_api_overage")),
            ("items[3][price]", &id_of(SECONDS_PRICE)),
            ("billing_cycle_anchor_config[day_of_month]", "1"),
            ("billing_cycle_anchor_config[hour]", "0"),
            ("billing_cycle_anchor_config[minute]", "0"),
            ("billing_cycle_anchor_config[second]", "0"),
        ],
    )?;
    auth::register(tx, AGENT_KEY, &AGENT_MAY.map(str::to_owned))?;
    Ok(Demo {
        agent_key: AGENT_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        customer,
        subscription: text(&subscription, "/id"),
        item_base: text(&subscription, "/items/data/0/id"),
        item_compute: text(&subscription, "/items/data/1/id"),
        item_api: text(&subscription, "/items/data/2/id"),
        item_seconds: text(&subscription, "/items/data/3/id"),
        prices: ids,
    })
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
