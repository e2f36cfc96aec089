//! Before a VM is deleted, as processes (rule S13).

use serde_json::{Value, json};

use crate::harness::{Account, Said, Stripe, Vm, until};

fn linked() -> (Stripe, Account, Vm) {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    (stripe, account, vm)
}

fn report(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn s13_a_drained_vm_has_everything_at_the_provider_and_takes_no_more_until_it_is_restarted() {
    let (stripe, account, vm) = linked();
    let daemon = vm.start_linked();
    vm.spend("a", "12");
    let said = vm.ctl(&["drain"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert!(said.out.contains("Certified: what was used until"), "{said:?}");
    assert_eq!(stripe.books.total(&account.item), 5, "7 of the 12 are included");

    let late = vm.record("late", "1").unwrap();
    assert_eq!((late.status, late.header("retry-after").is_some()), (503, true), "{late:?}");
    assert!(late.body.contains("being drained"), "{late:?}");
    let given_up = vm.ctl(&["record", "api_credits", "1", "--id", "late", "--retry-for", "0"]);
    assert_eq!(given_up.code, 1, "{given_up:?}");
    assert!(vm.problem("drained").contains("systemctl restart usaged"));
    assert_eq!(vm.ctl(&["status"]).code, 5);

    let again = vm.ctl(&["drain", "--json"]);
    assert_eq!((again.code, &report(&again)["lines"][0]["stands"]), (0, &json!(5)), "{again:?}");
    daemon.stop();
    let daemon = vm.start_linked();
    vm.spend("late", "1");
    assert_eq!(vm.settle()["stands"], 6);
    daemon.stop();
}

#[test]
fn s13_a_drain_while_stripe_is_away_exits_4_and_the_vm_goes_on() {
    let (mut stripe, account, vm) = linked();
    let daemon = vm.start_linked();
    vm.spend("a", "12");
    vm.settle();
    vm.spend("b", "1");
    stripe.go_down();
    let said = vm.ctl(&["drain", "--json"]);
    assert_eq!(said.code, 4, "{said:?}");
    let refused = report(&said);
    let line = &refused["lines"][0];
    assert_eq!(
        (&refused["certified"], &refused["intake_open"], &line["stands"]),
        (&json!(false), &json!(true), &json!(null))
    );
    vm.spend("c", "1");
    stripe.come_back();
    until("it can be drained", || {
        let said = vm.ctl(&["drain"]);
        if said.code == 0 { Ok(()) } else { Err(format!("{said:?}")) }
    });
    assert_eq!(stripe.books.total(&account.item), 7);
    daemon.stop();
}

#[test]
fn s13_a_vm_that_bills_nothing_drains_and_one_that_was_never_linked_is_refused() {
    let vm = Vm::unbilled();
    let daemon = vm.start();
    let said = vm.ctl(&["drain"]);
    assert!(said.code == 0 && said.out.contains("nothing is billed here"), "{said:?}");
    daemon.stop();
    let stripe = Stripe::start();
    let vm = Vm::with_key(&stripe);
    let daemon = vm.start();
    let said = vm.ctl(&["drain"]);
    assert!(said.code == 4 && said.err.contains("not linked") && said.err.contains("hint: usagectl link"), "{said:?}");
    vm.spend("a", "1");
    daemon.stop();
}
