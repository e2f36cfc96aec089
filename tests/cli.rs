//! `usagectl` as a process: what a shell sees of it when nobody answers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::process::{Command, Output, Stdio};

fn usagectl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usagectl"));
    command.args(args).env_remove("USAGED_SOCKET");
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn without_a_daemon_it_exits_3_and_names_the_command_that_starts_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("usaged.sock");
    let (code, out, err) = output(usagectl(&["status"]).env("USAGED_SOCKET", &socket));
    assert_eq!((code, out.as_str()), (Some(3), ""));
    assert!(err.contains(socket.to_str().unwrap()), "{err}");
    assert!(err.contains("hint: start it: sudo systemctl start usaged"), "{err}");
}

#[test]
fn a_bad_command_line_exits_2_before_anybody_is_asked() {
    let (code, out, err) = output(&mut usagectl(&["staus"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("'status'"), "what was probably meant is named: {err}");
}

#[test]
fn the_help_names_every_exit_code() {
    let (code, out, err) = output(&mut usagectl(&["--help"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for line in ["0  fine", "1  error", "2  bad usage", "3  the daemon", "4  refused", "5  running"] {
        assert!(out.contains(line), "{line} is missing: {out}");
    }
}

#[test]
fn a_closed_stdout_is_no_crash() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = usagectl(&["--help"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
