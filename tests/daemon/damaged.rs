//! A damaged database is met in the open: the daemon lives, says what happened, and goes on with what can be read.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Account, Process, Receiver, Stripe, Vm, run, until};
use crate::torn::{tear, tear_some};

/// A VM with credits of its own, all of them billed, whose daemon has stopped.
fn used() -> (Stripe, Account, Vm) {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let daemon = vm.start_linked();
    for n in 0..5 {
        vm.spend(&format!("before-{n}"), "3");
    }
    assert_eq!(vm.settle()["stands"], 8);
    daemon.stop();
    (stripe, account, vm)
}

fn asides(vm: &Vm) -> Vec<PathBuf> {
    let names = fs::read_dir(vm.state_dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_one =
        |name: &str| name.starts_with("usage.db.damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm");
    names.filter(|path| is_one(&path.file_name().unwrap().to_string_lossy())).collect()
}

/// Credits go on where they were, none of the old ones counts again, and the bill is right.
fn assert_it_goes_on(vm: &Vm, stripe: &Stripe, account: &Account) {
    assert_eq!(vm.record("before-1", "3").unwrap().json()["duplicate"], 1);
    vm.spend("after", "2");
    assert_eq!(vm.settle()["stands"], 10);
    assert_eq!(stripe.books.total(&account.item), 10);
}

#[test]
fn s5_a_start_on_a_torn_ledger_recovers_it_and_says_so() {
    for tables in [&["bucket"][..], &["credit"], &["delivery", "generation"], &["audit"]] {
        let (stripe, account, vm) = used();
        let whole = fs::read(vm.database()).unwrap();
        for table in tables {
            tear(&vm.database(), table);
        }
        let torn = fs::read(vm.database()).unwrap();
        assert_ne!(torn, whole);
        let daemon = vm.start();
        let said = vm.problem("ledger_recovered");
        assert!(said.contains("was damaged") && said.contains(tables[0]), "{said}");
        let asides = asides(&vm);
        assert_eq!(fs::read(&asides[0]).unwrap(), torn, "it is set aside as it was");
        assert!(said.contains(&*asides[0].file_name().unwrap().to_string_lossy()), "{said}");
        assert_it_goes_on(&vm, &stripe, &account);
        daemon.stop();
        // What was read once is not recovered again.
        let daemon = vm.start();
        assert_eq!(self::asides(&vm).len(), 1);
        fs::remove_file(&asides[0]).unwrap();
        until("nothing is to be said any more", || match vm.problems() {
            none if none.is_empty() => Ok(()),
            some => Err(some.join(", ")),
        });
        daemon.stop();
    }
}

#[test]
fn a_header_that_is_gone_costs_nothing() {
    let (stripe, account, vm) = used();
    File::options().write(true).open(vm.database()).unwrap().write_all_at(&[0x5a; 100], 0).unwrap();
    let daemon = vm.start_linked();
    assert!(vm.problem("ledger_recovered").contains("nothing is missing"));
    assert_it_goes_on(&vm, &stripe, &account);
    daemon.stop();
}

#[test]
fn s4_where_nothing_can_be_read_it_measures_unlinked_and_what_stands_stays() {
    for content in
        ["", "this is a letter and no database, and so it has been from its first word to its last one: farewell"]
    {
        let (stripe, account, vm) = used();
        fs::write(vm.database(), content).unwrap();
        let daemon = vm.start();
        let said = vm.problem("ledger_recovered");
        assert!(said.contains("usagectl link"), "{said}");
        assert!(vm.problem("seed_failed").contains("damaged"), "{:#}", vm.status());
        assert_eq!(vm.status()["link"], json!(null));
        vm.spend("unlinked", "4");
        vm.sync(&["--commit"]);
        assert_eq!(stripe.books.total(&account.item), 8);
        let words =
            ["link", "--customer", &account.customer, "--subscription", &account.subscription, "--plan", "small"];
        let refused = vm.ctl(&words);
        assert_eq!(refused.code, 4, "what stands is not taken for nothing: {refused:?}");
        let linked = vm.ctl(&[&words[..], &["--on-top"]].concat());
        assert_eq!(linked.code, 0, "{linked:?}");
        vm.spend("on-top", "9");
        until("ours goes on top", || match stripe.books.total(&account.item) {
            10 => Ok(()),
            other => Err(other),
        });
        daemon.stop();
    }
}

#[test]
fn m8_damage_met_while_it_runs_is_recovered_in_place_and_nothing_acknowledged_is_lost() {
    let (stripe, account, vm) = used();
    let mut daemon = vm.start_linked();
    until("the log is in the file", || {
        let told: i64 = vm.query("PRAGMA wal_checkpoint(TRUNCATE)");
        if told == 0 { Ok(()) } else { Err(told) }
    });
    // Behind the daemon's back, as a disk does.
    tear(&vm.database(), "bucket");
    until("it is recovered", || {
        let status = vm.ask("GET", "/v1/status", "").map_err(|error| error.to_string())?.json();
        let codes: Vec<&str> =
            status["problems"].as_array().unwrap().iter().map(|p| p["code"].as_str().unwrap()).collect();
        if codes.contains(&"ledger_recovered") { Ok(()) } else { Err(format!("{status:#}")) }
    });
    assert_eq!(daemon.ended(), None, "it is the same process");
    assert_eq!(vm.status()["pid"], daemon.pid());
    assert_it_goes_on(&vm, &stripe, &account);
    let refused = vm.ctl(&["db", "recover"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    let whole = vm.ctl(&["db", "check", "--full"]);
    assert_eq!((whole.code, whole.out.contains("is sound")), (0, true), "{whole:?}");
    daemon.stop();
}

/// A state directory that takes no new file, as a disk without room: the file in it can be read and not recovered.
pub(super) fn start_without_room(vm: &Vm) -> Process {
    let mut shell = crate::harness::clean("sh");
    shell.args(["-c", r#"trap "" XFSZ; ulimit -S -f 128; exec "$0" "$@""#]);
    vm.await_answers(Process::start(&mut vm.usaged_under(shell, vm.run_words())))
}

#[test]
fn a_recovery_that_fails_leaves_a_daemon_that_says_so_and_goes_on_by_itself() {
    let (stripe, account, vm) = used();
    tear(&vm.database(), "audit");
    let torn = fs::read(vm.database()).unwrap();
    let receiver = Receiver::start();
    let text = fs::read_to_string(vm.config_file()).unwrap();
    vm.configure(&text.replace("[alerts]\n", &format!("[alerts]\nurl = \"{}\"\n", receiver.url("/in"))));
    let mut daemon = start_without_room(&vm);
    let told = |code: &str| receiver.at("/in").iter().filter(|sent| sent.json()["code"] == code).count();
    let said = until("it says why", || {
        let problem = vm.problem("database_damaged");
        if problem.contains("could not be recovered") { Ok(problem) } else { Err(problem) }
    });
    assert!(said.contains("usagectl db recover"), "{said}");
    assert_eq!(vm.ctl(&["status"]).code, 5);
    let checked = vm.ctl(&["db", "check"]);
    assert_eq!((checked.code, checked.out.contains("is damaged")), (5, true), "{checked:?}");
    let doctor = vm.ctl(&["doctor"]);
    assert!(doctor.out.contains("damaged"), "{doctor:?}");
    let refused = vm.record("refused", "1").unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("database_damaged")), "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.json()["hint"].is_string(), "{refused:?}");
    assert_eq!(fs::read(vm.database()).unwrap(), torn, "it is as it was");
    assert_eq!((asides(&vm), daemon.ended()), (Vec::new(), None));
    until("somebody is told", || if told("database_damaged") == 1 { Ok(()) } else { Err("nobody was") });
    daemon.limit_files(None);
    let asked = vm.ctl(&["db", "recover"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    vm.problem("ledger_recovered");
    until("what became of it is told", || if told("ledger_recovered") == 1 { Ok(()) } else { Err("it was not") });
    assert_it_goes_on(&vm, &stripe, &account);
    daemon.stop();
}

#[test]
fn without_a_daemon_it_is_checked_and_recovered_as_well() {
    let (stripe, account, vm) = used();
    let check = |words: &[&str]| run(&mut vm.usaged(words));
    assert_eq!(check(&["check-db"]).code, 0);
    tear(&vm.database(), "job_run");
    let said = check(&["check-db", "--full"]);
    assert_eq!((said.code, said.out.contains("hint: ")), (1, true), "{said:?}");
    let said = check(&["recover-db"]);
    assert_eq!((said.code, said.out.contains("job_run: 0 rows read, some missing")), (0, true), "{said:?}");
    assert_eq!(check(&["check-db", "--full"]).code, 0);
    assert!(check(&["recover-db"]).out.contains("nothing to recover"));
    let daemon = vm.start_linked();
    let refused = check(&["recover-db"]);
    assert_eq!((refused.code, refused.err.contains("another usaged")), (1, true), "{refused:?}");
    assert_it_goes_on(&vm, &stripe, &account);
    daemon.stop();
}

#[test]
fn a_sick_daemon_stops_when_it_is_told_to() {
    let (_stripe, _account, vm) = used();
    tear(&vm.database(), "audit");
    let daemon = start_without_room(&vm);
    vm.problem("database_damaged");
    daemon.stop();
}

#[test]
fn a_log_whose_middle_is_torn_is_no_silent_loss() {
    let (stripe, account, vm) = used();
    let daemon = vm.start_linked();
    for n in 0..8 {
        vm.spend(&format!("logged-{n}"), "1");
    }
    vm.settle();
    let (state, log) = (fs::read(vm.database()).unwrap(), vm.state_dir().join("usage.db-wal"));
    let bytes = fs::read(&log).unwrap();
    daemon.kill();
    fs::write(vm.database(), state).unwrap();
    fs::write(&log, bytes).unwrap();
    File::options().write(true).open(&log).unwrap().write_all_at(&[0xa5; 64], 32 + 24 + 4_096 + 300).unwrap();
    let daemon = vm.start_linked();
    assert!(vm.problem("ledger_recovered").contains("transactions"), "{:#}", vm.status());
    let stands = stripe.books.total(&account.item);
    vm.sync(&["--commit"]);
    assert_eq!(stripe.books.total(&account.item), stands, "what stands is not lowered to what an older ledger knows");
    daemon.stop();
}

#[test]
fn a_copy_is_made_while_credits_are_recorded_and_can_be_gone_on_from() {
    let (_stripe, _account, vm) = used();
    let daemon = vm.start_linked();
    let copy = vm.dir().join("copy.db");
    let path = copy.display().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..50).for_each(|n| vm.spend(&format!("meanwhile-{n}"), "1")));
        let said = vm.ctl(&["db", "backup", &path, "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(report["bytes"], copy.metadata().unwrap().len());
    });
    let again = vm.ctl(&["db", "backup", &path]);
    assert_eq!(again.code, 4, "{again:?}");
    assert!(again.err.contains("hint:"), "{again:?}");
    daemon.stop();
    fs::rename(&copy, vm.database()).unwrap();
    assert_eq!(vm.query::<String>("PRAGMA integrity_check"), "ok");
    let daemon = vm.start_linked();
    assert_eq!(vm.record("before-1", "3").unwrap().json()["duplicate"], 1);
    daemon.stop();
}

#[test]
fn leaves_on_both_sides_of_a_torn_one_are_read() {
    let (_stripe, _account, vm) = used();
    let daemon = vm.start_linked();
    let many: Vec<Value> =
        (0..900).map(|n| json!({ "meter": "api_credits", "quantity": "1", "id": format!("many-{n}") })).collect();
    let answer = vm.ask("POST", "/v1/usage", &json!(many).to_string()).unwrap();
    assert_eq!(answer.json()["accepted"], 900, "{answer:?}");
    daemon.stop();
    tear_some(&vm.database(), "credit", |place, of| place == of.div_euclid(2));
    let daemon = vm.start_linked();
    assert!(vm.problem("ledger_recovered").contains("of credit ("));
    let again = vm.ask("POST", "/v1/usage", &json!(many).to_string()).unwrap();
    assert_eq!(again.json()["duplicate"], 900, "also those whose content is gone: {answer:?}");
    daemon.stop();
}
