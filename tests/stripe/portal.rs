//! `usagectl stripe portal`.

use serde_json::json;

use crate::harness::{Account, Ran};

#[test]
fn the_portal_is_configured_once_with_all_that_customers_may_do() {
    let account = Account::open();
    let Ran { code, err, .. } = account.run(&["portal", "configure"]);
    assert!(code == 4 && err.contains("hint: make what the catalog says: usagectl stripe catalog apply"), "{err}");
    account.json(&["catalog", "apply"]);
    let made = account.json(&["portal", "configure", "--return-url", "https://example.com/account"]);
    assert_eq!(made["action"], "created");
    let configuration =
        account.get(&format!("/v1/billing_portal/configurations/{}", made["configuration"].as_str().unwrap()));
    let features = &configuration["features"];
    for feature in
        ["customer_update", "invoice_history", "payment_method_update", "subscription_cancel", "subscription_update"]
    {
        assert_eq!(features[feature]["enabled"], true, "{feature}");
    }
    assert_eq!(features["customer_update"]["allowed_updates"], json!(["address"]));
    assert_eq!(features["subscription_update"]["products"].as_array().unwrap().len(), 3);
    let again = account.json(&["portal", "configure", "--return-url", "https://example.com/account"]);
    assert_eq!((&again["action"], &again["requests"]), (&"kept".into(), &json!([])));
    let moved = account.json(&["portal", "configure", "--return-url", "https://example.com/billing"]);
    assert_eq!((&moved["action"], &moved["configuration"]), (&"changed".into(), &made["configuration"]));
    assert_eq!(account.list("/v1/billing_portal/configurations").len(), 1);
}

#[test]
fn a_customer_is_let_in_and_the_url_is_all_that_is_printed() {
    let account = Account::open();
    let customer = account.json(&["customer", "create", "--id", "c-1", "--email", "a@example.com"])["customer"].clone();
    let args = ["portal", "--customer", customer.as_str().unwrap(), "--return-url", "https://example.com"];
    let Ran { code, err, .. } = account.run(&args);
    assert!(code == 1 && err.contains("default configuration has not been created"), "{err}");
    account.json(&["catalog", "apply"]);
    account.json(&["portal", "configure"]);
    let Ran { code, out, err } = account.run(&args);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("https://billing.stripe.com/p/session/test_bps_") && out.lines().count() == 1, "{out}");
    assert_eq!(account.run(&["portal", "--customer", "cus_1"]).code, 2, "where to come back to is missing");
}
