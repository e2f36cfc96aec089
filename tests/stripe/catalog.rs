//! `usagectl stripe catalog`.

use serde_json::Value;
use usaged::sandbox::Effect;

use crate::harness::{Account, Ran, ran, usagectl};

const KINDS: [&str; 2] = ["stripe-meters", "stripe-usage-records"];

fn actions(report: &Value) -> Vec<&str> {
    report["changes"].as_array().unwrap().iter().map(|change| change["action"].as_str().unwrap()).collect()
}

fn change<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["changes"].as_array().unwrap().iter().find(|change| change["name"] == name).unwrap()
}

#[test]
fn an_empty_account_gets_every_object_and_a_second_time_none() {
    for kind in KINDS {
        let account = Account::open();
        let planned = account.json(&["catalog", "plan", "--kind", kind]);
        assert!(actions(&planned).iter().all(|action| *action == "create"), "{planned}");
        assert_eq!(account.writes(), [""; 0], "a plan changes nothing");
        let applied = account.json(&["catalog", "apply", "--kind", kind]);
        let meters = if kind == "stripe-meters" { 2 } else { 0 };
        assert_eq!(account.writes().len(), 4 + meters + 9, "{kind}");
        assert_eq!(applied["differ"], 13 + meters);
        assert!(change(&applied, "price_pro_monthly")["id"].as_str().unwrap().starts_with("price_"));
        let again = account.json(&["catalog", "apply", "--kind", kind]);
        assert!(actions(&again).iter().all(|action| *action == "keep"), "{again}");
        assert_eq!(account.writes().len(), 13 + meters, "{kind}: the second time made something");
        assert_eq!(account.json(&["catalog", "plan", "--kind", kind])["differ"], 0);
    }
}

