//! Which URL is what, and what a restricted key needs for it.

use serde_json::{Value, json};

use super::call::{Call, Handler};
use super::errors::ApiError;
use super::version::Version;
use super::{
    anchors, auth, collection, coupons, customers, events, invoices, items, meter_errors, meter_events, meter_totals,
    meters, payments, portal, prices, products, promotion_codes, search, subscribe, usage_records,
};
use super::{subscription_changes, subscriptions, test_clocks, webhook_endpoints};

/// Where a request goes.
pub(super) struct Route {
    pub(super) handler: Handler,
    /// As `usage_record_write`.
    pub(super) permission: &'static str,
    /// The object that the path names.
    pub(super) id: String,
}

impl Route {
    /// The method and the path without the object's id, as limits count them.
    pub(super) fn endpoint(&self, method: &str, path: &str) -> String {
        let named = |segment: &str| !self.id.is_empty() && segment == self.id;
        let segments: Vec<&str> = path.split('/').map(|one| if named(one) { "*" } else { one }).collect();
        format!("{method} {}", segments.join("/"))
    }
}

/// Finds the route, if this version of the API has it.
pub(super) fn find(method: &str, path: &str, version: &Version) -> Option<Route> {
    if let Some(path) = path.strip_prefix("/v2/") {
        return second_api(method, path, version);
    }
    let segments: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
    let (handler, permission) = of_version(method, &segments, version)
        .or_else(|| catalog(method, &segments))
        .or_else(|| metering(method, &segments))
        .or_else(|| billing(method, &segments))
        .or_else(|| discounting(method, &segments))
        .or_else(|| account(method, &segments))
        .or_else(|| telling(method, &segments))
        .or_else(|| test_helpers(method, &segments))?;
    let id = match segments.as_slice() {
        ["billing", "meters", id, ..]
        | ["test_helpers", "test_clocks", id, ..]
        | ["billing_portal", "configurations", id] => id,
        ["billing" | "billing_portal" | "test_helpers", ..] | [_, "upcoming" | "create_preview" | "search"] => "",
        [_, id, ..] => id,
        _ => "",
    };
    Some(Route { handler, permission, id: id.to_owned() })
}

/// What there is below `/v2/`.
fn second_api(method: &str, path: &str, version: &Version) -> Option<Route> {
    let (handler, id): (Handler, &str) = match (method, path.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", ["core", "events"]) => (meter_errors::list, ""),
        ("GET", ["core", "events", id]) => (meter_errors::retrieve, id),
        _ => return None,
    };
    version.has_thin_events().then(|| Route { handler, permission: "event_read", id: id.to_owned() })
}

type Found = Option<(Handler, &'static str)>;

fn of_version(method: &str, segments: &[&str], version: &Version) -> Found {
    if version.is_basil() { since_basil(method, segments) } else { before_basil(method, segments) }
}

/// Gone from 2025-03-31.basil on.
fn before_basil(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("POST", ["subscription_items", _, "usage_records"]) => (usage_records::create, "usage_record_write"),
        ("GET", ["subscription_items", _, "usage_record_summaries"]) => {
            (usage_records::list_summaries, "usage_record_read")
        }
        ("GET", ["invoices", "upcoming"]) => (invoices::upcoming, "invoice_read"),
        _ => return None,
    })
}

fn since_basil(method: &str, segments: &[&str]) -> Found {
    match (method, segments) {
        ("POST", ["invoices", "create_preview"]) => Some((invoices::upcoming, "invoice_read")),
        // Or it would be taken for an invoice of that name.
        ("GET", ["invoices", "upcoming"]) => Some((unknown, "invoice_read")),
        _ => None,
    }
}

fn catalog(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("POST", ["customers"]) => (customers::create, "customer_write"),
        ("GET", ["customers"]) => (customers::list, "customer_read"),
        ("GET", ["customers", "search"]) => (search::customers, "customer_read"),
        ("GET", ["customers", _]) => (customers::retrieve, "customer_read"),
        ("POST", ["customers", _]) => (customers::update, "customer_write"),
        ("POST", ["products"]) => (products::create, "product_write"),
        ("GET", ["products"]) => (products::list, "product_read"),
        ("GET", ["products", _]) => (products::retrieve, "product_read"),
        ("POST", ["products", _]) => (products::update, "product_write"),
        ("POST", ["prices"]) => (prices::create, "plan_write"),
        ("GET", ["prices"]) => (prices::list, "plan_read"),
        ("GET", ["prices", _]) => (prices::retrieve, "plan_read"),
        ("POST", ["prices", _]) => (prices::update, "plan_write"),
        _ => return None,
    })
}

fn metering(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("POST", ["billing", "meters"]) => (meters::create, "billing_meter_write"),
        ("GET", ["billing", "meters"]) => (meters::list, "billing_meter_read"),
        ("GET", ["billing", "meters", _]) => (meters::retrieve, "billing_meter_read"),
        ("POST", ["billing", "meters", _]) => (meters::update, "billing_meter_write"),
        ("POST", ["billing", "meters", _, "deactivate"]) => (meters::deactivate, "billing_meter_write"),
        ("POST", ["billing", "meters", _, "reactivate"]) => (meters::reactivate, "billing_meter_write"),
        ("GET", ["billing", "meters", _, "event_summaries"]) => (meter_totals::list_summaries, "billing_meter_read"),
        ("POST", ["billing", "meter_events"]) => (meter_events::create, "billing_meter_event_write"),
        ("POST", ["billing", "meter_event_adjustments"]) => (meter_events::adjust, "billing_meter_event_write"),
        _ => return None,
    })
}

