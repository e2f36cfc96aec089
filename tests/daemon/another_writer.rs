//! Rule S5: more stands than this ledger can have caused.

use serde_json::json;

use crate::harness::{Account, Process, Stripe, Vm, config, until};

/// A daemon that had set 5 finds more after a restart, at a timestamp of the test's choice.
fn surprised(stripe: &Stripe, vm: &Vm, account: &Account, own_timestamp: bool) -> Process {
    let daemon = vm.start_linked();
    vm.spend("order-1", "12");
    assert_eq!(vm.settle()["stands"], 5);
    daemon.stop();
    let timestamp = if own_timestamp {
        vm.query("SELECT timestamp_s FROM usage_record WHERE meter = 'api_credits'")
    } else {
        stripe.books.now()
    };
    stripe.books.set_usage(&account.item, 40, timestamp);
    let daemon = vm.start();
    vm.spend("order-2", "1");
    daemon
}

fn assert_held(stripe: &Stripe, vm: &Vm, account: &Account, stands: i64) {
    let problem = vm.problem("held_higher_than_caused");
    for words in ["caused at most 5", "usagectl release", &account.item] {
        assert!(problem.contains(words), "{words} is not in {problem}");
    }
    let status = vm.ctl(&["status"]);
    assert_eq!(status.code, 5, "{status:?}");
    assert!(status.out.contains("usagectl release"), "{status:?}");
    let (code, line) = vm.sync(&["--commit"]);
    assert_eq!((code, &line["action"]), (4, &json!("held")), "{line:#}");
    assert_eq!(stripe.books.total(&account.item), stands, "nothing is lowered and nothing is added while it is held");
}

fn release(vm: &Vm, account: &Account, how: &str) {
    let said = vm.ctl(&["release", &account.item, how, "--because", "we looked at it"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
}

fn assert_all_is_well(vm: &Vm) {
    until("nothing needs anybody", || match vm.problems() {
        none if none.is_empty() => Ok(()),
        some => Err(some.join(", ")),
    });
}

#[test]
fn s5_released_with_overwrite_our_own_total_stands() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = surprised(&stripe, &vm, &account, true);
    assert_held(&stripe, &vm, &account, 40);
    release(&vm, &account, "--overwrite");
    assert_eq!(vm.settle()["stands"], 6);
    assert_eq!(stripe.books.total(&account.item), 6);
    assert_all_is_well(&vm);
    let audited: String = vm.query("SELECT detail FROM audit WHERE action = 'release'");
    assert!(audited.contains("we looked at it"), "{audited}");
    daemon.stop();
    vm.start().stop();
    assert_eq!(stripe.books.total(&account.item), 6);
}

#[test]
fn s5_released_with_adopt_what_stands_at_our_timestamp_stays_and_we_go_on_top() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = surprised(&stripe, &vm, &account, true);
    assert_held(&stripe, &vm, &account, 40);
    release(&vm, &account, "--adopt");
    let line = vm.settle();
    assert_eq!(line["stands"], 40, "5 of the 40 were ours, and the sixth was used before they were adopted: {line:#}");
    vm.spend("order-3", "2");
    assert_eq!(vm.settle()["stands"], 42);
    assert_eq!(stripe.books.total(&account.item), 42);
    assert_all_is_well(&vm);
}

#[test]
fn s5_released_with_adopt_what_stands_elsewhere_stays_and_we_go_on_top() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = surprised(&stripe, &vm, &account, false);
    assert_held(&stripe, &vm, &account, 45);
    release(&vm, &account, "--adopt");
    assert_eq!(vm.settle()["stands"], 45, "the sixth unit may be one of the 45: the smaller amount is adopted");
    for (id, stands) in [("order-3", 47), ("order-4", 49)] {
        vm.spend(id, "2");
        assert_eq!(vm.settle()["stands"], stands);
        assert_eq!(stripe.books.total(&account.item), stands);
    }
    daemon.kill();
    let _daemon = vm.start();
    vm.spend("order-5", "1");
    assert_eq!(vm.settle()["stands"], 50);
    assert_eq!(stripe.books.total(&account.item), 50);
    assert_all_is_well(&vm);
}

