//! `usagectl stripe check`.

use serde_json::{Value, json};
use usaged::sandbox::Effect;

use crate::harness::{Account, KEY, Ran, ran, usagectl};

const RESTRICTED: &str = "rk_test_ofSomebody4242";
const OPERATOR: [&str; 10] = [
    "customer_write",
    "product_write",
    "plan_write",
    "subscription_write",
    "invoice_write",
    "coupon_write",
    "promotion_code_write",
    "customer_portal_write",
    "billing_meter_write",
    "balance_read",
];

fn check(account: &Account, permissions: &[&str], args: &[&str]) -> (i32, Value) {
    account.sandbox.add_restricted_key(RESTRICTED, permissions).unwrap();
    let Ran { code, out, err } = account.run_with(RESTRICTED, &[&["check", "--json"], args].concat());
    assert!(!out.is_empty(), "{err}");
    (code, serde_json::from_str(&out).unwrap())
}

#[test]
fn a_secret_key_may_do_everything_and_belongs_on_no_vm() {
    let account = Account::open();
    let Ran { code, out, err } = account.run(&["check"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("Stripe, test mode, 127.0.0.1:"), "{out}");
    for said in [
        "Account   acct_usagedsandbox, DE\n",
        "OK It may do all that these commands need.",
        "It is a secret key, which may do everything",
    ] {
        assert!(out.contains(said), "{said:?}: {out}");
    }
    assert!(!out.contains(&KEY["sk_test_".len()..]), "{out}");
    assert_eq!(account.run(&["check", "--agent"]).code, 5, "it is broader than the agent's");
    assert_eq!(account.writes(), [""; 0]);
}

#[test]
fn a_key_that_lacks_a_permission_is_told_which() {
    let account = Account::open();
    let (code, report) = check(&account, &OPERATOR, &[]);
    assert_eq!((code, &report["missing"]), (0, &json!([])), "{report}");
    assert_eq!(report["account"], Value::Null, "it may not tell, and that is no fault");
    let without: Vec<&str> = OPERATOR.into_iter().filter(|one| *one != "plan_write").collect();
    let (code, report) = check(&account, &without, &[]);
    assert_eq!((code, &report["missing"]), (5, &json!(["Prices: write"])));
    assert_eq!(account.writes(), [""; 0], "what it tries is refused whatever the key may do");
}

#[test]
fn the_agents_key_is_held_against_what_it_needs_and_no_more() {
    for (kind, may) in [
        ("stripe-meters", ["subscription_read", "invoice_read", "billing_meter_read", "billing_meter_event_write"]),
        ("stripe-usage-records", ["subscription_read", "invoice_read", "usage_record_write", "usage_record_read"]),
    ] {
        let account = Account::open();
        let (code, report) = check(&account, &may, &["--agent", "--kind", kind]);
        assert_eq!((code, &report["missing"], &report["beyond_agent"]), (0, &json!([]), &json!([])), "{report}");
        for of_use in ["subscription_write", "customer_read", "customer_portal_write"] {
            let with = [&may[..], &[of_use]].concat();
            assert_eq!(check(&account, &with, &["--agent", "--kind", kind]).0, 0, "{of_use} is of use");
        }
        let (code, report) = check(&account, &[&may[..], &["customer_write"]].concat(), &["--agent", "--kind", kind]);
        assert_eq!((code, &report["beyond_agent"]), (5, &json!(["Customers: write"])));
        let (code, report) = check(&account, &may[..2], &["--agent", "--kind", kind]);
        assert_eq!(code, 5);
        assert_ne!(report["missing"], json!([]));
    }
}

#[test]
fn how_payments_go_is_told_to_a_key_that_may_read_invoices_and_needs_someone_where_they_fail() {
    let account = Account::open();
    let may_not: Vec<&str> = OPERATOR.into_iter().filter(|one| *one != "invoice_write").collect();
    account.sandbox.add_restricted_key(RESTRICTED, &may_not).unwrap();
    let told = account.run_with(RESTRICTED, &["check"]);
    assert!(told.out.contains("Payments  this key may not tell: it lacks Invoices: read\n"), "{told:?}");
    account.run(&["catalog", "apply"]);
    let price = account.get("/v1/prices?lookup_keys[]=price_pro_monthly")["data"][0]["id"].clone();
    for n in 0..12 {
        let card = if n < 4 { "pm_card_visa" } else { "pm_card_chargeCustomerFail" };
        let customer = account.post(
            "/v1/customers",
            &format!("name=c-{n}&payment_method={card}&invoice_settings[default_payment_method]={card}"),
        );
        let order = format!(
            "customer={}&items[0][price]={}&payment_behavior=allow_incomplete",
            customer["id"].as_str().unwrap(),
            price.as_str().unwrap()
        );
        account.post("/v1/subscriptions", &order);
    }
    for unpaid in account.list("/v1/invoices").iter().filter(|invoice| invoice["status"] == "open") {
        account.post(&format!("/v1/invoices/{}/mark_uncollectible", unpaid["id"].as_str().unwrap()), "");
    }
    let Ran { code, out, .. } = account.run(&["check"]);
    assert_eq!(code, 5, "{out}");
    assert!(out.contains("Payments  4 of the last 4 invoices paid, 8 unpaid\n"), "{out}");
    assert!(out.contains("8 invoices are past due or were given up"), "{out}");
}

/// The sandbox's clock stands in another time than this machine's.
#[test]
fn a_clock_that_differs_is_said() {
    let account = Account::open();
    let ahead = account.json(&["check"])["clock_ahead_s"].as_i64().unwrap();
    assert!(ahead.abs() > 60, "{ahead}");
    let out = account.run(&["check"]).out;
    assert!(out.contains("Clock     this machine's is ") && out.contains(" Stripe's\n"), "{out}");
}

#[test]
fn who_cannot_be_reached_or_lets_nobody_in_is_an_error() {
    let account = Account::open();
    let mut command = usagectl(&["check"]);
    // A port on which somebody listened a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = ran(command.env("STRIPE_API_KEY", KEY).env("STRIPE_API_BASE", format!("http://{closed}")));
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("cannot be reached: Connection refused"), "{}", nobody.err);
    account.fault("GET", "/v1/account", 1, &Effect::Unauthorized);
    let refused = account.run(&["check"]);
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains("hint: put a valid key into STRIPE_API_KEY"), "{}", refused.err);
    let plain = ran(usagectl(&["check"]).env("STRIPE_API_KEY", KEY).env("STRIPE_API_BASE", "http://example.com"));
    assert!(plain.err.contains("the key would cross the network unencrypted"), "{}", plain.err);
}
