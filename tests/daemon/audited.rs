//! The audit says what was done and by whom, and shows when somebody had his hands in it.

use serde_json::{Value, json};

use crate::harness::{Stripe, Vm};

fn verified(vm: &Vm) -> (i32, Value) {
    let said = vm.ctl(&["--json", "audit", "verify"]);
    (said.code, serde_json::from_str(&said.out).unwrap())
}

#[test]
fn every_push_is_in_the_audit_with_its_key_and_a_changed_line_is_found() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = vm.start_linked();
    vm.spend("a", "9");
    vm.settle();
    let said = vm.ctl(&["--json", "audit"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let lines = report["entries"].as_array().unwrap();
    let of = |action: &str| lines.iter().filter(|line| line["action"] == action).collect::<Vec<_>>();
    assert_eq!(of("link").len(), 1, "{report:#}");
    let pushed = stripe.books.requests("/usage_records");
    let keys: Vec<&Value> = of("push.sent").into_iter().map(|line| &line["detail"]["key"]).collect();
    assert!(!keys.is_empty() && keys.len() == pushed.len(), "{keys:?} {pushed:?}");
    assert_eq!(of("push.accepted")[0]["subject"], json!(account.item));
    let (code, whole) = verified(&vm);
    assert_eq!((code, &whole["holds"], &whole["entries"]), (0, &json!(true), &json!(lines.len())));
    assert_eq!(whole["head"], lines[lines.len() - 1]["hash"]);
    let later = vm.ctl(&["audit", "--since", "2200-01-01T00:00:00Z"]);
    assert_eq!((later.code, &*later.out), (0, "Nothing was done.\n"));
    let refused = vm.ctl(&["audit", "--since", "yesterday-ish"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    daemon.stop();
    vm.execute("DROP TRIGGER audit_is_append_only_update; UPDATE audit SET actor = 'uid:0' WHERE id = 2");
    let daemon = vm.start();
    let (code, broken) = verified(&vm);
    assert_eq!((code, &broken["holds"]), (5, &json!(false)), "{broken:#}");
    assert!(broken["breaks"][0].as_str().unwrap().starts_with("line 2 is not what was written"), "{broken:#}");
    daemon.stop();
}
