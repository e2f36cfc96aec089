//! `usaged run --sandbox`: what a newcomer sees.

use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Books, Vm, until};

/// The embedded sandbox's periods end with the UTC month, and nothing is sent in the last minutes of a period (rule S6).
fn wait_out_a_months_end() {
    let month_in = |seconds: i64| {
        let now: i64 = UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap();
        chrono::DateTime::from_timestamp(now + seconds, 0).unwrap().format("%Y-%m").to_string()
    };
    while month_in(0) != month_in(300) {
        eprintln!("waiting: the month has less than five minutes left, and nothing is sent in the last of them");
        thread::sleep(Duration::from_secs(10));
    }
}

/// Used seconds of compute, exact to the microsecond and up to the moment of asking, with the moments before and after.
fn compute_seconds(vm: &Vm) -> (Instant, f64, Instant) {
    let before = Instant::now();
    let said = vm.ctl(&["sync", "--json"]);
    let after = Instant::now();
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let lines = report["lines"].as_array().unwrap();
    let line = lines.iter().find(|line| line["meter"] == "compute_seconds").unwrap();
    (before, line["used"].as_str().unwrap().parse().unwrap(), after)
}

fn item(vm: &Vm, meter: &str) -> String {
    until(&format!("{meter} has an item"), || {
        let status = vm.status();
        let meters = status["meters"].as_array().unwrap().iter();
        let item = meters.clone().find(|found| found["name"] == meter).map(|found| found["item"].clone());
        item.as_ref().and_then(Value::as_str).map(str::to_owned).ok_or(format!("{status:#}"))
    })
}

#[test]
fn s1_within_its_first_minute_it_sets_the_machines_own_time_and_says_each_step() {
    wait_out_a_months_end();
    let vm = Vm::in_sandbox();
    let daemon = vm.start();
    let books = Books::of(&daemon);
    let item = item(&vm, "compute_seconds");
    let total = until("compute time stands", || match books.total(&item) {
        0 => Err(daemon.output()),
        total => Ok(total),
    });
    assert!(total > 0);
    let set = until("it is seen in the sandbox's log", || {
        let all = books.requests("/usage_records");
        all.iter().find(|one| one["path"].as_str().unwrap().contains(&item)).cloned().ok_or("not there")
    });
    let parameters = set["parameters"].as_str().unwrap();
    assert!(parameters.contains("action=set"), "{set}");
    for step in ["sampled", "rolled up", "pushed", "accepted"] {
        daemon.says(step);
    }
}

#[test]
fn m8_the_same_record_twice_counts_once_and_both_books_agree() {
    wait_out_a_months_end();
    let vm = Vm::in_sandbox();
    let daemon = vm.start();
    let item = item(&vm, "api_credits");
    let first = vm.ctl(&["record", "api_credits", "5", "--id", "order-1"]);
    assert_eq!((first.code, first.out.starts_with("accepted"), &*first.err), (0, true, ""), "{first:?}");
    let again = vm.ctl(&["record", "api_credits", "5", "--id", "order-1"]);
    assert_eq!((again.code, again.out.starts_with("duplicate"), &*again.err), (0, true, ""), "{again:?}");
    let line = vm.settle();
    let expected = json!({ "used": "5", "overage": 5, "target": 5, "stands": 5 });
    for field in ["used", "overage", "target", "stands"] {
        assert_eq!(line[field], expected[field], "{line:#}");
    }
    let summaries = Books::of(&daemon).get(&format!("/v1/subscription_items/{item}/usage_record_summaries"));
    assert_eq!(summaries["data"][0]["total_usage"], 5, "as any Stripe client with the demo's key reads it");
}

#[test]
fn a_sync_answers_for_what_it_sent_and_not_for_what_is_used_meanwhile() {
    wait_out_a_months_end();
    let vm = Vm::in_sandbox();
    let _daemon = vm.start();
    item(&vm, "api_credits");
    vm.spend("first", "1");
    vm.settle();
    let busy = |name: &str| {
        for n in 0..25 {
            vm.spend(&format!("{name}-{n}"), "1");
            let answer = vm.ask("POST", "/v1/sync", r#"{"commit": true}"#).unwrap().json();
            assert_eq!(answer["refused"], false, "{answer:#}");
        }
    };
    thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            scope.spawn(move || busy(name));
        }
    });
    assert_eq!(vm.settle()["stands"], 101);
}

#[test]
fn a_stop_and_three_kills_keep_both_books_and_their_ids() {
    wait_out_a_months_end();
    let vm = Vm::in_sandbox();
    let mut daemon = vm.start();
    let known = (item(&vm, "api_credits"), vm.status()["link"].clone());
    vm.settle();
    let (first_before, first_used, first_after) = compute_seconds(&vm);
    for round in 1..=4 {
        vm.spend(&format!("order-{round}"), "2.5");
        if round == 1 {
            daemon.stop();
        } else {
            daemon.kill();
        }
        daemon = vm.start();
        assert_eq!((item(&vm, "api_credits"), vm.status()["link"].clone()), known);
        vm.settle();
    }
    let line = vm.settle();
    assert_eq!((&line["used"], &line["stands"]), (&json!("10"), &json!(10)), "{line:#}");
    assert_eq!(Books::of(&daemon).total(&known.0), 10);
    let duplicate = vm.record("order-1", "2.5").unwrap().json();
    assert_eq!(duplicate["duplicate"], 1, "{duplicate}");

    // M3: the machine ran all the while, so its time counts, also while the agent was down; and not a second more.
    let (before, used, after) = compute_seconds(&vm);
    let counted = used - first_used;
    let least = before.duration_since(first_after).as_secs_f64();
    let most = after.duration_since(first_before).as_secs_f64();
    assert!(least <= counted && counted <= most, "{counted} s counted, of {least} to {most} s that went by");
}

#[test]
fn a_reload_in_the_sandbox_goes_on_billing_to_it() {
    wait_out_a_months_end();
    let vm = Vm::in_sandbox();
    let daemon = vm.start();
    let item = item(&vm, "api_credits");
    daemon.signal(Signal::HUP);
    daemon.says("the configuration was reloaded");
    vm.spend("after-the-reload", "3");
    assert_eq!(vm.settle()["stands"], 3);
    assert_eq!(Books::of(&daemon).total(&item), 3);
    assert_eq!(vm.problems(), Vec::<String>::new());
}

#[test]
fn two_sandboxes_and_a_real_agent_share_nothing() {
    wait_out_a_months_end();
    let (one, other, real) = (Vm::in_sandbox(), Vm::in_sandbox(), Vm::unbilled());
    let daemons = [one.start_linked(), other.start_linked(), real.start()];
    one.spend("order-1", "1");
    other.spend("order-1", "2");
    real.spend("order-1", "4");
    assert_eq!((&one.settle()["used"], &other.settle()["used"]), (&json!("1"), &json!("2")));
    assert_eq!(one.status()["mode"], "sandbox");
    assert_eq!(real.status()["mode"], "unbilled");
    drop(daemons);
}
