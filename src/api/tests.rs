//! The API as its callers see it: a real socket, a scripted desk behind it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::header::CONTENT_TYPE;
use tokio::sync::Notify;

use super::fake::{FakeDesk, Server, answers};
use super::{Access, Limits, bind, openapi_document, routes};
use crate::wire::ExportWhat;

const RECORD: &str = r#"{"meter": "api_credits", "quantity": 5, "id": "order-1"}"#;

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn say(server: &Server, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(server.path()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

fn all_of(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn outcomes(json: &serde_json::Value) -> Vec<(&str, &str)> {
    let records = json["records"].as_array().unwrap();
    records.iter().map(|r| (r["outcome"].as_str().unwrap(), r["code"].as_str().unwrap_or("-"))).collect()
}

#[test]
fn a_record_counts_once_however_often_it_is_sent() {
    let server = Server::start(FakeDesk::default());
    let first = server.post("/v1/usage", RECORD);
    assert_eq!((first.status, &first.json["accepted"]), (200, &1.into()));
    let second = server.post("/v1/usage", RECORD);
    assert_eq!((second.status, &second.json["duplicate"]), (200, &1.into()));
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(server.asked(), vec![format!("record 1 by uid {uid}"); 2]);
}

#[test]
fn bad_records_in_an_array_leave_the_others_in_their_places() {
    let server = Server::start(FakeDesk::default());
    let body = format!(
        r#"[{{"meter": "api_credits", "quantity": -1, "id": "a"}}, {RECORD}, {{"meter": "gpu", "quantity": 1, "id": "b"}},
            {{"meter": "api_credits", "quantity": 1, "id": "{}"}}, {RECORD}]"#,
        "x".repeat(201)
    );
    let answer = server.post("/v1/usage", &body);
    assert_eq!(answer.status, 200);
    let expected = [
        ("refused", "bad_quantity"),
        ("accepted", "-"),
        ("refused", "unknown_meter"),
        ("refused", "bad_id"),
        ("duplicate", "-"),
    ];
    assert_eq!(outcomes(&answer.json), expected);
    assert_eq!(
        (&answer.json["accepted"], &answer.json["duplicate"], &answer.json["refused"]),
        (&1.into(), &1.into(), &3.into())
    );
}

#[test]
fn lines_are_taken_one_by_one() {
    let server = Server::start(FakeDesk::default());
    let body =
        format!("{RECORD}\n{{\"meter\": oops}}\n{{\"metre\": \"api_credits\", \"quantity\": 1, \"id\": \"z\"}}\n");
    let detected = server.post("/v1/usage", &body);
    assert_eq!(outcomes(&detected.json), [("accepted", "-"), ("refused", "malformed"), ("refused", "malformed")]);
    assert!(detected.json["records"][1]["reason"].as_str().unwrap().starts_with("line 2: column 11"));
    assert!(detected.json["records"][2]["reason"].as_str().unwrap().contains("did you mean \"meter\"?"));
    let said =
        server.send(Request::post("/v1/usage").header(CONTENT_TYPE, "application/x-ndjson; charset=utf-8"), RECORD);
    assert_eq!(outcomes(&said.json), [("duplicate", "-")]);
}

#[test]
fn malformed_json_is_a_400_that_names_the_place() {
    let server = Server::start(FakeDesk::default());
    for (body, place) in [
        ("{\"meter\": \"api_credits\",\n \"quantity\" 5}", "line 2"),
        (r#"[{"meter": "api_credits"}, {"meter" 5}]"#, "record 2"),
        ("", "empty"),
        ("quantity=5", "not JSON"),
    ] {
        let answer = server.post("/v1/usage", body);
        let error = answer.json["error"].as_str().unwrap();
        assert_eq!((answer.status, answer.json["code"].as_str()), (400, Some("malformed")), "{body}");
        assert!(error.contains(place), "{error}");
    }
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_body_too_large_is_a_413_with_a_sentence_announced_or_not() {
    let server = Server::start(FakeDesk::default());
    let large = format!("[{}{RECORD}]", " ".repeat(5_000));
    let answer = server.post("/v1/usage", &large);
    assert_eq!((answer.status, answer.json["code"].as_str()), (413, Some("too_large")));
    assert!(answer.json["error"].as_str().unwrap().contains("4096 bytes"));
    let chunked = format!(
        "POST /v1/usage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n",
        large.len()
    );
    let mut start = [0; 12];
    say(&server, &chunked).read_exact(&mut start).unwrap();
    assert_eq!(std::str::from_utf8(&start).unwrap(), "HTTP/1.1 413");
    let many = server.post("/v1/usage", &format!("[{}]", [RECORD; 6].join(",")));
    assert_eq!(many.status, 413);
    assert_eq!(server.asked(), Vec::<String>::new(), "nothing of it was recorded");
}

#[test]
fn a_body_that_never_comes_ends_in_a_408() {
    let mut limits = Limits::new(4_096, 5);
    limits.arrival_max = Duration::from_millis(50);
    let server = Server::with(FakeDesk::default(), |_| Access::new(rustix::process::geteuid().as_raw(), None), limits);
    let stream = say(&server, "POST /v1/usage HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    assert!(all_of(stream).contains("body_too_slow"));
    assert_eq!(all_of(say(&server, "GET /v1/sta")), "", "a head that never ends is closed");
}

#[test]
fn a_busy_database_is_a_503_that_says_when_to_come_back() {
    let server = Server::start(FakeDesk::default());
    server.desk.busy.store(1, Ordering::SeqCst);
    let answer = server.post("/v1/usage", RECORD);
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(server.post("/v1/usage", RECORD).json["accepted"], 1);
}

fn strangers_only(dir: &std::path::Path) -> Access {
    Access::without_owners(None, &dir.join("passwd"), &dir.join("group"))
}

fn recorders_only(dir: &std::path::Path) -> Access {
    let gid = rustix::process::getegid().as_raw();
    std::fs::write(dir.join("group"), format!("usaged:x:{gid}:\n")).unwrap();
    strangers_only(dir)
}

#[test]
fn a_stranger_gets_a_403_that_names_the_group_on_every_path() {
    let mut limits = Limits::new(4_096, 5);
    limits.strangers_max = 100;
    let server = Server::with(FakeDesk::default(), strangers_only, limits);
    for (path, methods) in routes::PATHS.into_iter().chain([("/nowhere", "GET")]) {
        for method in methods.split(", ") {
            let answer = server.send(Request::builder().method(method).uri(path), RECORD);
            assert_eq!(answer.status, 403, "{method} {path}");
            assert!(answer.json["error"].as_str().unwrap().contains("group usaged"), "{answer:?}");
        }
    }
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_recorder_reads_and_records_but_does_not_command() {
    let server = Server::with(FakeDesk::default(), recorders_only, Limits::new(4_096, 5));
    assert_eq!(server.get("/v1/status").status, 200);
    assert_eq!(server.get("/metrics").status, 200);
    assert_eq!(server.post("/v1/usage", RECORD).status, 200);
    assert_eq!(server.post("/v1/sync", "{}").status, 200, "looking is reading");
    for (path, body) in [
        ("/v1/sync", r#"{"commit": true}"#),
        ("/v1/void", r#"{"meter": "api_credits", "id": "a", "because": "b"}"#),
        ("/v1/link", r#"{"customer": "cus_1", "subscription": "sub_1"}"#),
        ("/v1/release", r#"{"item": "si_1", "adopt": true, "because": "b"}"#),
        ("/v1/drain", ""),
        ("/v1/alerts/test", ""),
        ("/v1/reconcile", ""),
        ("/v1/db/check", ""),
        ("/v1/db/backup", r#"{"path": "/tmp/copy.db"}"#),
        ("/v1/db/recover", ""),
    ] {
        let answer = server.post(path, body);
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.json["hint"].as_str().unwrap().contains("sudo"), "{answer:?}");
    }
}

#[test]
fn commands_reach_the_desk_as_they_were_asked() {
    let server = Server::start(FakeDesk::default());
    assert_eq!(server.get("/v1/usage?month=2026-10").status, 200);
    assert_eq!(server.post("/v1/sync", "").status, 200);
    for body in ["", "{}"] {
        assert_eq!(server.post("/v1/drain", body).status, 200);
    }
    assert_eq!(server.get("/v1/explain?month=2026-10&meter=api_credits").status, 200);
    assert_eq!(server.get("/v1/explain?month=October").json["code"], "bad_month");
    assert_eq!(server.get("/v1/explain?period=1").json["code"], "unknown_parameter");
    assert_eq!(server.get("/v1/alerts").status, 200);
    assert_eq!(server.get("/v1/alerts?limit=0").json["code"], "bad_limit");
    assert_eq!(server.get("/v1/alerts?most=1").json["code"], "unknown_parameter");
    assert_eq!(server.post("/v1/alerts/test", "").status, 200);
    for body in ["", r#"{"item": "si_1"}"#] {
        assert_eq!(server.post("/v1/reconcile", body).status, 200);
    }
    assert_eq!(server.post("/v1/release", r#"{"item": "si_1", "adopt": false, "because": "checked"}"#).status, 200);
    for (path, body) in
        [("check", ""), ("check", r#"{"full": true}"#), ("backup", r#"{"path": "/srv/copy.db"}"#), ("recover", "{}")]
    {
        assert_eq!(server.post(&format!("/v1/db/{path}"), body).status, 200, "{path}");
    }
    let expected = [
        "usage UsageRequest { month: Some(\"2026-10\"), from: None, to: None, by: None, meter: None }",
        "sync SyncRequest { month: None, subscription_item: None, commit: false }",
        "drain",
        "drain",
        "explain Some(\"2026-10\") Some(\"api_credits\")",
        "alerts 20",
        "test alert",
        "reconcile ReconcileRequest { item: None }",
        "reconcile ReconcileRequest { item: Some(\"si_1\") }",
        "release ReleaseRequest { item: \"si_1\", adopt: false, because: \"checked\" }",
        "db check DbCheckRequest { full: false }",
        "db check DbCheckRequest { full: true }",
        "db backup DbBackupRequest { path: \"/srv/copy.db\" }",
    ];
    let (recover, others) = server.asked().split_last().map(|(last, rest)| (last.clone(), rest.to_vec())).unwrap();
    assert!(recover.starts_with("db recover by uid"), "{recover}");
    assert_eq!(others, expected);
}

#[test]
fn commands_are_checked_before_the_desk_is_asked() {
    let server = Server::start(FakeDesk::default());
    for (path, body, code) in [
        ("/v1/sync", r#"{"comit": true}"#, "unknown_field"),
        ("/v1/sync", r#"{"month": "November"}"#, "bad_month"),
        ("/v1/sync", r#"{"commit": "yes"}"#, "malformed"),
        ("/v1/sync", "[]", "malformed"),
        ("/v1/drain", r#"{"force": true}"#, "unknown_field"),
        ("/v1/alerts/test", r#"{"force": true}"#, "unknown_field"),
        ("/v1/db/check", r#"{"deep": true}"#, "unknown_field"),
        ("/v1/db/backup", "{}", "malformed"),
        ("/v1/db/recover", r#"{"force": true}"#, "unknown_field"),
        ("/v1/reconcile", r#"{"commit": true}"#, "unknown_field"),
        ("/v1/link", r#"{"customer": "cus_1"}"#, "malformed"),
        (
            "/v1/link",
            r#"{"customer": "c", "subscription": "s", "on_top": true, "from_next_period": true}"#,
            "contradiction",
        ),
        ("/v1/void", r#"{"meter": "api_credits", "id": "a", "because": " "}"#, "no_reason"),
    ] {
        let answer = server.post(path, body);
        assert_eq!((answer.status, answer.json["code"].as_str()), (400, Some(code)), "{path} {body}");
    }
    assert!(server.post("/v1/sync", r#"{"comit": true}"#).json["error"].as_str().unwrap().contains("\"commit\""));
    assert_eq!(server.get("/v1/usage?month=2026-13").json["code"], "bad_month");
    assert_eq!(server.get("/v1/usage?mont=2026-12").json["code"], "unknown_parameter");
    assert_eq!(server.get("/v1/usage?by=week").json["code"], "bad_by");
    assert_eq!(server.get("/v1/usage?from=yesterday").json["code"], "bad_time");
    let both = server.get("/v1/usage?month=2026-10&to=2026-11-01T00:00:00Z").json;
    assert_eq!((&both["code"], both["hint"].is_string()), (&"bad_range".into(), true));
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_rule_that_refuses_is_a_409_with_its_reason() {
    let server = Server::start(FakeDesk::default());
    server.desk.refuses.store(true, Ordering::SeqCst);
    let answer = server.post("/v1/link", r#"{"customer": "cus_1", "subscription": "sub_1"}"#);
    assert_eq!((answer.status, answer.json["code"].as_str()), (409, Some("item_claimed")));
}

#[test]
fn wrong_paths_and_methods_say_what_there_is() {
    let server = Server::start(FakeDesk::default());
    let missing = server.get("/status");
    assert_eq!((missing.status, missing.json["hint"].as_str()), (404, Some("did you mean /v1/status?")));
    assert_eq!(server.get("/v1/statsu").json["hint"], "did you mean /v1/status?");
    assert!(server.get("/").json["hint"].as_str().unwrap().contains("/v1/openapi.json"));
    let wrong = server.send(Request::delete("/v1/usage"), "");
    assert_eq!((wrong.status, wrong.json["hint"].as_str()), (405, Some("/v1/usage takes GET, POST")));
    assert!(wrong.headers.contains_key("allow"));
}

#[test]
fn metrics_are_openmetrics_of_what_the_status_says() {
    let server = Server::start(FakeDesk::default());
    *server.desk.status.lock().unwrap() = Some(answers::troubled());
    let answer = server.get("/metrics");
    let kind = answer.headers[CONTENT_TYPE].to_str().unwrap();
    assert_eq!((answer.status, kind), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(answer.text, super::exposition::of(answers::troubled()).unwrap());
}

#[test]
fn every_path_is_in_the_document_and_every_answer_has_its_schema() {
    let server = Server::start(FakeDesk::default());
    let document = server.get("/v1/openapi.json").json;
    let mut documented: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let mut routed: Vec<_> = routes::PATHS.iter().map(|(path, _)| (*path).to_owned()).collect();
    documented.sort();
    routed.sort();
    assert_eq!(documented, routed);
    for (path, methods) in routes::PATHS {
        let found: Vec<_> = document["paths"][path].as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        assert_eq!(found.join(", "), methods, "{path}");
    }
    openapi_document::assert_describes(&document, "Status", &serde_json::to_value(answers::troubled()).unwrap());
    openapi_document::assert_describes(&document, "UsageReport", &serde_json::to_value(answers::usage()).unwrap());
    let by_day = serde_json::to_value(answers::usage_by_day()).unwrap();
    openapi_document::assert_describes(&document, "UsageReport", &by_day);
    openapi_document::assert_describes(&document, "SyncReport", &serde_json::to_value(answers::sync()).unwrap());
    openapi_document::assert_describes(&document, "LinkReport", &serde_json::to_value(answers::link()).unwrap());
    openapi_document::assert_describes(&document, "DoctorReport", &serde_json::to_value(answers::doctor()).unwrap());
    openapi_document::assert_describes(&document, "VoidReport", &serde_json::to_value(answers::void("a")).unwrap());
    openapi_document::assert_describes(&document, "ReleaseReport", &serde_json::to_value(answers::release()).unwrap());
    let identity = serde_json::to_value(answers::identity()).unwrap();
    openapi_document::assert_describes(&document, "IdentityReport", &identity);
    let prepared = serde_json::to_value(answers::prepare_image()).unwrap();
    openapi_document::assert_describes(&document, "PrepareImageReport", &prepared);
    for drained in [answers::drained(), answers::not_drained()] {
        openapi_document::assert_describes(&document, "DrainReport", &serde_json::to_value(drained).unwrap());
    }
    for compared in [answers::reconciled(), answers::drifted()] {
        openapi_document::assert_describes(&document, "ReconcileReport", &serde_json::to_value(compared).unwrap());
    }
    for (name, answer) in [
        ("ExplainReport", serde_json::to_value(answers::explained()).unwrap()),
        ("ExportPage", serde_json::to_value(answers::export(ExportWhat::Usage, None)).unwrap()),
        ("ExportPage", serde_json::to_value(answers::export(ExportWhat::Credits, Some((1, 2, 3)))).unwrap()),
        ("ExportPage", serde_json::to_value(answers::export(ExportWhat::Deliveries, None)).unwrap()),
        ("AlertsReport", serde_json::to_value(answers::alerts()).unwrap()),
        ("AlertTestReport", serde_json::to_value(answers::alert_not_told()).unwrap()),
        ("AuditReport", serde_json::to_value(answers::audit()).unwrap()),
        ("AuditVerifyReport", serde_json::to_value(answers::audit_broken()).unwrap()),
        ("DbCheckReport", serde_json::to_value(answers::db_check(true)).unwrap()),
        ("DbBackupReport", serde_json::to_value(answers::db_backup("/srv/copy.db".to_owned())).unwrap()),
        ("DbRecoverReport", serde_json::to_value(answers::db_recover()).unwrap()),
    ] {
        openapi_document::assert_describes(&document, name, &answer);
    }
    let recorded = server.post("/v1/usage", &format!("[{RECORD}, {{}}]")).json;
    openapi_document::assert_describes(&document, "RecordReport", &recorded);
    openapi_document::assert_describes(&document, "Error", &server.get("/nowhere").json);
}

#[test]
fn a_caller_that_has_said_all_still_gets_its_answer() {
    let server = Server::start(FakeDesk::default());
    let stream = say(&server, "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = all_of(stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("}\n"), "a shell prompt follows on a line of its own");
}

fn held() -> (FakeDesk, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let desk = FakeDesk::default();
    *desk.held.lock().unwrap() = Some(Arc::clone(&gate));
    (desk, gate)
}

#[test]
fn a_request_in_flight_is_answered_before_the_end_and_the_socket_is_gone_at_once() {
    let (desk, gate) = held();
    let mut limits = Limits::new(4_096, 5);
    (limits.grace, limits.arrival_max) = (Duration::from_hours(1), Duration::from_hours(1));
    let mut server = Server::with(desk, |_| Access::new(rustix::process::geteuid().as_raw(), None), limits);
    let stream = say(&server, "GET /v1/doctor HTTP/1.1\r\nHost: x\r\n\r\n");
    until("the desk is asked", || !server.asked().is_empty());
    let idle = say(&server, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut start = [0; 12];
    (&idle).read_exact(&mut start).unwrap();
    server.ask_to_stop();
    until("the socket is gone", || !server.path().exists());
    gate.notify_one();
    assert!(all_of(stream).starts_with("HTTP/1.1 200"));
    until("the daemon has ended", || server.has_ended());
    assert!(all_of(idle).ends_with("}\n"), "a connection that asks nothing more does not keep the daemon");
}

#[test]
fn who_came_in_before_the_end_and_had_not_asked_yet_is_still_answered() {
    let mut server = Server::start(FakeDesk::default());
    let stream = UnixStream::connect(server.path()).unwrap();
    // Connections are taken in their order, so the first one is in.
    assert_eq!(server.get("/v1/status").status, 200);
    server.ask_to_stop();
    until("the socket is gone", || !server.path().exists());
    (&stream).write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = all_of(stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    until("the daemon has ended", || server.has_ended());
}

#[test]
fn a_request_that_never_ends_does_not_keep_the_daemon() {
    let (desk, _gate) = held();
    let mut limits = Limits::new(4_096, 5);
    limits.grace = Duration::from_millis(50);
    let mut server = Server::with(desk, |_| Access::new(rustix::process::geteuid().as_raw(), None), limits);
    let stream = say(&server, "GET /v1/doctor HTTP/1.1\r\nHost: x\r\n\r\n");
    until("the desk is asked", || !server.asked().is_empty());
    server.ask_to_stop();
    server.wait();
    assert_eq!(all_of(stream), "");
}

#[test]
fn a_command_is_carried_out_to_the_end_though_its_caller_hung_up() {
    let (desk, gate) = held();
    let server = Server::start(desk);
    drop(say(&server, "GET /v1/doctor HTTP/1.1\r\nHost: x\r\n\r\n"));
    until("the desk is asked", || !server.asked().is_empty());
    gate.notify_one();
    until("the desk is done", || server.asked().contains(&"doctor is done".to_owned()));
}

#[test]
fn more_connections_than_there_is_room_for_are_told_to_come_back() {
    let mut limits = Limits::new(4_096, 5);
    limits.connections_max = 1;
    let server = Server::with(FakeDesk::default(), |_| Access::new(rustix::process::geteuid().as_raw(), None), limits);
    let first = say(&server, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut start = [0; 12];
    (&first).read_exact(&mut start).unwrap();
    let turned_away = all_of(UnixStream::connect(server.path()).unwrap());
    let (head, body) = turned_away.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("503") && head.contains("Retry-After: 1"), "{head}");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    serde_json::from_str::<crate::wire::ErrorBody>(body).unwrap();
    drop(first);
    until("a place is free again", || {
        let mut start = [0; 12];
        let mut stream = UnixStream::connect(server.path()).unwrap();
        let asked = stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        asked.and_then(|()| stream.read_exact(&mut start)).is_ok() && start == *b"HTTP/1.1 200"
    });
}

#[tokio::test]
async fn a_second_daemon_is_refused_while_the_first_one_answers() {
    let server = Server::start(FakeDesk::default());
    let refused = bind(&server.path()).await.unwrap_err();
    assert!(refused.to_string().contains("already answers"), "{refused}");
}
