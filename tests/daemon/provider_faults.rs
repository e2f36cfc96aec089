//! What goes wrong between the daemon and Stripe, one thing at a time.

use serde_json::{Value, json};

use crate::harness::{Stripe, Vm, until};

const PUSHES: &str = "/v1/subscription_items/*/usage_records";

#[test]
fn s1_s2_whatever_becomes_of_one_request_the_total_ends_exact() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = vm.start_linked();
    vm.spend("included", "7");
    vm.settle();
    let effects = [
        json!("cut_before_commit"),
        json!("cut_after_commit"),
        json!("error_before_commit"),
        json!("error_after_commit"),
        json!({ "rate_limited": { "reason": "global-rate", "retry_after": 1 } }),
        json!("lock_timeout"),
        json!("key_in_use"),
        json!("html"),
        json!("truncated_json"),
    ];
    for (done, effect) in (1..).zip(&effects) {
        stripe.fault("POST", PUSHES, &json!({ "effect": effect }));
        vm.spend(&format!("order-{done}"), "3");
        let line = vm.settle();
        assert_eq!(stripe.books.waiting_faults(), 0, "{effect} was not met");
        assert_eq!((&line["target"], stripe.books.total(&account.item)), (&json!(3 * done), 3 * done), "{effect}");
    }
}

#[test]
fn s5_what_cannot_be_read_holds_no_ledger_up_and_nothing_is_sent_on_a_guess() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = vm.start_linked();
    vm.spend("order-1", "10");
    vm.settle();
    daemon.stop();
    let before = stripe.books.requests("/usage_records").len();

    let summaries = "/v1/subscription_items/*/usage_record_summaries";
    stripe.fault("GET", summaries, &json!({ "effect": "error_before_commit", "times": 1_000_000 }));
    let daemon = vm.start();
    let problem = vm.problem("standing_unreadable");
    assert!(problem.contains(&account.item), "{problem}");
    vm.spend("order-2", "1");
    assert_eq!(stripe.books.requests("/usage_records").len(), before, "it sent without having read");

    stripe.books.clear_faults();
    assert_eq!(vm.settle()["stands"], 4);
    assert_eq!(stripe.books.total(&account.item), 4);
    until("the problem is over", || match vm.problems() {
        none if none.is_empty() => Ok(()),
        some => Err(some.join(", ")),
    });
    daemon.stop();
}

#[test]
fn s12_while_stripe_is_away_status_shows_what_waits_until_when_and_it_stands_once_stripe_is_back() {
    let mut stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = vm.start_linked();
    vm.spend("order-1", "8");
    vm.settle();
    stripe.go_down();
    vm.spend("order-2", "1");
    let unsent = until("a push has failed", || {
        let unsent = vm.status()["unsent"][0].clone();
        if unsent["state"] == "retrying" { Ok(unsent) } else { Err(unsent.to_string()) }
    });
    assert_eq!((&unsent["target"], &unsent["stands"]), (&json!(2), &json!(1)), "{unsent:#}");
    for field in ["deadline", "next_attempt", "why"] {
        assert!(unsent[field].is_string(), "{field} is missing: {unsent:#}");
    }
    stripe.come_back();
    assert_eq!(vm.settle()["stands"], 2);
    assert_eq!(stripe.books.total(&account.item), 2);
    assert_eq!(vm.status()["unsent"], json!([]));
}

#[test]
fn a_key_that_stripe_refuses_is_a_problem_that_needs_someone_and_is_not_shown() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let mut vm = Vm::billed(&stripe, &account);
    vm.set("STRIPE_API_KEY", "rk_test_nobodyKnowsThisOne77");
    let daemon = vm.start();
    let problem = vm.problem("seed_failed");
    assert!(problem.contains("key"), "{problem}");
    let shown = vm.ctl(&["status"]);
    assert_eq!(shown.code, 5, "{shown:?}");
    let doctor = vm.ctl(&["doctor"]);
    let json: Value = vm.status();
    for text in [daemon.output(), problem, shown.out, shown.err, doctor.out, json.to_string()] {
        assert!(!text.contains("nobodyKnowsThisOne"), "{text}");
    }
}
