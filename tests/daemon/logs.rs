//! What the daemon says of itself, and to whom.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Process, Stripe, Vm, clean, run, skipped};

#[test]
fn a_log_in_json_is_one_object_a_line_with_each_value_by_itself() {
    let vm = Vm::unbilled();
    let daemon = vm.await_answers(Process::start(&mut vm.usaged(&["run", "--log-format", "json"])));
    daemon.says("usaged runs");
    let output = daemon.output();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let runs = lines.iter().find(|line| line["message"] == "usaged runs").unwrap();
    assert_eq!((&runs["level"], &runs["target"]), (&"info".into(), &"usaged::daemon::run".into()));
    assert_eq!(runs["fields"]["socket"], vm.socket().to_str().unwrap());
    assert!(runs["at"].as_str().unwrap().ends_with('Z'), "{runs}");
    daemon.stop();
}

#[test]
fn what_is_said_again_is_counted_and_the_count_is_said_at_the_latest_at_the_end() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let mut daemon = vm.start_linked();
    assert_eq!(vm.ctl(&["drain"]).code, 0);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(vm.record(id, "1").unwrap().status, 503);
    }
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.exit_code(), 0, "{}", daemon.output());
    let said: Vec<_> = daemon.output().lines().filter(|line| line.contains("answered: ")).map(str::to_owned).collect();
    assert_eq!(said.len(), 2, "{said:#?}");
    let (first, count) = (said[0].split_once(" WARN ").unwrap().1, said[1].split_once(" WARN ").unwrap().1);
    assert_eq!(count, format!("repeated 3 times: {first}"));
}

/// A daemon whose stderr systemd has led to the journal, with a `/run` of its own that `prepare` furnishes. `None`, said
/// loudly, where nobody may mount.
fn in_the_journal(vm: &Vm, prepare: &str) -> Option<Process> {
    let namespace = ["--mount", "--map-root-user"];
    let trial = run(clean("unshare").args(namespace).args(["mount", "-t", "tmpfs", "tmpfs", "/run"]));
    if trial.code != 0 {
        skipped("a journal", trial.err.trim());
        return None;
    }
    let script = format!(
        r#"mount -t tmpfs tmpfs /run; {prepare}; shift
        export JOURNAL_STREAM="$(stat -L -c %d:%i /proc/self/fd/2)"; exec "$@""#
    );
    let mut command: Command = clean("unshare");
    command.args(namespace).args(["sh", "-ec", &script, "sh"]).arg(vm.dir());
    Some(vm.await_answers(Process::start(&mut vm.usaged_under(command, vm.run_words()))))
}

#[test]
fn the_journal_is_given_a_field_for_each_value() {
    let vm = Vm::unbilled();
    let journal = UnixDatagram::bind(vm.dir().join("socket")).unwrap();
    journal.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let share = r#"mkdir -p /run/systemd/journal; mount --bind "$1" /run/systemd/journal"#;
    let Some(daemon) = in_the_journal(&vm, share) else { return };
    let mut entry = vec![0; 65_536];
    let runs = loop {
        let length = journal.recv(&mut entry).unwrap();
        let entry = String::from_utf8_lossy(&entry[..length]).into_owned();
        if entry.contains("MESSAGE=usaged runs") {
            break entry;
        }
    };
    let socket = format!("USAGED_SOCKET={}", vm.socket().display());
    for field in ["PRIORITY=6", "SYSLOG_IDENTIFIER=usaged", "TARGET=usaged::daemon::run", &socket] {
        assert!(runs.lines().any(|line| line == field), "no {field} in {runs}");
    }
    assert!(!daemon.output().contains("usaged runs"), "{}", daemon.output());
    daemon.stop();
}

#[test]
fn where_the_journal_takes_no_entries_each_line_has_its_priority() {
    let vm = Vm::unbilled();
    let Some(daemon) = in_the_journal(&vm, "true") else { return };
    daemon.says("<6>usaged runs ");
    daemon.stop();
}
