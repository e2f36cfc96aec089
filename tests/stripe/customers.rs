//! `usagectl stripe customer`.

use usaged::sandbox::Effect;

use crate::harness::Account;

const ADA: [&str; 10] =
    ["customer", "create", "--id", "c-17", "--email", "ada@example.com", "--name", "Ada", "--vm", "vm-1"];

#[test]
fn a_customer_is_made_once_and_found_by_its_own_id() {
    let account = Account::open();
    let made = account.json(&ADA);
    assert_eq!((&made["created"], &made["own_id"]), (&true.into(), &"c-17".into()));
    let customer = account.get(&format!("/v1/customers/{}", made["customer"].as_str().unwrap()));
    let metadata = serde_json::json!({ "magic_box_customer_id": "c-17", "magic_box_vm_id": "vm-1" });
    assert_eq!((&customer["metadata"], &customer["name"]), (&metadata, &"Ada".into()));
    let again = account.json(&ADA);
    assert_eq!((&again["created"], &again["customer"]), (&false.into(), &made["customer"]));
    assert_eq!(again["requests"].as_array().unwrap().len(), 0);
    // Another address, the same id: the same customer.
    let moved = account.json(&["customer", "create", "--id", "c-17", "--email", "ada@example.org", "--vm", "vm-2"]);
    assert_eq!((&moved["customer"], &moved["updated"]), (&made["customer"], &serde_json::json!(["email", "vm_id"])));
    assert_eq!(account.list("/v1/customers").len(), 1);
}

#[test]
fn two_customers_of_one_address_are_two() {
    let account = Account::open();
    let one = account.json(&ADA);
    let other = account.json(&["customer", "create", "--id", "c-18", "--email", "ada@example.com"]);
    assert_ne!(one["customer"], other["customer"]);
}

#[test]
fn a_customer_whose_answer_was_lost_is_not_made_again() {
    for effect in [Effect::CutAfterCommit, Effect::ErrorAfterCommit, Effect::ErrorBeforeCommit, Effect::TruncatedJson] {
        let account = Account::open();
        account.fault("POST", "/v1/customers", 1, &effect);
        let made = account.json(&ADA);
        assert_eq!(made["created"], true);
        assert_eq!(account.list("/v1/customers").len(), 1, "{effect:?}");
    }
}

#[test]
fn a_search_that_fails_is_not_one_that_found_nothing() {
    let account = Account::open();
    let made = account.json(&ADA);
    let failing = Effect::Refused(usaged::sandbox::Words {
        code: Some("search_unavailable".to_owned()),
        ..usaged::sandbox::Words::new(400, "Search is not available.")
    });
    account.fault("GET", "/v1/customers/search", 1, &failing);
    let ran = account.run(&ADA);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("cannot look for the customer c-17: Search is not available."), "{}", ran.err);
    let customers = account.list("/v1/customers");
    assert_eq!((customers.len(), &customers[0]["id"]), (1, &made["customer"]));
}

#[test]
fn metadata_fields_are_named_by_the_catalog() {
    let account = Account::open();
    let file = account.dir.path().join("catalog.toml");
    let example = account.run(&["catalog", "example"]).out;
    std::fs::write(&file, example.replace("magic_box_customer_id", "acme_id")).unwrap();
    let made = account.json(&[&ADA[..], &["--catalog", file.to_str().unwrap()]].concat());
    let form = made["requests"][0]["form"].to_string();
    assert!(form.contains(r#"["metadata[acme_id]","c-17"]"#), "{form}");
}

#[test]
fn an_own_id_that_would_end_a_search_is_refused() {
    let account = Account::open();
    let ran = account.run(&["customer", "create", "--id", "c' OR", "--email", "a@example.com"]);
    assert_eq!(ran.code, 4);
    assert!(ran.err.contains("hint: it has 1 to 100 characters, no quotes"), "{}", ran.err);
    assert_eq!(account.sandbox.requests().len(), 0);
}
