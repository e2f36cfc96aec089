//! `usagectl`: what it says and how it ends.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Process, Stripe, Vm, clean, run, until};

/// Exactly one JSON document, with the schema this version speaks.
fn document(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value["schema"], 1, "{text}");
    value
}

#[test]
fn without_a_key_it_measures_and_says_plainly_that_nothing_is_billed() {
    let stripe = Stripe::start();
    let mut keyless = Vm::with_key(&stripe);
    keyless.set("STRIPE_API_KEY", "");
    for vm in [Vm::unbilled(), keyless] {
        let daemon = vm.start();
        daemon.says("Nothing is billed");
        vm.spend("order-1", "5");
        let status = vm.ctl(&["status"]);
        assert!(status.out.contains("unbilled"), "{status:?}");
        assert!(status.out.contains("no provider is configured, or its key is missing"), "{status:?}");
        let status = document(&vm.ctl(&["status", "--json"]).out);
        assert_eq!(status["mode"], "unbilled");
        let usage = document(&vm.ctl(&["usage", "--json"]).out);
        let credits = usage["meters"].as_array().unwrap().iter().find(|meter| meter["name"] == "api_credits").unwrap();
        // A machine whose clock nobody vouches for yet has it wait, visibly (rule M5).
        let counted = [&credits["used"], &credits["waiting_for_clock"]];
        assert!(counted == [5, 0] || counted == [0, 5], "{usage:#}");
        let sync = vm.ctl(&["sync", "--commit"]);
        assert_eq!(sync.code, 4, "{sync:?}");
        assert!(sync.out.contains("nothing is billed"), "{sync:?}");
        let link = vm.ctl(&["link", "--customer", "cus_1", "--subscription", "sub_1"]);
        assert_eq!(link.code, 4, "{link:?}");
        daemon.stop();
    }
    assert_eq!(stripe.books.requests(""), Vec::<Value>::new(), "without a key nobody is asked");
}

#[test]
fn every_answer_in_json_is_one_document_and_stdout_holds_nothing_else() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let _daemon = vm.start_linked();
    let record: &[&str] = &["record", "api_credits", "9", "--id", "order-1"];
    let void: &[&str] = &["void", "api_credits", "--id", "order-1", "--because", "a test"];
    for words in [&["status"], record, &["sync", "--commit"], &["usage"], &["doctor"], void] {
        let said = vm.ctl(&[words, &["--json"]].concat());
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
        document(&said.out);
    }
    let status = document(&vm.ctl(&["status", "--json"]).out);
    let meters = status["meters"].as_array().unwrap();
    let credits = meters.iter().find(|meter| meter["name"] == "api_credits").unwrap();
    assert_eq!((&credits["unit"], &credits["included"]), (&json!("credits"), &json!(7)), "{status:#}");
    for field in ["last_sample", "version", "since", "period_from", "period_to"] {
        assert!(status[field].is_string(), "{field}: {status:#}");
    }
    assert!(status["push"]["next_at"].is_string() && status["database"]["bytes"].is_u64(), "{status:#}");
    let refused = vm.ctl(&["release", &account.item, "--adopt", "--because", "x", "--json"]);
    assert_eq!((refused.code, &*refused.out), (4, ""));
    assert!(serde_json::from_str::<Value>(&refused.err).unwrap()["hint"].is_string(), "{refused:?}");
}

#[test]
fn a_watch_looks_again_and_ends_with_ctrl_c() {
    let vm = Vm::unbilled();
    let daemon = vm.start();
    let watch = |words: &[&str]| {
        let command = &mut clean(env!("CARGO_BIN_EXE_usagectl"));
        Process::start(command.arg("--socket").arg(vm.socket()).args(["status", "--watch", "1"]).args(words))
    };
    let (mut screens, mut lines) = (watch(&[]), watch(&["--json"]));
    let seen = |process: &Process, what: &str| process.output().matches(what).count();
    until("each has looked twice", || {
        let both = [seen(&screens, "running since"), seen(&lines, "\"schema\":1")];
        if both.iter().all(|looks| *looks >= 2) { Ok(()) } else { Err(format!("{both:?}")) }
    });
    lines.signal(Signal::INT);
    assert_eq!(lines.exit_code(), 0, "{}", lines.output());
    assert!(!screens.output().contains('\u{1b}'), "a pipe is no terminal: {}", screens.output());
    daemon.stop();
    // The next look finds nobody, says so, and looks again.
    screens.says("hint: start it");
    let again = vm.start();
    let before = seen(&screens, "running since");
    until(
        "it is found again",
        || {
            if seen(&screens, "running since") > before { Ok(()) } else { Err(screens.output()) }
        },
    );
    screens.signal(Signal::INT);
    assert_eq!(screens.exit_code(), 0, "{}", screens.output());
    again.stop();
}

#[test]
fn each_exit_code_means_what_the_help_says() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let nobody = vm.ctl(&["status"]);
    assert_eq!((nobody.code, &*nobody.out), (3, ""), "{nobody:?}");
    assert!(nobody.err.contains("systemctl start usaged"), "{nobody:?}");
    let record = vm.ctl(&["record", "api_credits", "1", "--id", "a", "--retry-for", "0"]);
    assert_eq!(record.code, 3, "{record:?}");
    assert!(record.err.contains("--id a"), "{record:?}");

    let daemon = vm.start_linked();
    assert_eq!(vm.ctl(&["status"]).code, 0);
    assert_eq!(vm.ctl(&["stat"]).code, 2);
    let unknown = vm.ctl(&["void", "api_credits", "--id", "never was", "--because", "x"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    let refused = vm.ctl(&["record", "no_such_meter", "1"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    vm.configure("plan = 7");
    daemon.signal(rustix::process::Signal::HUP);
    vm.problem("config_faulty");
    assert_eq!(vm.ctl(&["status"]).code, 5);
}

#[test]
fn it_finds_the_socket_that_the_environment_names() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let said = run(clean(env!("CARGO_BIN_EXE_usagectl")).env("USAGED_SOCKET", vm.socket()).arg("status"));
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn m8_a_record_waits_for_a_daemon_that_is_being_started_and_counts_once() {
    let vm = Vm::unbilled();
    let mut record = clean(env!("CARGO_BIN_EXE_usagectl"));
    record.arg("--socket").arg(vm.socket()).args(["record", "api_credits", "5", "--retry-for", "60"]);
    let mut record = Process::start(&mut record);
    record.says("trying again with id ");
    let _daemon = vm.start();
    assert_eq!(record.exit_code(), 0, "{}", record.output());
    assert_eq!(vm.query::<i64>("SELECT sum(quantity) FROM credit"), 5_000_000);
}

#[test]
fn m8_of_eight_at_once_with_one_id_one_is_accepted_and_seven_are_duplicates() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let said: Vec<_> = std::thread::scope(|scope| {
        let one = || vm.ctl(&["record", "api_credits", "5", "--id", "order-1"]);
        let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |word| said.iter().filter(|said| said.code == 0 && said.out.starts_with(word)).count();
    assert_eq!((count("accepted"), count("duplicate")), (1, 7), "{said:?}");
    assert_eq!(vm.query::<i64>("SELECT sum(quantity) FROM credit"), 5_000_000);
}