fn billing(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("POST", ["subscriptions"]) => (subscribe::create, "subscription_write"),
        ("GET", ["subscriptions"]) => (subscriptions::list, "subscription_read"),
        ("GET", ["subscriptions", _]) => (subscriptions::retrieve, "subscription_read"),
        ("POST", ["subscriptions", _]) => (subscription_changes::update, "subscription_write"),
        ("POST", ["subscriptions", _, "resume"]) => (anchors::resume, "subscription_write"),
        ("DELETE", ["subscriptions", _]) => (subscription_changes::cancel, "subscription_write"),
        ("POST", ["subscription_items"]) => (items::create, "subscription_write"),
        ("GET", ["subscription_items"]) => (items::list, "subscription_read"),
        ("GET", ["subscription_items", _]) => (items::retrieve, "subscription_read"),
        ("POST", ["subscription_items", _]) => (items::update, "subscription_write"),
        ("DELETE", ["subscription_items", _]) => (items::delete, "subscription_write"),
        ("GET", ["invoices"]) => (invoices::list, "invoice_read"),
        ("GET", ["invoices", _]) => (invoices::retrieve, "invoice_read"),
        ("GET", ["invoices", _, "lines"]) => (invoices::list_lines, "invoice_read"),
        ("POST", ["invoices", _, "pay"]) => (invoices::pay, "invoice_write"),
        ("POST", ["invoices", _, "finalize"]) => (invoices::finalize, "invoice_write"),
        ("POST", ["invoices", _, "void"]) => (collection::void, "invoice_write"),
        ("POST", ["invoices", _, "mark_uncollectible"]) => (collection::mark_uncollectible, "invoice_write"),
        ("GET", ["payment_intents", _]) => (payments::retrieve, "payment_intent_read"),
        ("POST", ["payment_intents", _, "confirm"]) => (payments::confirm, "payment_intent_write"),
        _ => return None,
    })
}

fn discounting(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("POST", ["coupons"]) => (coupons::create, "coupon_write"),
        ("GET", ["coupons"]) => (coupons::list, "coupon_read"),
        ("GET", ["coupons", _]) => (coupons::retrieve, "coupon_read"),
        ("POST", ["coupons", _]) => (coupons::update, "coupon_write"),
        ("DELETE", ["coupons", _]) => (coupons::delete, "coupon_write"),
        ("POST", ["promotion_codes"]) => (promotion_codes::create, "promotion_code_write"),
        ("GET", ["promotion_codes"]) => (promotion_codes::list, "promotion_code_read"),
        ("GET", ["promotion_codes", _]) => (promotion_codes::retrieve, "promotion_code_read"),
        ("POST", ["promotion_codes", _]) => (promotion_codes::update, "promotion_code_write"),
        _ => return None,
    })
}

fn account(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("GET", ["balance"]) => (balance, "balance_read"),
        ("GET", ["account"]) => (auth::account, "accounts_kyc_basic_read"),
        ("POST", ["billing_portal", "configurations"]) => (portal::create, "customer_portal_write"),
        ("GET", ["billing_portal", "configurations"]) => (portal::list, "customer_portal_read"),
        ("GET", ["billing_portal", "configurations", _]) => (portal::retrieve, "customer_portal_read"),
        ("POST", ["billing_portal", "configurations", _]) => (portal::update, "customer_portal_write"),
        ("POST", ["billing_portal", "sessions"]) => (portal::create_session, "customer_portal_write"),
        _ => return None,
    })
}

fn telling(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("GET", ["events"]) => (events::list, "event_read"),
        ("GET", ["events", _]) => (events::retrieve, "event_read"),
        ("POST", ["webhook_endpoints"]) => (webhook_endpoints::create, "webhook_write"),
        ("GET", ["webhook_endpoints"]) => (webhook_endpoints::list, "webhook_read"),
        ("GET", ["webhook_endpoints", _]) => (webhook_endpoints::retrieve, "webhook_read"),
        ("POST", ["webhook_endpoints", _]) => (webhook_endpoints::update, "webhook_write"),
        ("DELETE", ["webhook_endpoints", _]) => (webhook_endpoints::delete, "webhook_write"),
        _ => return None,
    })
}

fn test_helpers(method: &str, segments: &[&str]) -> Found {
    Some(match (method, segments) {
        ("POST", ["test_helpers", "test_clocks"]) => (test_clocks::create, "billing_clock_write"),
        ("GET", ["test_helpers", "test_clocks"]) => (test_clocks::list, "billing_clock_read"),
        ("GET", ["test_helpers", "test_clocks", _]) => (test_clocks::retrieve, "billing_clock_read"),
        ("DELETE", ["test_helpers", "test_clocks", _]) => (test_clocks::delete, "billing_clock_write"),
        ("POST", ["test_helpers", "test_clocks", _, "advance"]) => (test_clocks::advance, "billing_clock_write"),
        _ => return None,
    })
}

fn unknown(_: &Call<'_>) -> Result<Value, ApiError> {
    Err(ApiError::unknown_url("GET", "/v1/invoices/upcoming"))
}

/// What health checks ask for.
fn balance(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let nothing = json!([{ "amount": 0, "currency": "eur", "source_types": { "card": 0 } }]);
    Ok(json!({ "object": "balance", "available": nothing, "livemode": false, "pending": nothing }))
}
