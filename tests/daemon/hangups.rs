//! SIGHUP: the new configuration, or the old one with the reason; and the key, which is never told.

use std::fs;

use rustix::process::Signal;

use crate::harness::{AGENT_KEY, Stripe, Vm, config, until};

#[test]
fn a_faulty_configuration_is_refused_and_the_old_one_stays_until_a_good_one_comes() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = vm.start_linked();
    let good = config(&stripe.books.base_url());
    vm.configure(&good.replace("sample_every", "sample_evry"));
    daemon.signal(Signal::HUP);
    let problem = vm.problem("config_faulty");
    for words in ["the old one stays in force", "sample_evry", "usaged check-config"] {
        assert!(problem.contains(words), "{words:?} is not in {problem}");
    }
    let status = vm.ctl(&["status"]);
    assert_eq!(status.code, 5, "{status:?}");
    assert!(status.out.starts_with("PROBLEM"), "problems come first: {}", status.out);
    vm.spend("billed by the old one", "9");
    assert_eq!(vm.settle()["stands"], 2);

    vm.configure(&good.replace("api_credits = 7", "api_credits = 4"));
    daemon.signal(Signal::HUP);
    until("the good one is in force", || match vm.sync(&[]) {
        (_, line) if line["included"] == "4" => Ok(()),
        (_, line) => Err(format!("{line:#}")),
    });
    assert_eq!(vm.settle()["stands"], 5);
    assert_eq!(vm.problems(), Vec::<String>::new());
    assert_eq!(vm.ctl(&["status"]).code, 0);
}

#[test]
fn a_meter_that_a_reload_brings_takes_records_at_once() {
    let vm = Vm::unbilled();
    vm.configure("");
    let daemon = vm.start();
    let emails = r#"{"meter": "emails", "quantity": 3, "id": "mail-1"}"#;
    assert_eq!(vm.ask("POST", "/v1/usage", emails).unwrap().json()["refused"], 1);
    vm.configure("[meters.emails]\nsource = \"push\"\nunit = \"emails\"\n");
    daemon.signal(Signal::HUP);
    until("the meter is known", || {
        let report = vm.ask("POST", "/v1/usage", emails).unwrap().json();
        if report["accepted"] == 1 { Ok(()) } else { Err(report.to_string()) }
    });
    let usage = vm.ctl(&["usage"]);
    assert!(usage.code == 0 && usage.out.contains("emails"), "{usage:?}");
}

#[test]
fn the_key_is_in_no_output_status_or_file() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let mut vm = Vm::billed(&stripe, &account);
    vm.set("USAGED_LOG", "trace");
    let daemon = vm.start_linked();
    vm.spend("order-1", "8");
    vm.settle();
    // A refusal by the provider, a faulty and a good reload, and every question: each has its own way to say too much.
    let refusal = serde_json::json!({ "effect": "unauthorized" });
    stripe.fault("POST", "/v1/subscription_items/*/usage_records", &refusal);
    vm.spend("order-2", "1");
    vm.problem("push_refused");
    vm.configure("plan = 7\n");
    daemon.signal(Signal::HUP);
    vm.problem("config_faulty");
    let mut shown: Vec<String> =
        ["status", "usage", "sync", "doctor"].map(|word| format!("{:?}", vm.ctl(&[word]))).into();
    shown.push(fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).unwrap());
    shown.push(daemon.output());
    daemon.stop();
    for entry in fs::read_dir(vm.state_dir()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        shown.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    let secret = AGENT_KEY.strip_prefix("rk_test_").unwrap();
    for text in shown {
        assert!(!text.contains(secret), "the key is in: {text}");
    }
}