#[test]
fn s5_units_of_another_writer_that_outlast_our_own_are_left_alone() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = surprised(&stripe, &vm, &account, false);
    assert_held(&stripe, &vm, &account, 45);
    release(&vm, &account, "--adopt");
    vm.spend("order-3", "2");
    assert_eq!(vm.settle()["stands"], 47);
    for id in ["order-1", "order-2", "order-3"] {
        assert_eq!(vm.ctl(&["void", "api_credits", "--id", id, "--because", "all of it a test"]).code, 0);
    }
    until("our own record is empty", || match stripe.books.total(&account.item) {
        40 => Ok(()),
        other => Err(format!("{other}, {:#}", vm.sync(&["--commit"]).1)),
    });
    let (code, line) = vm.sync(&["--commit"]);
    // Taken over as usage, which the seven that the plan includes are now free for.
    assert_eq!((code, &line["stands"], &line["adopted"]), (0, &json!(40), &json!(39 - 7)), "{line:#}");
    assert_eq!(vm.problems(), ["cannot_fall"], "eight of the forty are not owed");
}

#[test]
fn s5_what_was_not_held_cannot_be_released() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = vm.start_linked();
    vm.settle();
    let said = vm.ctl(&["release", &account.item, "--overwrite", "--because", "to be sure"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("nothing is held"), "{said:?}");
}

#[test]
fn s5_less_than_was_noted_is_set_again_and_named() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = vm.start_linked();
    vm.spend("order-1", "12");
    vm.settle();
    daemon.stop();
    let timestamp = vm.query("SELECT timestamp_s FROM usage_record WHERE meter = 'api_credits'");
    stripe.books.set_usage(&account.item, 1, timestamp);
    let daemon = vm.start();
    assert_eq!(vm.settle()["stands"], 5);
    until("it stands again", || match stripe.books.total(&account.item) {
        5 => Ok(()),
        other => Err(other),
    });
    daemon.says("less stands than was noted");
}

#[test]
fn m9_a_mistake_taken_back_lowers_what_stands() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = vm.start_linked();
    vm.spend("order-1", "8");
    vm.spend("a mistake", "100");
    assert_eq!(vm.settle()["stands"], 101);
    for (said, code) in [("takes it back", 0), ("once more changes nothing", 0)] {
        let void = vm.ctl(&["void", "api_credits", "--id", "a mistake", "--because", "counted a test"]);
        assert_eq!(void.code, code, "{said}: {void:?}");
    }
    until("it is lowered", || match stripe.books.total(&account.item) {
        1 => Ok(()),
        other => Err(format!("{other}, {:#}", vm.settle())),
    });
    let again = vm.ctl(&["record", "api_credits", "100", "--id", "a mistake"]);
    assert!(again.out.starts_with("duplicate"), "an id that was taken back stays used: {again:?}");
    let unknown = vm.ctl(&["void", "api_credits", "--id", "never was", "--because", "x"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
}

#[test]
fn s5_another_writer_is_found_by_schedule_between_two_pushes() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let rarely = config(&stripe.books.base_url())
        .replace(r#"push = "* * * * * *""#, "push = \"0 0 0 1 1 *\"\nreconcile = \"* * * * * *\"");
    vm.configure(&rarely);
    let _daemon = vm.start_linked();
    vm.spend("order-1", "12");
    assert_eq!(vm.sync(&["--commit"]).1["stands"], 5);
    let fine = vm.ctl(&["reconcile"]);
    assert_eq!(fine.code, 0, "{fine:?}");
    stripe.books.set_usage(&account.item, 40, stripe.books.now());
    // It is held, though nothing is pushed.
    vm.problem("held_higher_than_caused");
    let found = vm.ctl(&["reconcile", "--item", &account.item]);
    assert_eq!(found.code, 5, "{found:?}");
    for words in ["PROBLEM", "another writer", "caused 5 at most", "usagectl release"] {
        assert!(found.out.contains(words), "{words} is not in {found:?}");
    }
    let status = vm.status();
    let job = status["jobs"].as_array().unwrap().iter().find(|job| job["name"] == "reconcile").unwrap();
    assert!(job["next_at"].is_string() && job["last_at"].is_string(), "{job:#}");
    assert_eq!(stripe.books.total(&account.item), 45, "nothing was sent");
}
