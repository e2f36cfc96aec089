//! `usagectl stripe subscription`.

use serde_json::{Value, json};
use usaged::sandbox::Effect;

use crate::harness::{Account, Ran};

/// In microseconds.
const HOUR: i64 = 3_600_000_000;
const KINDS: [&str; 2] = ["stripe-meters", "stripe-usage-records"];

/// An account with the catalog and a customer who can pay.
fn ready(kind: &str) -> (Account, String) {
    let account = Account::open();
    account.json(&["catalog", "apply", "--kind", kind]);
    let args = ["customer", "create", "--id", "c-1", "--email", "ada@example.com", "--test-card", "pm_card_visa"];
    let customer = account.json(&args)["customer"].as_str().unwrap().to_owned();
    (account, customer)
}

fn subscribe(customer: &str, plan: &'static str, kind: &'static str, more: &[&'static str]) -> Vec<String> {
    let args = ["subscription", "create", "--customer", customer, "--plan", plan, "--kind", kind];
    args.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
}

fn json(account: &Account, args: &[String]) -> Value {
    account.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn prices(subscription: &Value) -> Vec<&str> {
    subscription["items"].as_array().unwrap().iter().map(|item| item["price"].as_str().unwrap()).collect()
}

#[test]
fn a_plan_is_a_base_price_and_its_overage_and_enterprise_has_no_compute() {
    for kind in KINDS {
        for (plan, wanted) in [
            ("starter", &["price_starter_monthly", "price_compute_overage_starter", "price_api_overage"][..]),
            ("pro", &["price_pro_monthly", "price_compute_overage_pro", "price_api_overage"]),
            ("enterprise", &["price_enterprise_monthly", "price_api_overage"]),
        ] {
            let (account, customer) = ready(kind);
            let made = json(&account, &subscribe(&customer, plan, kind, &[]));
            assert_eq!(prices(&made["subscriptions"][0]), wanted);
            let form = made["requests"][0]["form"].to_string();
            assert!(!form.contains("quantity"), "a metered item has none: {form}");
        }
    }
}

#[test]
fn it_waits_for_the_first_payment_and_hands_out_what_a_page_needs_for_it() {
    for kind in KINDS {
        let (account, customer) = ready(kind);
        let args = subscribe(&customer, "pro", kind, &[]);
        let made = json(&account, &args);
        let one = &made["subscriptions"][0];
        assert_eq!((&one["status"], &one["created"]), (&"incomplete".into(), &true.into()));
        let secret = one["client_secret"].as_str().unwrap();
        assert!(secret.starts_with("pi_") && secret.contains("_secret_"), "{secret}");
        let again = json(&account, &args);
        assert_eq!(again["subscriptions"][0]["created"], false);
        assert_eq!(again["subscriptions"][0]["client_secret"], secret);
        assert_eq!(account.list("/v1/subscriptions").len(), 1);
        account.post(&format!("/v1/payment_intents/{}/confirm", secret.split("_secret_").next().unwrap()), "");
        let shown = account.json(&["subscription", "show", one["subscription"].as_str().unwrap(), "--kind", kind]);
        assert_eq!(shown["subscriptions"][0]["status"], "active");
        assert_eq!(shown["subscriptions"][0].get("client_secret"), None, "there is nothing left to pay");
        assert_eq!(shown["link"], one["subscription"]);
    }
}

#[test]
fn one_that_waits_is_charged_when_that_is_asked_for_later() {
    for kind in KINDS {
        let (account, customer) = ready(kind);
        let made = json(&account, &subscribe(&customer, "pro", kind, &[]));
        let paid = json(&account, &subscribe(&customer, "pro", kind, &["--charge-now"]));
        let (one, before) = (&paid["subscriptions"][0], &made["subscriptions"][0]);
        assert_eq!((&one["status"], &one["subscription"]), (&json!("active"), &before["subscription"]));
    }
}

#[test]
fn a_discount_that_the_one_that_is_there_lacks_is_said() {
    let (account, customer) = ready("stripe-meters");
    json(&account, &subscribe(&customer, "pro", "stripe-meters", &["--charge-now"]));
    account.json(&["coupon", "create", "EARLYBIRD30"]);
    let args = subscribe(&customer, "pro", "stripe-meters", &["--coupon", "EARLYBIRD30"]);
    let Ran { code, err, .. } = account.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(code == 4 && err.contains(" is there already, without a discount\n"), "{err}");
}

#[test]
fn a_card_that_is_declined_leaves_no_subscription_behind() {
    let (account, _) = ready("stripe-meters");
    let card = ["--id", "c-2", "--email", "b@example.com", "--test-card", "pm_card_chargeCustomerFail"];
    let customer = account.json(&[&["customer", "create"], &card[..]].concat())["customer"].clone();
    let args = subscribe(customer.as_str().unwrap(), "pro", "stripe-meters", &["--charge-now"]);
    let Ran { code, err, .. } = account.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(code == 1 && err.contains("Your card was declined."), "{err}");
    assert_eq!(account.list("/v1/subscriptions").len(), 0);
}

#[test]
fn periods_begin_on_the_first_where_that_is_asked_for() {
    for kind in KINDS {
        let (account, customer) = ready(kind);
        let made = json(&account, &subscribe(&customer, "pro", kind, &["--first-of-month", "--charge-now"]));
        let one = &made["subscriptions"][0];
        assert_eq!(one["status"], "active");
        for item in one["items"].as_array().unwrap() {
            assert_eq!(item["period_to"], "2026-12-01T00:00:00Z");
        }
    }
}

#[test]
fn an_annual_base_price_goes_with_monthly_usage() {
    let (account, customer) = ready("stripe-meters");
    let made = json(&account, &subscribe(&customer, "pro", "stripe-meters", &["--annual", "--charge-now"]));
    assert_eq!(made["subscriptions"].as_array().unwrap().len(), 1, "one, in the flexible billing mode");
    let periods: Vec<_> =
        made["subscriptions"][0]["items"].as_array().unwrap().iter().map(|one| &one["period_to"]).collect();
    assert_eq!(periods, ["2027-11-10T12:00:00Z", "2026-12-10T12:00:00Z", "2026-12-10T12:00:00Z"]);

    let (account, customer) = ready("stripe-usage-records");
    let args = subscribe(&customer, "pro", "stripe-usage-records", &["--annual", "--charge-now"]);
    let made = json(&account, &args);
    let both = made["subscriptions"].as_array().unwrap();
    assert_eq!(
        both.iter().map(prices).collect::<Vec<_>>(),
        [vec!["price_pro_annual"], vec!["price_compute_overage_pro", "price_api_overage"],]
    );
    assert_eq!(made["link"], both[1]["subscription"], "the agent is linked to the one with usage");
    json(&account, &args);
    assert_eq!(account.list("/v1/subscriptions").len(), 2);
}

#[test]
fn of_two_subscriptions_the_second_is_made_up_for_after_a_failure() {
    let (account, customer) = ready("stripe-usage-records");
    let args = subscribe(&customer, "pro", "stripe-usage-records", &["--annual", "--charge-now"]);
    account.fault("POST", "/v1/subscriptions", 1, &Effect::None);
    account.fault("POST", "/v1/subscriptions", 4, &Effect::CutBeforeCommit);
    let Ran { code, err, .. } = account.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 1);
    assert!(err.contains("cannot create the subscription to price_compute_overage_pro, price_api_overage"), "{err}");
    account.sandbox.clear_faults();
    let made = json(&account, &args);
    let created: Vec<_> = made["subscriptions"].as_array().unwrap().iter().map(|one| &one["created"]).collect();
    assert_eq!(created, [&json!(false), &json!(true)]);
}

#[test]
fn a_subscription_whose_answer_was_lost_is_not_made_again() {
    for effect in [Effect::CutAfterCommit, Effect::ErrorAfterCommit, Effect::ErrorBeforeCommit] {
        let (account, customer) = ready("stripe-meters");
        account.fault("POST", "/v1/subscriptions", 1, &effect);
        json(&account, &subscribe(&customer, "pro", "stripe-meters", &[]));
        assert_eq!(account.list("/v1/subscriptions").len(), 1, "{effect:?}");
    }
}

#[test]
fn a_second_plan_beside_the_first_is_refused() {
    let (account, customer) = ready("stripe-meters");
    json(&account, &subscribe(&customer, "pro", "stripe-meters", &["--charge-now"]));
    let args = subscribe(&customer, "starter", "stripe-meters", &[]);
    let Ran { code, err, .. } = account.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 4);
    assert!(err.contains("the customer has sub_") && err.contains("hint: it would be billed for both"), "{err}");
}