#[test]
fn a_metered_price_is_on_a_meter_or_has_usage_records_as_the_kind_says() {
    for kind in KINDS {
        let account = Account::open();
        let asked = account.json(&["catalog", "apply", "--kind", kind])["requests"].clone();
        for one in asked.as_array().unwrap() {
            assert!(one["key"].as_str().unwrap().starts_with("usagectl-"), "{one}");
            assert!(one["request_id"].as_str().unwrap().starts_with("req_"), "{one}");
        }
        let of_price = |request: &&Value| request["form"].to_string().contains("price_compute_overage_pro");
        let form = asked.as_array().unwrap().iter().find(of_price).unwrap()["form"].to_string();
        assert!(form.contains(r#"["unit_amount_decimal","4"],["lookup_key""#), "{form}");
        assert!(form.contains(r#"["recurring[usage_type]","metered"]"#), "{form}");
        assert_eq!(form.contains(r#"["recurring[meter]","mtr_"#), kind == "stripe-meters", "{form}");
    }
}

#[test]
fn a_price_that_differs_is_replaced_under_its_lookup_key_and_stays_for_those_who_have_it() {
    let account = Account::open();
    let before = account.json(&["catalog", "apply"]);
    let old = change(&before, "price_pro_monthly")["id"].clone();
    let file = account.dir.path().join("catalog.toml");
    let example = account.run(&["catalog", "example"]).out;
    std::fs::write(&file, example.replace("\"199\"", "\"219.50\"").replace("Growing team", "Grown team")).unwrap();
    let file = file.to_str().unwrap();

    let Ran { code, out, .. } = account.run(&["catalog", "plan", "--catalog", file]);
    assert_eq!(code, 0);
    assert!(out.contains("± price    price_pro_monthly\n      EUR 199 -> EUR 219.50\n"), "{out}");
    assert!(out.contains("~ product  prod_magicbox_pro\n"), "{out}");

    let after = account.json(&["catalog", "apply", "--catalog", file]);
    let replaced = change(&after, "price_pro_monthly");
    assert_eq!(replaced["action"], "replace");
    assert_ne!(replaced["id"], old);
    let writes = account.writes();
    assert!(!writes.contains(&format!("POST /v1/prices/{}", old.as_str().unwrap())), "a live price was edited");
    assert_eq!(account.json(&["catalog", "plan", "--catalog", file])["differ"], 0);
}

#[test]
fn from_usage_records_to_meters_only_metered_prices_are_replaced() {
    let account = Account::open();
    account.json(&["catalog", "apply", "--kind", "stripe-usage-records"]);
    let planned = account.json(&["catalog", "plan", "--kind", "stripe-meters"]);
    for change in planned["changes"].as_array().unwrap() {
        let name = change["name"].as_str().unwrap();
        let wanted = match change["object"].as_str().unwrap() {
            "meter" => "create",
            "price" if name.contains("overage") => "replace",
            _ => "keep",
        };
        assert_eq!(change["action"], wanted, "{name}");
    }
}

#[test]
fn a_meter_that_counts_differently_is_in_the_way_and_nothing_is_changed() {
    let account = Account::open();
    account.json(&["catalog", "apply"]);
    let file = account.dir.path().join("catalog.toml");
    let example = account.run(&["catalog", "example"]).out;
    let text = example.replace("aggregation = \"last\"", "aggregation = \"sum\"").replace("\"99\"", "\"95\"");
    std::fs::write(&file, text).unwrap();
    let writes = account.writes().len();
    let Ran { code, err, .. } = account.run(&["catalog", "apply", "--catalog", file.to_str().unwrap()]);
    assert_eq!(code, 4);
    assert!(err.starts_with("error: the meter api_credits is in the way: aggregation \"last\" -> \"sum\""), "{err}");
    assert!(err.contains("hint: nothing was changed"), "{err}");
    assert_eq!(account.writes().len(), writes);
}

#[test]
fn what_was_cut_off_goes_on_where_it_was_and_makes_nothing_twice() {
    for effect in [Effect::CutBeforeCommit, Effect::CutAfterCommit, Effect::ErrorBeforeCommit, Effect::ErrorAfterCommit]
    {
        let account = Account::open();
        // As often as a request is tried.
        account.fault("POST", "/v1/billing/meters", 4, &effect);
        let Ran { code, err, .. } = account.run(&["catalog", "apply"]);
        assert_eq!(code, 1, "{effect:?}: {err}");
        assert!(
            err.contains("4 of 15: created product prod_magicbox_starter\nerror: cannot create the meter "),
            "{err}"
        );
        assert!(err.contains("run it again: what was done is found"), "{err}");
        account.sandbox.clear_faults();
        account.json(&["catalog", "apply"]);
        assert_eq!(account.json(&["catalog", "plan"])["differ"], 0, "{effect:?}");
        for (path, count) in [("/v1/products", 4), ("/v1/billing/meters", 2), ("/v1/prices", 9)] {
            assert_eq!(account.list(path).len(), count, "{effect:?}: {path}");
        }
    }
}

#[test]
fn a_dry_run_shows_each_request_and_sends_none() {
    let account = Account::open();
    let Ran { code, out, err } = account.run(&["catalog", "apply", "--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("Nothing was changed. It would send:\n  POST /v1/products\n    id=prod_magicbox_api\n"),
        "{out}"
    );
    assert!(out.contains("    recurring[meter]=<create the meter compute_hours>\n"), "{out}");
    assert_eq!(account.writes(), [""; 0]);
}

/// Or a real key would go to the real Stripe from somebody who only meant to try it.
#[test]
fn sandbox_is_not_taken_to_mean_stripe() {
    let account = Account::open();
    for args in [&["catalog", "apply", "--sandbox"][..], &["catalog", "apply", "--socket", "/run/usaged.sock"]] {
        let Ran { code, err, .. } = account.run(args);
        assert!(code == 4 && err.contains("name a daemon, and usagectl stripe asks none"), "{err}");
    }
    assert_eq!(account.sandbox.requests().len(), 0);
}

#[test]
fn a_key_is_taken_from_the_environment_and_never_from_an_argument() {
    let said = ran(&mut usagectl(&["catalog", "plan"]));
    assert_eq!(said.code, 1);
    assert!(said.err.starts_with("error: no Stripe API key: STRIPE_API_KEY is not set\nhint: "), "{}", said.err);
    for args in [&["catalog", "plan", "--api-key", "sk_live_abcdefghijklmnop"][..], &["sk_test_abcdefghijklmnop"]] {
        let said = ran(&mut usagectl(args));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        assert!(said.err.starts_with("error: an argument holds a Stripe key"), "{}", said.err);
        assert!(!said.err.contains("abcdefgh"), "{}", said.err);
    }
}
