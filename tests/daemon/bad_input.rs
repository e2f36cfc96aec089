//! What is wrong is refused with a sentence that helps, and harms nothing.

use std::fs;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::{Stripe, Vm, ask, config, run, until};

/// What `usaged` says where it does not start.
fn refused_start(vm: &Vm, words: &[&str], code: i32) -> String {
    let said = run(&mut vm.usaged(words));
    assert_eq!(said.code, code, "{said:?}");
    said.out + &said.err
}

fn assert_says(said: &str, all: &[&str]) {
    for words in all {
        assert!(said.contains(words), "{words:?} is not in:\n{said}");
    }
}

#[test]
fn a_wrong_configuration_is_named_with_line_and_near_miss_all_faults_at_once() {
    let vm = Vm::unbilled();
    vm.configure("[schedule]\nsample_evry = \"1s\"\npush = \"whenever\"\n");
    for (words, code) in [(&["check-config"], 1), (&["run"], 78)] {
        let said = refused_start(&vm, words, code);
        assert_says(&said, &["usaged.toml:2: schedule.sample_evry", "did you mean `sample_every`?", "usaged.toml:3:"]);
    }
    vm.configure("[schedule\n");
    assert_says(&refused_start(&vm, &["run"], 78), &["usaged.toml:1:", "hint: the file is TOML"]);
    vm.configure("clock = \"trusted\"\n");
    assert_says(&refused_start(&vm, &["check-config"], 0), &["OK", "Nothing is billed"]);
    assert!(!vm.database().exists(), "nothing is made before the configuration is good");
}

#[test]
fn a_plan_that_does_not_say_what_it_includes_is_refused() {
    let vm = Vm::unbilled();
    vm.configure("plan = \"pro\"\n");
    assert_says(&refused_start(&vm, &["run"], 78), &["usaged.toml:1: plan", "compute_hours", "included"]);
}

#[test]
fn m8_bad_records_are_refused_one_by_one_and_the_good_ones_among_them_count() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let long = "x".repeat(201);
    let bad = [
        (json!({ "meter": "api_credit", "quantity": 1, "id": "a" }), "unknown_meter", "records go to api_credits"),
        (json!({ "meter": "compute_hours", "quantity": 1, "id": "a" }), "not_a_push_meter", "measured by uptime"),
        (json!({ "meter": "api_credits", "quantity": -3, "id": "a" }), "bad_quantity", "usagectl void"),
        (json!({ "meter": "api_credits", "quantity": "1e3", "id": "a" }), "bad_quantity", "1e3"),
        (json!({ "meter": "api_credits", "quantity": 1, "id": long }), "bad_id", "1 to 200"),
        (json!({ "meter": "api_credits", "quantity": 1 }), "bad_id", "there is no id"),
        (json!({ "meter": "api_credits", "quantity": 1, "id": "a", "at": "soon" }), "bad_time", "soon"),
        (json!({ "meter": "api_credits", "quantity": 1, "id": "a", "qty": 1 }), "malformed", "qty"),
    ];
    let mut all: Vec<Value> = bad.iter().map(|(record, ..)| record.clone()).collect();
    all.push(json!({ "meter": "api_credits", "quantity": "2.5", "id": "good" }));
    let report = vm.ask("POST", "/v1/usage", &json!(all).to_string()).unwrap().json();
    assert_eq!((&report["accepted"], &report["refused"]), (&json!(1), &json!(8)), "{report:#}");
    for (place, (_, code, words)) in bad.iter().enumerate() {
        let answer = &report["records"][place];
        assert_eq!(answer["code"], *code, "{answer}");
        assert_says(answer["reason"].as_str().unwrap(), &[words]);
    }
    let stored: i64 = vm.query("SELECT sum(quantity) FROM credit");
    assert_eq!(stored, 2_500_000);
}

#[test]
fn from_the_shell_a_bad_record_exits_4_with_the_reason() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    for (meter, quantity, words) in [("api_credit", "1", "there is no meter"), ("api_credits", "-1", "not above zero")]
    {
        let said = vm.ctl(&["record", meter, quantity, "--id", "a"]);
        assert_eq!((said.code, &*said.out), (4, ""), "{said:?}");
        assert_says(&said.err, &[words]);
    }
}

#[test]
fn what_is_no_json_is_answered_400_with_its_place() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    for (body, words) in
        [("", "empty"), ("{\"meter\": \n oops}", "line 2"), ("[{}, {\"id\": }]", "record 2"), ("5", "JSON")]
    {
        let answer = vm.ask("POST", "/v1/usage", body).unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_says(&answer.body, &[words, "\"code\":\"malformed\"", "\"hint\""]);
    }
    let answer = vm.ask("POST", "/v1/sync", "{\"comit\": true}").unwrap();
    assert_eq!(answer.status, 400);
    assert_says(&answer.body, &["did you mean \\\"commit\\\"?"]);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let vm = Vm::unbilled();
    vm.configure("[intake]\nmax_body = 2048\nmax_records = 2\n");
    let _daemon = vm.start();
    let answer = vm.ask("POST", "/v1/usage", &" ".repeat(1_000_000)).unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_says(&answer.body, &["2048", "several requests"]);
    let answer = vm.ask("POST", "/v1/usage", "[{}, {}, {}]").unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_says(&answer.body, &["3 records", "at most 2"]);
    vm.spend("it goes on", "1");
}