#[test]
fn to_cancel_says_what_becomes_of_usage_and_doing_so_twice_is_once() {
    let (account, customer) = ready("stripe-meters");
    let args = subscribe(&customer, "pro", "stripe-meters", &["--charge-now"]);
    let made = json(&account, &args);
    let id = made["subscriptions"][0]["subscription"].as_str().unwrap();
    let Ran { code, err, .. } = account.run(&["subscription", "cancel", id]);
    assert_eq!(code, 2);
    assert!(err.contains("--at-period-end|--invoice-now|--drop-usage"), "{err}");
    let ending = account.json(&["subscription", "cancel", id, "--at-period-end"]);
    assert_eq!(ending["subscriptions"][0]["cancel_at_period_end"], true);
    let meter = "event_name=compute_hours&payload[value]=3&payload[stripe_customer_id]=";
    account.sandbox.advance(HOUR).unwrap();
    account.post("/v1/billing/meter_events", &format!("{meter}{customer}"));
    account.sandbox.advance(HOUR).unwrap();
    let ended = account.json(&["subscription", "cancel", id, "--invoice-now"]);
    assert_eq!(ended["subscriptions"][0]["status"], "canceled");
    let invoices = account.list("/v1/invoices");
    assert_eq!(invoices[0]["total"], 12, "three hours at 0.04");
    assert_eq!(account.json(&["subscription", "cancel", id, "--invoice-now"])["requests"], json!([]));
    // Afterwards the plan can be taken again, and is another subscription.
    let again = json(&account, &args);
    assert_ne!(again["subscriptions"][0]["subscription"], id);
}

#[test]
fn what_is_not_in_the_catalog_or_not_at_stripe_is_named() {
    let account = Account::open();
    let Ran { code, err, .. } = account.run(&["subscription", "create", "--customer", "cus_1", "--plan", "gold"]);
    assert_eq!(
        (code, err.as_str()),
        (4, "error: the catalog has no plan \"gold\"\nhint: its plans are enterprise, pro, starter\n",)
    );
    let Ran { code, err, .. } = account.run(&["subscription", "create", "--customer", "cus_1", "--plan", "pro"]);
    assert_eq!(
        (code, err.as_str()),
        (
            4,
            "error: there is no price price_pro_monthly at Stripe\n\
         hint: make what the catalog says: usagectl stripe catalog apply\n",
        )
    );
}
