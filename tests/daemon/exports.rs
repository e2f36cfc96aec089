//! What the ledger holds, row by row.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Stripe, Vm, until};

fn rows(vm: &Vm, words: &[&str]) -> Vec<Value> {
    let said = vm.ctl(&[&["export", "--format", "jsonl"], words].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_has_each_record_once_over_as_many_pages_as_it_takes() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let mut vm = Vm::billed(&stripe, &account);
    vm.set("USAGED_LOG", "warn");
    let daemon = vm.start_linked();
    // Those of a batch are of one moment, in which pages end.
    let batch = |batch: u32| -> Value {
        (0..750).map(|n| json!({ "meter": "api_credits", "quantity": "0.001", "id": format!("{batch}-{n}") })).collect()
    };
    for number in 0..4 {
        let answer = vm.ask("POST", "/v1/usage", &batch(number).to_string()).unwrap();
        assert_eq!(answer.json()["accepted"], 750, "{answer:?}");
    }
    vm.spend("last", "8");
    assert_eq!(vm.ctl(&["void", "api_credits", "--id", "0-7", "--because", "a typo"]).code, 0);

    let credits = rows(&vm, &["--what", "credits"]);
    let mut ids: Vec<_> = credits.iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((credits.len(), ids.len()), (3_001, 3_001));
    let voided: Vec<_> = credits.iter().filter(|row| row["voided_at"].is_string()).collect();
    assert_eq!((voided.len(), &voided[0]["voided_because"]), (1, &json!("a typo")));

    let used: i64 = rows(&vm, &["--meter", "api_credits"]).iter().map(|row| row["used_micros"].as_i64().unwrap()).sum();
    assert_eq!(used, 8_000_000 + 2_999 * 1_000, "what was taken back is not used");
    assert_eq!(rows(&vm, &["--to", "2020-01"]), Vec::<Value>::new());

    vm.settle();
    let sent = rows(&vm, &["--what", "deliveries"]);
    let newest = sent.last().unwrap();
    assert_eq!((&newest["item"], &newest["outcome"]), (&json!(account.item), &json!("accepted")));
    daemon.stop();
}

#[test]
fn an_export_that_is_interrupted_says_so_and_leaves_no_half_of_a_file() {
    let stripe = Stripe::start();
    let vm = Vm::with_key(&stripe);
    let daemon = vm.start();
    daemon.freeze();
    let path = vm.dir().join("usage.csv");
    let mut command = crate::harness::clean(env!("CARGO_BIN_EXE_usagectl"));
    command.arg("--socket").arg(vm.socket()).args(["export", "--output"]).arg(&path).stdin(Stdio::null());
    let mut export = crate::harness::Process::start(&mut command);
    until("its file is begun", || {
        let names: Vec<_> = vm.dir().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        if names.iter().any(|name| name.to_string_lossy().starts_with(".usagectl-")) {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    });
    export.signal(rustix::process::Signal::INT);
    daemon.signal(rustix::process::Signal::CONT);
    assert_eq!(export.exit_code(), 1, "{}", export.output());
    let said = export.output();
    assert!(said.contains("interrupted after 0 rows") && said.contains("is as it was before"), "{said}");
    let left = vm.dir().read_dir().unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("usage.csv") || name.to_string_lossy().starts_with(".usagectl-")
    });
    assert_eq!(left.count(), 0);
    daemon.stop();
}
