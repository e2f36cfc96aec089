//! `usagectl stripe coupon` and `promotion`.

use serde_json::json;

use crate::harness::{Account, Ran};

const KINDS: [&str; 2] = ["stripe-meters", "stripe-usage-records"];

#[test]
fn a_coupon_of_the_catalog_is_made_once() {
    let account = Account::open();
    let made = account.json(&["coupon", "create", "EARLYBIRD30"]);
    assert_eq!((&made["created"], &made["terms"]), (&true.into(), &"30 % off, forever".into()));
    let coupon = account.get("/v1/coupons/EARLYBIRD30");
    let terms = (&coupon["percent_off"], &coupon["duration"], &coupon["metadata"]["description"]);
    assert_eq!(terms, (&json!(30), &json!("forever"), &json!("Early adopter 30% lifetime discount")));
    let again = account.json(&["coupon", "create", "EARLYBIRD30"]);
    assert_eq!((&again["created"], &again["requests"]), (&false.into(), &json!([])));
}

#[test]
fn a_coupon_that_could_be_redeemed_until_before_now_is_refused_with_the_moment_it_names() {
    let account = Account::open();
    let Ran { code, err, .. } = account.run(&["coupon", "create", "LAUNCH2025"]);
    assert_eq!(code, 4);
    assert_eq!(
        err,
        "error: the coupon LAUNCH2025 could be redeemed until 1735689600, which is 2025-01-01T00:00:00Z, the first moment of \
         2025 and not the end of it, and in the past\n\
         hint: name another moment: --redeem-by 2027-01-01T00:00:00Z\n"
    );
    assert_eq!(account.writes(), [""; 0]);
    let made = account.json(&["coupon", "create", "LAUNCH2025", "--redeem-by", "2026-12-31T23:59:59Z"]);
    assert_eq!(made["terms"], "20 % off, once, 100 times at most, until 2026-12-31T23:59:59Z");
}

#[test]
fn any_other_coupon_is_made_of_what_the_command_line_says() {
    let account = Account::open();
    let args = ["coupon", "create", "TENNER", "--amount-off", "10", "--duration", "repeating", "--months", "3"];
    assert_eq!(account.json(&args)["terms"], "EUR 10 off for 3 months");
    let coupon = account.get("/v1/coupons/TENNER");
    assert_eq!((&coupon["amount_off"], &coupon["currency"]), (&json!(1000), &json!("eur")));
    assert_eq!(account.json(&args)["created"], false);
    let Ran { code, err, .. } = account.run(&["coupon", "create", "TENNER", "--percent-off", "12.5"]);
    assert_eq!(code, 4);
    let said = "there is a coupon TENNER already: EUR 10 off for 3 months; wanted is: 12.5 % off, once";
    assert!(err.contains(said), "{err}");
    for (args, said) in [
        (&["coupon", "create", "NIL"][..], "it takes nothing off"),
        (&["coupon", "create", "NIL", "--percent-off", "101"], "more than 0 and at most 100"),
        (&["coupon", "create", "NIL", "--percent-off", "5", "--duration", "repeating"], "it needs them"),
        (&["coupon", "create", "a b", "--percent-off", "5"], "its id is not of letters"),
    ] {
        let Ran { code, err, .. } = account.run(args);
        assert!(code == 4 && err.contains(said), "{args:?}: {err}");
    }
}

#[test]
fn a_promotion_code_is_made_once_and_a_subscription_is_cheaper_by_it() {
    for kind in KINDS {
        let account = Account::open();
        account.json(&["catalog", "apply", "--kind", kind]);
        account.json(&["coupon", "create", "EARLYBIRD30", "--kind", kind]);
        let args = ["promotion", "create", "--code", "EARLY", "--coupon", "EARLYBIRD30", "--kind", kind];
        let made = account.json(&args);
        assert_eq!((&made["created"], &made["coupon"]), (&true.into(), &"EARLYBIRD30".into()));
        let again = account.json(&args);
        assert_eq!((&again["created"], &again["promotion_code"]), (&false.into(), &made["promotion_code"]));
        let Ran { code, err, .. } =
            account.run(&["promotion", "create", "--code", "early", "--coupon", "OTHER", "--kind", kind]);
        assert!(code == 4 && err.contains("EARLY is there already, for the coupon EARLYBIRD30"), "{err}");

        let card = ["--id", "c-1", "--email", "ada@example.com", "--test-card", "pm_card_visa"];
        let customer = account.json(&[&["customer", "create"], &card[..]].concat())["customer"].clone();
        let customer = customer.as_str().unwrap();
        let of = ["--customer", customer, "--kind", kind];
        let how = ["--plan", "pro", "--promotion-code", "EARLY", "--charge-now"];
        account.json(&[&["subscription", "create"], &how[..], &of].concat());
        let invoices = account.json(&[&["invoices"], &of[..]].concat());
        let first = &invoices["invoices"][0];
        assert_eq!(
            (&first["subtotal"], &first["total"], &first["status"]),
            (&json!(19900), &json!(13930), &json!("paid"))
        );
        let next = account.json(&[&["invoice", "preview"], &of[..]].concat());
        assert_eq!(next["invoice"]["total"], 13930, "it is for ever");
    }
}

#[test]
fn a_coupon_for_one_invoice_is_gone_after_it() {
    for kind in KINDS {
        let account = Account::open();
        account.json(&["catalog", "apply", "--kind", kind]);
        account.json(&["coupon", "create", "ONCE", "--percent-off", "20", "--kind", kind]);
        let card = ["--id", "c-1", "--email", "ada@example.com", "--test-card", "pm_card_visa"];
        let customer = account.json(&[&["customer", "create"], &card[..]].concat())["customer"].clone();
        let of = ["--customer", customer.as_str().unwrap(), "--kind", kind];
        let how = ["--plan", "starter", "--coupon", "ONCE", "--charge-now"];
        account.json(&[&["subscription", "create"], &how[..], &of].concat());
        assert_eq!(account.json(&[&["invoices"], &of[..]].concat())["invoices"][0]["total"], 7920);
        assert_eq!(account.json(&[&["invoice", "preview"], &of[..]].concat())["invoice"]["total"], 9900);
    }
}

#[test]
fn a_code_that_nobody_made_is_named() {
    let account = Account::open();
    account.json(&["catalog", "apply"]);
    let customer = account.json(&["customer", "create", "--id", "c-1", "--email", "a@example.com"])["customer"].clone();
    let of = ["--customer", customer.as_str().unwrap(), "--plan", "pro"];
    let Ran { code, err, .. } =
        account.run(&[&["subscription", "create", "--promotion-code", "NONE"], &of[..]].concat());
    assert!(code == 4 && err.starts_with("error: there is no active promotion code NONE\n"), "{err}");
}
