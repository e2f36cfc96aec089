//! Whatever is read from outside, given bytes of any kind: each door is a function that fuzzing calls (`fuzz/`), and that is
//! called here with what fuzzing has found to be worth keeping (`fuzz/corpus`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests that fails, fails the test"
)]

mod api;
mod config;
mod ledger;
mod provider;
mod webhook;

use std::path::Path;

/// Gives a door everything that was kept for it.
fn replay(door: &str, try_on: fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(door);
    let mut tried = 0;
    for file in std::fs::read_dir(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display())) {
        try_on(&std::fs::read(file.unwrap().path()).unwrap());
        tried += 1;
    }
    assert!(tried > 10, "only {tried} inputs are kept for {door}");
}

#[test]
fn what_callers_may_send_is_answered_whatever_it_is() {
    replay("api", api::ask);
}

#[test]
fn any_configuration_is_read_or_its_faults_are_named() {
    replay("config", config::read);
}

#[test]
fn any_answer_of_a_provider_is_understood_or_named() {
    replay("provider", provider::read);
}

#[test]
fn any_value_in_a_ledger_is_worked_with_or_named() {
    replay("ledger", ledger::read);
}

#[test]
fn no_webhook_is_let_in_unsigned_and_none_is_too_much() {
    replay("webhook", webhook::take);
}
