//! Callers in great numbers, and such that do not behave: the daemon goes on measuring, and does not grow with them.

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Process, Vm, ask, skipped, until};

/// As many places as there are for those who may command, as the test may.
const PLACES: usize = 96;
const CROWD: usize = 10_000;

/// What the daemon holds in memory, kB.
fn resident(daemon: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits for a place, and asks.
fn await_answer(vm: &Vm) {
    until("somebody is heard again", || {
        let stream = UnixStream::connect(vm.socket()).map_err(|error| error.to_string())?;
        let answer = ask(stream, "GET", "/v1/status", &[], b"").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

fn last_sample(vm: &Vm) -> String {
    vm.query("SELECT group_concat(monotonic_us) FROM reading")
}

#[test]
fn callers_who_never_read_their_answers_lose_their_places() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let question = b"GET /v1/openapi.json HTTP/1.1\r\nHost: usaged\r\n\r\n".repeat(200);
    let deaf: Vec<UnixStream> = (0..PLACES)
        .map(|_| {
            let mut stream = UnixStream::connect(vm.socket()).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            match stream.write_all(&question) {
                Ok(()) => {}
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe), "{error}"),
            }
            stream
        })
        .collect();
    await_answer(&vm);
    drop(deaf);
}

#[test]
fn slow_callers_lose_their_places_too() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let mut slow: Vec<UnixStream> = (0..PLACES)
        .map(|n| {
            let mut stream = UnixStream::connect(vm.socket()).unwrap();
            let begun = if n % 2 == 0 { "GET /v1/status HTTP/1.1\r\nX: " } else { BODY };
            stream.write_all(begun.as_bytes()).unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    until("each was turned away", || {
        // A byte now and then is no progress.
        slow.retain_mut(|stream| stream.write_all(b"x").is_ok());
        if slow.is_empty() { Ok(()) } else { Err(format!("{} are left after {:?}", slow.len(), begun.elapsed())) }
    });
    await_answer(&vm);
}

const BODY: &str =
    "POST /v1/usage HTTP/1.1\r\nHost: usaged\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n[";

#[test]
fn ten_thousand_callers_at_once_cost_neither_samples_nor_memory() {
    let limit = getrlimit(Resource::Nofile);
    let enough = u64::try_from(CROWD + 500).unwrap();
    if limit.maximum.is_some_and(|maximum| maximum < enough) {
        skipped("ten thousand callers at once", "this user may not open so many files");
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(enough), ..limit }).unwrap();
    let vm = Vm::unbilled();
    vm.configure("[schedule]\nsample_every = \"1s\"\n");
    let daemon = vm.start();
    vm.spend("before", "1");
    let (before, sampled) = (resident(&daemon), last_sample(&vm));
    let crowd: Vec<UnixStream> = (0..CROWD)
        .map(|n| {
            let mut stream = UnixStream::connect(vm.socket()).unwrap();
            // Every other one has a question; whether it is heard is another matter.
            if n % 2 == 0 {
                drop(stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: usaged\r\n\r\n"));
            }
            stream
        })
        .collect();
    let after = resident(&daemon);
    assert!(after < before + 8_192, "{before} kB grew to {after} kB");
    until("it samples on", || if last_sample(&vm) == sampled { Err("the same sample") } else { Ok(()) });
    drop(crowd);
    await_answer(&vm);
    vm.spend("after", "1");
    daemon.stop();
}