#[test]
fn more_connections_than_are_taken_are_told_to_come_again() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let idle: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(vm.socket()).unwrap()).collect();
    let answer = until("no more are taken", || {
        let stream = UnixStream::connect(vm.socket()).map_err(|error| error.to_string())?;
        let answer = ask(stream, "GET", "/v1/status", &[], b"").map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(answer) } else { Err(format!("{answer:?}")) }
    });
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_says(&answer.body, &["too many connections"]);
    let said = vm.ctl(&["record", "api_credits", "1", "--id", "late", "--retry-for", "0"]);
    assert_eq!(said.code, 1, "{said:?}");
    // Whether it reads the refusal or finds the door shut while it still writes, it says how to go on.
    assert_says(&said.err, &["--id late", "it counts once"]);
    drop(idle);
    let said = vm.ctl(&["record", "api_credits", "1", "--id", "late"]);
    assert_eq!(said.code, 0, "with patience, once there is room: {said:?}");
}

#[test]
fn a_second_daemon_on_one_state_directory_is_told_who_holds_it() {
    let vm = Vm::unbilled();
    let first = vm.start();
    let said = refused_start(&vm, &["run"], 1);
    assert_says(&said, &[&format!("(pid {})", first.pid()), "hint: stop it first"]);
    vm.spend("the first goes on", "1");
    first.stop();
    vm.start().stop();
}

#[test]
fn a_socket_on_which_a_live_daemon_answers_is_left_alone_and_a_dead_ones_is_replaced() {
    let vm = Vm::unbilled();
    let first = vm.start();
    let other = Vm::sharing_the_socket_of(&vm);
    let said = refused_start(&other, &["run"], 1);
    assert_says(&said, &["another usaged already answers on", vm.socket().to_str().unwrap(), "hint:"]);
    vm.spend("the first goes on", "1");
    first.kill();
    assert!(vm.socket().exists(), "a killed daemon leaves its socket behind");
    other.start().stop();
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named_with_what_to_do() {
    let vm = Vm::unbilled();
    fs::write(vm.state_dir(), "a file where a directory should be").unwrap();
    let said = refused_start(&vm, &["run"], 1);
    assert_says(&said, &["cannot use the state directory", vm.state_dir().to_str().unwrap(), "hint:", "--state-dir"]);
}

#[test]
fn a_ledger_that_is_not_ours_or_is_newer_is_refused_and_not_touched() {
    for (sql, words) in [
        ("CREATE TABLE invoices (id)", "a database of another program"),
        ("PRAGMA application_id = 0x75736764; PRAGMA user_version = 999", "schema 999"),
    ] {
        let vm = Vm::unbilled();
        fs::create_dir(vm.state_dir()).unwrap();
        rusqlite::Connection::open(vm.database()).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(vm.database()).unwrap();
        let said = refused_start(&vm, &["run"], 78);
        assert_says(&said, &[words, "not touched", "hint:"]);
        assert!(fs::read(vm.database()).unwrap() == before, "it was changed");
    }
    let vm = Vm::unbilled();
    fs::create_dir(vm.state_dir()).unwrap();
    fs::write(vm.database(), "not a database at all, but long enough to be looked at as one".repeat(100)).unwrap();
    let before = fs::read(vm.database()).unwrap();
    // What is no database at all can only be a damaged one: it is set aside, and the daemon lives.
    let daemon = vm.start();
    let said = vm.problem("ledger_recovered");
    let name = said.split_whitespace().find(|word| word.starts_with("usage.db.damaged-")).unwrap();
    assert_eq!(fs::read(vm.state_dir().join(name.trim_end_matches(','))).unwrap(), before);
    daemon.stop();
}

#[test]
fn a_bad_command_line_exits_2() {
    let vm = Vm::unbilled();
    assert_says(&refused_start(&vm, &["rum"], 2), &["run"]);
    for line in ["sync --month 2026-13", "release si_1 --because x", "record"] {
        let said = vm.ctl(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((said.code, &*said.out), (2, ""), "{said:?}");
    }
}

#[test]
fn a_secret_in_the_configuration_is_a_fault_that_does_not_repeat_it() {
    let stripe = Stripe::start();
    let vm = Vm::with_key(&stripe);
    vm.configure(&config(&stripe.books.base_url()).replace("timeout", "key = \"sk_live_hushHushHush\"\ntimeout"));
    let said = refused_start(&vm, &["run"], 78);
    assert!(!said.contains("hushHush"), "{said}");
    assert_says(&said, &["usaged.toml:7: provider.key"]);
    let mut vm = Vm::with_key(&stripe);
    vm.set("STRIPE_API_KEY", "pk_live_hushHushHush");
    let said = refused_start(&vm, &["check-config"], 1);
    assert!(!said.contains("hushHush"), "{said}");
    assert_says(&said, &["STRIPE_API_KEY", "publishable"]);
}
