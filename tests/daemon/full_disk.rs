//! A disk without room: nothing is acknowledged that is not stored, and once there is room it goes on by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Process, Stripe, Vm, clean, run, skipped, until};

/// Records until one is refused for want of room, and says so; returns how many were taken.
fn record_until_refused(vm: &Vm) -> i64 {
    let mut taken = 0;
    let refused = until("there is no room", || {
        // Long ids: a log that is begun anew takes a few more of the short ones.
        let answer = vm.record(&format!("{taken}-{}", "x".repeat(150)), "1").unwrap();
        if answer.status == 503 {
            return Ok(answer);
        }
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{answer:?}");
        taken += 1;
        Err("it is taken")
    });
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{refused:?}");
    assert!(!refused.json()["error"].as_str().unwrap().is_empty(), "{refused:?}");
    taken
}

/// What an operator and a program see meanwhile.
fn assert_it_is_said(vm: &Vm) {
    let problem = vm.problem("database_unavailable");
    assert!(problem.contains("samples cannot be stored"), "{problem}");
    let status = vm.ctl(&["status"]);
    assert_eq!(status.code, 5, "{status:?}");
    let record = vm.ctl(&["record", "api_credits", "1", "--id", "no-room", "--retry-for", "0"]);
    assert_eq!(record.code, 1, "{record:?}");
    assert!(record.err.contains("did not arrive") && record.err.contains("--id no-room"), "{record:?}");
}

/// Everything that was acknowledged, and what is recorded now, is billed.
fn assert_it_goes_on(vm: &Vm, stripe: &Stripe, item: &str, taken: i64) {
    until("it takes records again", || match vm.record("there is room", "1").unwrap() {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
    let expected = taken + 1 - 7;
    assert_eq!(vm.settle()["stands"], expected);
    assert_eq!(stripe.books.total(item), expected);
    until("the problem is over", || match vm.problems() {
        none if none.is_empty() => Ok(()),
        some => Err(some.join(", ")),
    });
}

#[test]
fn a_file_that_may_not_grow_refuses_records_until_it_may() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    // The signal that comes with the limit would end the daemon, which is not what a full disk does.
    let mut shell = clean("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]);
    let daemon = vm.await_link(vm.await_answers(Process::start(&mut vm.usaged_under(shell, vm.run_words()))));
    vm.spend("with room", "9");
    vm.settle();
    daemon.limit_files(Some(4_096));
    assert_eq!(record_until_refused(&vm), 0);
    assert_it_is_said(&vm);
    daemon.limit_files(None);
    assert_it_goes_on(&vm, &stripe, &account.item, 9);
    daemon.stop();
    assert_eq!(vm.query::<String>("PRAGMA integrity_check"), "ok");
}

/// Fills a file system to its last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [65_536, 4_096, 512, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}

/// A daemon whose state lies on a disk of its own, two megabytes small, to which `prepare` is done first. `None`, said
/// loudly, where nobody may mount.
fn on_a_small_disk(vm: &Vm, prepare: &str) -> Option<Process> {
    let namespace = ["--mount", "--map-root-user"];
    let trial = run(clean("unshare").args(namespace).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]));
    if trial.code != 0 {
        skipped("a disk that is really full", trial.err.trim());
        return None;
    }
    fs::create_dir(vm.state_dir()).unwrap();
    let script = format!(r#"mount -t tmpfs -o size=2m tmpfs "$1"; {prepare}; shift; exec "$@""#);
    let mut command = clean("unshare");
    command.args(namespace).args(["sh", "-c", &script, "sh"]).arg(vm.state_dir());
    Some(Process::start(&mut vm.usaged_under(command, vm.run_words())))
}

#[test]
fn a_start_on_a_full_disk_fails_with_the_reason() {
    let vm = Vm::unbilled();
    let Some(mut daemon) = on_a_small_disk(&vm, r#"head -c 4m /dev/zero >"$1/filler" 2>&1"#) else { return };
    assert_eq!(daemon.exit_code(), 1, "{}", daemon.output());
    daemon.says("error: ");
    let output = daemon.output();
    assert!(output.contains("full") || output.contains("No space left"), "{output}");
    assert!(output.contains("hint: "), "{output}");
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let Some(daemon) = on_a_small_disk(&vm, "true") else { return };
    let daemon = vm.await_link(vm.await_answers(daemon));
    vm.spend("with room", "9");
    vm.settle();
    let state_dir = vm.state_dir();
    let seen_from_here = PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), state_dir.display()));
    let filler = seen_from_here.join("filler");
    fill(&filler);
    let taken = record_until_refused(&vm);
    let words = vm.record("one more", "1").unwrap().body;
    assert!(words.contains("the disk that holds usage.db is full") && words.contains("free space"), "{words}");
    assert_it_is_said(&vm);
    fs::remove_file(filler).unwrap();
    assert_it_goes_on(&vm, &stripe, &account.item, 9 + taken);
    daemon.stop();
}
