//! Metrics: on the socket, on a loopback address, in a file.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::harness::{Answer, Process, Vm, ask, until};

fn listening_on(address: &str) -> Vm {
    let vm = Vm::unbilled();
    vm.configure(&format!("[schedule]\nsample_every = \"1s\"\n\n[metrics]\nlisten = \"{address}\"\n"));
    vm
}

/// Where it says that it serves them.
fn address(daemon: &Process) -> String {
    daemon.says("metrics are served on http://").strip_suffix("/metrics").unwrap().to_owned()
}

fn scrape(address: &str, host: &str, path: &str) -> Answer {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    ask(stream, "GET", path, &[("Host", host)], b"").unwrap()
}

/// Names and labels, without their values.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// TCP sockets on which a process listens, as /proc tells them.
fn listeners(daemon: &Process) -> usize {
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/self/net/{table}")));
    let tables = tables.into_iter().flatten().collect::<String>();
    let rows = tables.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = |row: &Vec<&str>| row.get(3) == Some(&"0A");
    let inodes: BTreeSet<String> = rows.filter(listening).map(|row| format!("socket:[{}]", row[9])).collect();
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| inodes.contains(target.to_str().unwrap_or_default())).count()
}

#[test]
fn the_socket_and_the_loopback_address_serve_the_same_metrics() {
    let vm = listening_on("127.0.0.1:0");
    let daemon = vm.start();
    until("a sample was taken", || if vm.status()["last_sample"].is_string() { Ok(()) } else { Err("not yet") });
    // Its run is one of the series from then on.
    vm.await_push();
    let address = address(&daemon);
    let (here, there) = (vm.ask("GET", "/metrics", "").unwrap(), scrape(&address, &address, "/metrics"));
    for answer in [&here, &there] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{answer:?}");
        assert!(answer.body.ends_with("\n# EOF\n"), "{answer:?}");
    }
    assert_eq!(series(&here.body), series(&there.body));
    assert!(series(&here.body).contains("usaged_last_sample_timestamp_seconds"), "{here:?}");
    assert!(here.body.contains("\nusaged_sample_interval_seconds 1\n"), "{here:?}");
    assert_eq!(listeners(&daemon), 1);
    daemon.stop();
}

#[test]
fn on_the_loopback_address_a_foreign_host_and_every_other_path_are_refused() {
    let vm = listening_on("127.0.0.1:0");
    let daemon = vm.start();
    let address = address(&daemon);
    for host in ["evil.example", "evil.example:9477"] {
        let refused = scrape(&address, host, "/metrics");
        assert_eq!((refused.status, &refused.json()["code"]), (403, &"foreign_host".into()), "{refused:?}");
    }
    for path in ["/v1/status", "/v1/usage", "/"] {
        assert_eq!(scrape(&address, "localhost", path).status, 404, "{path}");
    }
    daemon.stop();
}

#[test]
fn a_port_that_is_taken_is_named_and_taken_over_once_it_is_free() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let vm = listening_on(&taken);
    let daemon = vm.start();
    let problem = vm.problem("metrics_not_served");
    assert!(problem.contains(&taken) && problem.contains("metrics.listen"), "{problem}");
    let said = vm.ask("GET", "/metrics", "").unwrap().body;
    assert!(said.contains(r#"usaged_problems{code="metrics_not_served",severity="problem"} 1"#), "{said}");
    drop(other);
    assert_eq!(address(&daemon), taken);
    assert!(!vm.problems().contains(&"metrics_not_served".to_owned()), "{:?}", vm.problems());
    assert_eq!(scrape(&taken, "localhost", "/metrics").status, 200);
    daemon.stop();
}

#[test]
fn without_a_word_nothing_listens_on_tcp() {
    let vm = Vm::unbilled();
    let daemon = vm.start();
    assert_eq!(listeners(&daemon), 0);
    daemon.stop();
}

#[test]
fn usagectl_prints_them_or_puts_them_into_a_file_that_everybody_may_read() {
    let vm = Vm::unbilled();
    let _daemon = vm.start();
    let printed = vm.ctl(&["metrics"]);
    assert_eq!((printed.code, &*printed.err), (0, ""), "{printed:?}");
    assert!(printed.out.starts_with("# HELP usaged_build_info") && printed.out.ends_with("\n# EOF\n"), "{printed:?}");
    let file = vm.dir().join("usaged.prom");
    for _ in 0..2 {
        let written = vm.ctl(&["metrics", "--textfile", file.to_str().unwrap()]);
        assert_eq!((written.code, &*written.out, &*written.err), (0, "", ""));
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\nusaged_clock_trusted ") && text.ends_with("\n# EOF\n"), "{text}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
}
