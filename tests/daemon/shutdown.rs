//! SIGTERM: a last sample and one push, then the end (rule S13).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Stripe, Vm, config, until};

const NEVER: &str = "\"0 0 0 1 1 *\"";

/// A daemon that samples and pushes by itself only when it starts.
fn sleepy(stripe: &Stripe, vm: &Vm) {
    let toml = config(&stripe.books.base_url());
    vm.configure(&toml.replace("\"1s\"", "\"6h\"").replace("\"* * * * * *\"", NEVER));
}

#[test]
fn s13_a_stop_sends_what_was_recorded_last_and_leaves_a_tidy_file() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    sleepy(&stripe, &vm);
    let daemon = vm.start_linked();
    vm.await_push();
    vm.settle();
    vm.spend("last-minute", "12");
    assert_eq!(stripe.books.total(&account.item), 0, "nothing pushes by itself here");
    daemon.stop();
    assert_eq!(stripe.books.total(&account.item), 5);
    assert!(!vm.socket().exists());
    let wal = vm.database().with_extension("db-wal");
    assert_eq!(fs::metadata(wal).map_or(0, |wal| wal.len()), 0, "the WAL is moved into the file");
    assert_eq!(vm.query::<String>("SELECT stop FROM round"), "clean");
}

#[test]
fn s13_a_second_signal_ends_the_grace_and_nothing_is_lost_by_that() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    sleepy(&stripe, &vm);
    let mut daemon = vm.start_linked();
    vm.await_push();
    vm.settle();
    let hang = json!({ "effect": "none", "delay_ms": 12_000 });
    stripe.fault("POST", "/v1/subscription_items/*/usage_records", &hang);
    vm.spend("last-minute", "12");
    daemon.signal(Signal::TERM);
    until("the last push hangs", || if stripe.books.waiting_faults() == 0 { Ok(()) } else { Err(daemon.output()) });
    assert_eq!(daemon.ended(), None);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.exit_code(), 0, "{}", daemon.output());
    daemon.says("asked again: stopping at once");

    // The request that hung may or may not have been done: its key is asked about again, and it stands once.
    let daemon = vm.start();
    assert_eq!(vm.settle()["stands"], 5);
    assert_eq!(stripe.books.total(&account.item), 5);
    daemon.stop();
}

#[test]
fn s13_a_push_that_hangs_does_not_cost_the_last_sample() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    sleepy(&stripe, &vm);
    let mut daemon = vm.start_linked();
    vm.await_push();
    vm.settle();
    let hang = json!({ "effect": "none", "delay_ms": 12_000 });
    stripe.fault("POST", "/v1/subscription_items/*/usage_records", &hang);
    vm.spend("order-1", "12");
    // A reload nudges a push, and that is what hangs.
    daemon.signal(Signal::HUP);
    until("a push hangs", || if stripe.books.waiting_faults() == 0 { Ok(()) } else { Err(daemon.output()) });
    // That push took a sample when it began.
    let before: i64 = vm.query("SELECT boottime_us FROM reading");
    daemon.signal(Signal::TERM);
    daemon.says("stopping");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), 0, "{}", daemon.output());
    let after: i64 = vm.query("SELECT boottime_us FROM reading");
    assert!(after > before, "the time between the push and the stop was not measured");
}

#[test]
fn a_system_that_does_not_answer_does_not_hold_up_the_end() {
    let mut vm = Vm::unbilled();
    let bin = vm.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    let systemctl = bin.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    vm.set("PATH", &format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let daemon = vm.start();
    vm.spend("order-1", "1");
    daemon.stop();
    assert_eq!(vm.query::<String>("SELECT stop FROM round"), "clean");
}

#[test]
fn a_stop_of_the_whole_system_is_told_from_one_of_the_agent() {
    let mut vm = Vm::unbilled();
    let bin = vm.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    let systemctl = bin.join("systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho stopping\nexit 1\n").unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    vm.set("PATH", &format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    vm.start().stop();
    assert_eq!(vm.query::<String>("SELECT stop FROM round"), "system");
}
