//! Copies of a disk, as processes (rule S11).

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Account, Stripe, Vm, config, until};

fn linked() -> (Stripe, Account, Vm) {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    (stripe, account, vm)
}

fn credits(vm: &Vm) -> i64 {
    vm.status()["meters"].as_array().unwrap().iter().find(|m| m["name"] == "api_credits").unwrap()["used_micros"]
        .as_i64()
        .unwrap()
}

#[test]
fn s11_a_clone_that_is_told_so_begins_anew_at_once_on_the_same_socket() {
    let (stripe, _account, vm) = linked();
    let daemon = vm.start_linked();
    vm.spend("on-the-original", "3");
    daemon.stop();
    // As if the ledger had been made elsewhere: this machine's own id is not a test's to change.
    vm.execute("UPDATE meta SET value = '00000000000000000000000000000abc' WHERE key = 'machine_id'");

    // Nobody tells an unlinked clone the time, so somebody has to vouch for its clock.
    vm.configure(&format!("clock = \"trusted\"\n{}", config(&stripe.books.base_url())));
    let daemon = vm.start();
    let problem = vm.status()["problems"].as_array().unwrap().iter().any(|p| p["code"] == "identity_changed");
    assert!(problem, "{:#}", vm.status());
    let said = vm.ctl(&["identity", "new", "--because", "a clone for the tests", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let aside = PathBuf::from(report["set_aside"].as_str().unwrap());
    until("it begins anew", || {
        let status = vm.ask("GET", "/v1/status", "").map_err(|error| error.to_string())?.json();
        let is_anew = status["link"].is_null() && status["pid"] == daemon.pid();
        if is_anew { Ok(()) } else { Err(format!("{status:#}")) }
    });
    assert!(aside.exists(), "{}", aside.display());
    assert_eq!(credits(&vm), 0);
    vm.spend("on-the-clone", "4");
    assert_eq!(credits(&vm), 4_000_000);
    daemon.stop();
}

#[test]
fn s11_a_machine_that_becomes_an_image_leaves_nothing_behind_and_stops() {
    let (stripe, account, vm) = linked();
    let mut daemon = vm.start_linked();
    vm.spend("a", "12");
    let said = vm.ctl(&["prepare-image"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(&format!("unlinked from {}", account.subscription)), "{said:?}");
    assert_eq!(daemon.exit_code(), 0, "a service that ends well is not started again");
    assert_eq!(stripe.books.total(&account.item), 5, "7 of the 12 are included");
    assert!(said.out.contains("usage.db.set-aside-"), "{said:?}");

    let daemon = vm.start();
    assert_eq!((credits(&vm), &vm.status()["link"]), (0, &json!(null)), "a copy is a VM of its own");
    daemon.stop();
}
