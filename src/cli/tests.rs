//! `usagectl` as its users see it: whole command lines against a scripted daemon on a real socket.

use std::io::{self, Read as _, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::add::add;
use super::look::Look;
use super::{
    Exit, Size, Sockets, Surroundings, alerts, audit, doctor, drain, explain, identity, link, prepare_image, reconcile,
    record, release, run, status, sync, usage, void,
};
use crate::api::fake::{FakeDesk, Server, answers};
use crate::clock::{Clock as _, Reading, SystemClock};
use crate::config::Environment;
use crate::model::{MICROS_PER_HOUR, Timestamp};
use crate::wire::{By, RecordAnswer, RecordOutcome, RecordReport, SCHEMA, UsageRequest};

const PLAIN: Look = Look { colour: false, unicode: true, width: 80, local: |_| None };

/// A moment an hour ahead of UTC, as in winter on the continent.
fn an_hour_ahead(at: Timestamp) -> Option<String> {
    let there = at.plus(MICROS_PER_HOUR).to_string();
    Some(format!("{} CET", there.get(..16)?.replace('T', " ")))
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn surroundings(ordinary: &Path, sandbox: &Path) -> Surroundings {
    let sockets = Sockets { ordinary: vec![ordinary.into()], sandbox: sandbox.into() };
    Surroundings {
        socket: None,
        sockets,
        terminal: false,
        colour: false,
        watched: || false,
        unicode: true,
        size: || Size { width: 80, height: 24 },
        local: |_| None,
        environment: Environment::default(),
        clock: || Reading { wall: Timestamp::parse("2026-11-14T10:00:12Z").unwrap(), ..SystemClock.read() },
        show_service: || None,
    }
}

fn ran(surroundings: &Surroundings, args: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("usagectl").chain(args.iter().copied()).map(Into::into);
    let exit = run(args, &mut out, &mut err, surroundings);
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn ask(server: &Server, args: &[&str]) -> Ran {
    ran(&surroundings(&server.path(), Path::new("/nonexistent/sandbox.sock")), args)
}

fn nowhere() -> Surroundings {
    surroundings(Path::new("/nonexistent/usaged.sock"), Path::new("/nonexistent/sandbox.sock"))
}

fn snapshot(name: &str, screen: &str) {
    let commands = |line: &&str| ["hint:", "fix:"].iter().any(|word| line.trim_start().starts_with(word));
    for line in screen.lines().filter(|line| !commands(line)) {
        assert!(line.chars().count() <= 80, "more than 80 columns: {line}");
    }
    insta_of_any_width(name, screen);
}

/// Of what programs read.
fn insta_of_any_width(name: &str, screen: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, screen));
}

#[test]
fn screens_are_as_they_were_approved() {
    snapshot("status", &status::screen(&answers::healthy(), PLAIN, false));
    snapshot("status_verbose", &status::screen(&answers::healthy(), PLAIN, true));
    snapshot("status_with_problems", &status::screen(&answers::troubled(), PLAIN, false));
    snapshot("status_unlinked", &status::screen(&answers::unlinked(), PLAIN, false));
    snapshot("usage", &usage::screen(&answers::usage(), PLAIN));
    snapshot("usage_by_day", &usage::screen(&answers::usage_by_day(), PLAIN));
    snapshot("usage_of_range", &usage::screen(&answers::usage_of_range(), Look { local: an_hour_ahead, ..PLAIN }));
    snapshot("usage_plot", &usage::plot_screen(&answers::usage_by_day(), PLAIN));
    snapshot("sync", &sync::screen(&answers::sync(), PLAIN));
    snapshot("doctor", &doctor::screen(&answers::doctor(), PLAIN));
    snapshot("audit", &audit::screen(&answers::audit(), PLAIN));
    let verified = [answers::audit_verified(), answers::audit_broken()];
    snapshot("audit_verify", &verified.map(|report| audit::verify_screen(&report, PLAIN)).join("\n"));
    snapshot("explain", &explain::screen(&answers::explained(), PLAIN));
    snapshot("alerts", &alerts::screen(&answers::alerts(), PLAIN));
    let tests = [answers::alert_told(), answers::alert_not_told()];
    snapshot("alerts_test", &tests.map(|report| alerts::test_screen(&report, PLAIN)).join("\n"));
    snapshot("link", &link::screen(&answers::link(), PLAIN));
    let others = [void::screen(&answers::void("order-1"), PLAIN), release::screen(&answers::release(), PLAIN)];
    snapshot("void_and_release", &others.concat());
    let identities = [identity::screen(&answers::identity(), PLAIN), identity::screen(&answers::begun_anew(), PLAIN)];
    snapshot("identity", &identities.concat());
    snapshot("prepare_image", &prepare_image::screen(&answers::prepare_image(), PLAIN));
    snapshot("drain", &drain::screen(&answers::drained(), PLAIN));
    snapshot("drain_not_certified", &drain::screen(&answers::not_drained(), PLAIN));
    snapshot("reconcile", &reconcile::screen(&answers::reconciled(), PLAIN));
    snapshot("reconcile_drifted", &reconcile::screen(&answers::drifted(), PLAIN));
    let record = |outcome| RecordAnswer { id: "order-1".to_owned(), outcome, code: None, reason: None };
    let records = vec![record(RecordOutcome::Accepted), record(RecordOutcome::Duplicate)];
    let report = RecordReport { schema: SCHEMA, accepted: 1, duplicate: 1, refused: 0, records };
    snapshot("record", &record::screen(&report, "5", "api_credits", PLAIN));
}

#[test]
fn short_answers_and_refusals_are_as_they_were_approved() {
    let server = Server::start(FakeDesk::default());
    let mut said = String::new();
    for args in [
        &["db", "check"][..],
        &["db", "check", "--full"],
        &["db", "backup", "/srv/copy.db"],
        &["db", "recover"],
        &["audit", "--since", "soon"],
        &["usage", "--month", "2026-13"],
        &["usage", "--csv", "--plot"],
        &["status", "--watch", "0"],
        &["record", "api_credit", "1", "--id", "order-1"],
        &["record", "api_credits", "1", "--retry-for", "soon"],
    ] {
        let (line, Ran { exit, out, err }) = (args.join(" "), ask(&server, args));
        add(&mut said, format_args!("$ usagectl {line}\n{out}{err}exit {}\n\n", exit.code()));
    }
    let nobody = ran(&nowhere(), &["usage"]);
    add(&mut said, format_args!("$ usagectl usage\n{}exit {}\n", nobody.err, nobody.exit.code()));
    insta_of_any_width("short_answers", &said);
}

#[test]
fn screens_fit_into_narrow_terminals_and_into_ascii() {
    let narrow = |width| Look { width, local: an_hour_ahead, ..PLAIN };
    for width in [72, 64, 40] {
        let text = status::screen(&answers::troubled(), narrow(width), true);
        // Commands, paths and ids stay whole, so that they can be copied.
        let copied = |line: &&str| line.split_whitespace().all(|word| word.chars().count() < 16);
        for line in text.lines().filter(|line| !line.trim_start().starts_with("hint:")).filter(copied) {
            assert!(line.chars().count() <= width.max(33), "more than {width} columns: {line}");
        }
    }
    snapshot("status_narrow", &status::screen(&answers::troubled(), narrow(64), false));
    snapshot("status_very_narrow", &status::screen(&answers::healthy(), narrow(40), false));
    snapshot("usage_narrow", &usage::screen(&answers::usage_by_day(), narrow(30)));
    let ascii = Look { unicode: false, ..PLAIN };
    snapshot("usage_plot_in_ascii", &usage::plot_screen(&answers::usage_by_day(), ascii));
    let server = Server::start(FakeDesk::default());
    *server.desk.status.lock().unwrap() = Some(answers::unlinked());
    let surroundings = Surroundings { unicode: false, ..surroundings(&server.path(), Path::new("/nonexistent")) };
    for args in [&["status", "-v"][..], &["usage", "--by", "day"], &["link", "--help"], &["link"]] {
        let ran = ran(&surroundings, args);
        assert!(ran.out.is_ascii() && ran.err.is_ascii(), "{} {}", ran.out, ran.err);
    }
    assert!(ran(&surroundings, &["status"]).out.contains("--customer cus_... --subscription sub_..."));
    assert!(!ran(&surroundings, &["status", "--json"]).out.is_ascii(), "with --json it is what the daemon says");
}

#[test]
fn usage_is_told_in_every_form_that_was_asked_for() {
    let server = Server::start(FakeDesk::default());
    for (form, name) in [("--csv", "usage_csv"), ("--openmetrics", "usage_openmetrics")] {
        let pieces = ask(&server, &["usage", "--by", "day", form]);
        let whole = ask(&server, &["usage", form]);
        assert_eq!((pieces.exit, whole.exit, pieces.err.as_str()), (Exit::Fine, Exit::Fine, ""));
        insta_of_any_width(name, &(pieces.out + "\n" + &whole.out));
    }
    let both = ask(&server, &["usage", "--csv", "--json"]);
    assert_eq!((both.exit, both.out.as_str()), (Exit::BadUsage, ""));
    assert!(both.err.contains("leave one of them out"), "{}", both.err);
    assert_eq!(ask(&server, &["usage", "--csv", "--plot"]).exit, Exit::BadUsage);
    let plot = ask(&server, &["usage", "--plot"]);
    assert!(plot.out.contains("compute_hours, hours by day"), "bars are of days unless said otherwise: {}", plot.out);
}

#[test]
fn times_are_given_as_people_write_them() {
    let server = Server::start(FakeDesk::default());
    for args in [
        &["audit", "--since", "yesterday"][..],
        &["audit", "--since", "-10m"],
        &["usage", "--from", "2026-10-05", "--to", "2026-10", "--by", "hour", "--meter", "api_credits"],
        &["record", "api_credits", "1", "--id", "a", "--at", "10m ago", "--retry-for", "2m"],
        &["link", "--customer", "cus_1", "--subscription", "sub_1", "--from", "1793491200"],
    ] {
        assert_eq!(ask(&server, args).exit, Exit::Fine, "{args:?}");
    }
    let asked = server.asked();
    let at = |text: &str| Timestamp::parse(text).unwrap();
    assert_eq!(asked[0], format!("audit since {:?}, 100", Some(at("2026-11-13T00:00:00Z"))));
    assert_eq!(asked[1], format!("audit since {:?}, 100", Some(at("2026-11-14T09:50:12Z"))));
    let request = UsageRequest {
        month: None,
        from: Some(at("2026-10-05T00:00:00Z")),
        to: Some(at("2026-11-01T00:00:00Z")),
        by: Some(By::Hour),
        meter: Some("api_credits".to_owned()),
    };
    assert_eq!(asked[2], format!("usage {request:?}"), "a month is meant whole");
    assert!(asked[4].contains(r#"from: Some("2026-11-01T00:00:00Z")"#), "{}", asked[4]);
    let again = ran(&nowhere(), &["record", "api_credits", "1", "--at", "10m ago", "--retry-for", "0"]);
    assert!(again.err.contains("--at 2026-11-14T09:50:12Z"), "the same moment in every try: {}", again.err);
    for args in [["audit", "--since", "soon"], ["usage", "--from", "10m"], ["status", "--watch", "0"]] {
        let ran = ran(&nowhere(), &args);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::BadUsage, ""), "{args:?}");
        assert!(ran.err.contains("\nhint: write "), "{}", ran.err);
    }
}

#[test]
fn completion_needs_no_daemon_and_knows_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = ran(&nowhere(), &["completion", shell]);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Fine, ""), "{shell}");
        for word in ["prepare-image", "openmetrics", "watch"] {
            assert!(ran.out.contains(word), "{word} is missing for {shell}");
        }
    }
    assert_eq!(ran(&nowhere(), &["completion", "tcsh"]).exit, Exit::BadUsage);
}

#[test]
fn colours_change_nothing_but_colours() {
    let colour = Look { colour: true, ..PLAIN };
    let mut text = status::screen(&answers::troubled(), colour, true);
    assert!(text.contains('\u{1b}'));
    while let Some(start) = text.find('\u{1b}') {
        let end = text[start..].find('m').unwrap();
        text.replace_range(start..=start + end, "");
    }
    assert_eq!(text, status::screen(&answers::troubled(), PLAIN, true));
}

#[test]
fn status_exits_0_when_fine_and_5_when_something_needs_someone() {
    let server = Server::start(FakeDesk::default());
    assert_eq!(ask(&server, &["status"]).exit, Exit::Fine);
    *server.desk.status.lock().unwrap() = Some(answers::unlinked());
    assert_eq!(ask(&server, &["status"]).exit, Exit::Fine, "a note needs nobody");
    *server.desk.status.lock().unwrap() = Some(answers::troubled());
    let ran = ask(&server, &["status"]);
    assert_eq!(ran.exit, Exit::NeedsSomeone);
    assert!(ran.out.starts_with("PROBLEM"), "problems come first: {}", ran.out);
    assert_eq!(ask(&server, &["status", "--json"]).exit, Exit::NeedsSomeone);
}

#[test]
fn json_is_exactly_what_the_daemon_says_and_nothing_else() {
    let server = Server::start(FakeDesk::default());
    let ran = ask(&server, &["--json", "status"]);
    assert_eq!(ran.out, serde_json::to_string(&answers::healthy()).unwrap() + "\n");
    assert_eq!(ran.err, "");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["schema"], &json["meters"][1]["name"]), (&1.into(), &"compute_hours".into()));
    assert_eq!(json["meters"][1]["used"], 321.987_654);
}

#[test]
fn metrics_are_printed_as_they_came_or_put_into_a_file() {
    let server = Server::start(FakeDesk::default());
    let printed = ask(&server, &["metrics"]);
    assert_eq!((printed.exit, printed.err.as_str()), (Exit::Fine, ""));
    assert_eq!(printed.out, server.get("/metrics").text);
    let file = server.directory.path().join("usaged.prom");
    let written = ask(&server, &["metrics", "--textfile", file.to_str().unwrap()]);
    assert_eq!((written.exit, written.out.as_str(), written.err.as_str()), (Exit::Fine, "", ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed.out);
    let nowhere = ask(&server, &["metrics", "--textfile", "/nonexistent/usaged.prom"]);
    assert_eq!((nowhere.exit, nowhere.out.as_str()), (Exit::Error, ""));
    assert!(nowhere.err.contains("cannot write /nonexistent/usaged.prom"), "{}", nowhere.err);
    assert!(nowhere.err.contains("\nhint: "), "{}", nowhere.err);
}

#[test]
fn metrics_that_are_not_whole_replace_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, file) = (directory.path().join("usaged.sock"), directory.path().join("usaged.prom"));
    std::fs::write(&file, "old").unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut request = [0; 1_024];
            if stream.read(&mut request).unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nusaged_build_info 1\n").unwrap();
                break;
            }
        }
    });
    let ran =
        ran(&surroundings(&socket, Path::new("/nonexistent")), &["metrics", "--textfile", file.to_str().unwrap()]);
    server.join().unwrap();
    assert_eq!(ran.exit, Exit::Error, "{}", ran.err);
    assert!(ran.err.contains("not all of them"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
}

#[test]
fn a_record_sent_twice_with_one_id_counts_once() {
    let server = Server::start(FakeDesk::default());
    let first = ask(&server, &["record", "api_credits", "5", "--id", "order-1"]);
    assert_eq!((first.exit, first.out.as_str()), (Exit::Fine, "accepted  api_credits 5  id order-1\n"));
    let second = ask(&server, &["record", "api_credits", "5", "--id", "order-1"]);
    assert_eq!(second.exit, Exit::Fine);
    assert!(second.out.contains("counts once"), "{}", second.out);
}

#[test]
fn a_record_without_an_id_gets_one_and_shows_it() {
    let server = Server::start(FakeDesk::default());
    let ran = ask(&server, &["record", "api_credits", "0.5"]);
    let recorded = server.desk.recorded.lock().unwrap().clone();
    let id = recorded.first().unwrap();
    assert!(ran.out.contains(id), "{} does not show {id}", ran.out);
}

#[test]
fn a_busy_daemon_is_asked_again_with_the_same_id() {
    let server = Server::start(FakeDesk::default());
    server.desk.busy.store(1, Ordering::SeqCst);
    let ran = ask(&server, &["record", "api_credits", "5"]);
    assert_eq!(ran.exit, Exit::Fine, "{}", ran.err);
    assert_eq!(server.asked().len(), 2);
    let recorded = server.desk.recorded.lock().unwrap().clone();
    assert!(ran.err.contains(recorded.first().unwrap()), "the id is told before it is tried again: {}", ran.err);
}

#[test]
fn a_daemon_that_stays_busy_leaves_the_command_to_try_again() {
    let server = Server::start(FakeDesk::default());
    server.desk.busy.store(u32::MAX, Ordering::SeqCst);
    let ran = ask(&server, &["record", "api_credits", "5", "--id", "order-1", "--retry-for", "0"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Error, ""));
    assert!(ran.err.contains("did not arrive"), "{}", ran.err);
    assert!(ran.err.contains("usagectl record api_credits 5 --id order-1"), "{}", ran.err);
}

/// Takes a connection and reads a request to the end of its JSON.
fn taken(listener: &UnixListener) -> (UnixStream, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = String::new();
    while !request.ends_with('}') {
        let mut some = [0; 1_024];
        let count = stream.read(&mut some).unwrap();
        if count == 0 {
            break;
        }
        request += std::str::from_utf8(&some[..count]).unwrap();
    }
    (stream, request)
}

/// Takes connections, reads a request, and hangs up so many times before it gives the last word.
fn hangs_up(path: PathBuf, times: usize) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut requests = Vec::new();
        for attempt in 0..=times {
            let (mut stream, request) = taken(&listener);
            if attempt == times {
                let body = r#"{"schema":1,"accepted":0,"duplicate":1,"refused":0,"records":[{"id":"order-1","outcome":"duplicate"}]}"#;
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            }
            requests.push(request);
        }
        requests
    })
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_id() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usaged.sock");
    let daemon = hangs_up(path.clone(), 1);
    let ran = ran(&surroundings(&path, &path), &["record", "api_credits", "5"]);
    assert_eq!(ran.exit, Exit::Fine, "{}", ran.err);
    let requests = daemon.join().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
}

#[test]
fn an_answer_that_stays_lost_is_neither_success_nor_failure() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usaged.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || drop(taken(&listener)));
    let ran = ran(
        &surroundings(Path::new("/nonexistent"), &path),
        &["--sandbox", "record", "api_credits", "5", "--retry-for", "0"],
    );
    daemon.join().unwrap();
    assert_eq!(ran.exit, Exit::Error);
    assert!(ran.err.contains("whether the record arrived is not known"), "{}", ran.err);
    assert!(ran.err.contains("usagectl record api_credits 5 --id ctl-"), "{}", ran.err);
}

#[test]
fn a_refused_record_exits_4_with_the_reason() {
    let server = Server::start(FakeDesk::default());
    for (args, reason) in [
        (["record", "api_credits", "-3"], "not above zero"),
        (["record", "api_credits", "1e3"], "not a decimal number"),
        (["record", "api_credit", "1"], "did you mean \"api_credits\"?"),
    ] {
        let ran = ask(&server, &args);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""), "{args:?}");
        assert!(ran.err.contains(reason), "{}", ran.err);
    }
}

#[test]
fn without_a_daemon_the_command_that_starts_it_is_named() {
    for args in [&["status"][..], &["--sandbox", "status"], &["record", "api_credits", "1", "--retry-for", "0"]] {
        let ran = ran(&nowhere(), args);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotReachable, ""), "{args:?}");
        assert!(ran.err.contains("hint: start it: sudo systemctl start usaged"), "{}", ran.err);
    }
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let ran = ran(&nowhere(), &["--json", "status"]);
    let body: crate::wire::ErrorBody = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((body.code.as_str(), ran.out.as_str()), ("not_reachable", ""));
}

#[test]
fn a_bad_command_line_exits_2_and_asks_nobody() {
    for args in [
        &["stats"][..],
        &[],
        &["usage", "--month", "2026-13"],
        &["record", "api_credits"],
        &["release", "si_1", "--because", "x"],
        &["release", "si_1", "--adopt", "--overwrite", "--because", "x"],
        &["link", "--customer", "cus_1"],
        &["link", "--customer", "c", "--subscription", "s", "--item", "si_1"],
        &["link", "--customer", "c", "--subscription", "s", "--on-top", "--from-next-period"],
    ] {
        let ran = ran(&nowhere(), args);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::BadUsage, ""), "{args:?}");
        assert!(!ran.err.is_empty());
    }
}

#[test]
fn help_and_version_are_answers() {
    for args in [&["--help"][..], &["--version"], &["sync", "--help"]] {
        let ran = ran(&nowhere(), args);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Fine, ""), "{args:?}");
        assert!(!ran.out.is_empty());
    }
}

#[test]
fn the_sandbox_is_asked_when_it_alone_is_there_and_that_is_said() {
    let server = Server::start(FakeDesk::default());
    let fallen_back = ran(&surroundings(Path::new("/nonexistent/usaged.sock"), &server.path()), &["status"]);
    assert_eq!(fallen_back.exit, Exit::Fine);
    assert!(fallen_back.err.starts_with("sandbox mode"), "{}", fallen_back.err);
    let asked_for = ran(&surroundings(Path::new("/nonexistent/usaged.sock"), &server.path()), &["status", "--sandbox"]);
    assert_eq!((asked_for.exit, asked_for.err.as_str()), (Exit::Fine, ""));
    let mut environment = surroundings(&server.path(), &server.path());
    environment.socket = Some("/nonexistent/environment.sock".into());
    assert_eq!(ran(&environment, &["status"]).exit, Exit::NotReachable);
    assert_eq!(ran(&environment, &["--sandbox", "status"]).exit, Exit::Fine, "the command line decides");
    let elsewhere = ["--socket", "/nonexistent/other.sock", "status"];
    let explicit = ran(&surroundings(&server.path(), &server.path()), &elsewhere);
    assert_eq!(explicit.exit, Exit::NotReachable, "a socket that was named is the only one asked");
}

#[test]
fn commands_carry_every_argument() {
    let server = Server::start(FakeDesk::default());
    let link =
        ["link", "--customer", "cus_1", "--subscription", "sub_1", "--plan", "pro", "--from", "2026-11-01T00:00:00Z"];
    let items = ["--item", "compute_hours=si_1", "--item", "api_credits=si_2", "--on-top"];
    let linked = ask(&server, &[&link[..], &items].concat());
    assert_eq!(linked.exit, Exit::Fine, "{}", linked.err);
    assert_eq!(
        ask(&server, &["sync", "--month", "2026-10", "--commit", "--subscription-item", "si_1"]).exit,
        Exit::Fine
    );
    assert_eq!(ask(&server, &["reconcile", "--item", "si_1"]).exit, Exit::Fine);
    assert_eq!(ask(&server, &["release", "si_1", "--adopt", "--because", "seen"]).exit, Exit::Fine);
    assert_eq!(
        ask(&server, &["void", "api_credits", "--id", "a", "--because", "typo", "--source", "web"]).exit,
        Exit::Fine
    );
    assert_eq!(ask(&server, &["usage", "--month", "2026-10"]).exit, Exit::Fine);
    assert_eq!(ask(&server, &["drain"]).exit, Exit::Fine);
    assert_eq!(ask(&server, &["audit", "--since", "2026-11-01T00:00:00Z", "--limit", "7"]).exit, Exit::Fine);
    assert_eq!(ask(&server, &["audit", "verify"]).exit, Exit::Fine);
    assert_eq!(
        ask(&server, &["explain", "api_credits", "2026-10"]).exit,
        Exit::NeedsSomeone,
        "one of its sums differs"
    );
    assert_eq!(ask(&server, &["explain", "--month", "2026-10"]).exit, Exit::NeedsSomeone, "as usage takes it");
    assert_eq!(ask(&server, &["sync", "--item", "si_1"]).exit, Exit::Fine, "as reconcile takes it");
    assert_eq!(ask(&server, &["alerts", "--limit", "7"]).exit, Exit::Fine);
    assert_eq!(ask(&server, &["alerts", "test"]).exit, Exit::Fine);
    let checked = ask(&server, &["db", "check", "--full"]);
    assert_eq!((checked.exit, checked.out.contains("is sound")), (Exit::Fine, true), "{}", checked.out);
    assert_eq!(ask(&server, &["db", "backup", "/srv/copy.db"]).exit, Exit::Fine);
    assert_eq!(ask(&server, &["doctor"]).exit, Exit::NeedsSomeone);
    let expected = [
        r#"link LinkRequest { customer: "cus_1", subscription: "sub_1", plan: Some("pro"), from: Some("2026-11-01T00:00:00Z"), items: {"api_credits": "si_2", "compute_hours": "si_1"}, on_top: true, from_next_period: false, single_writer: false, shared: false }"#,
        r#"sync SyncRequest { month: Some("2026-10"), subscription_item: Some("si_1"), commit: true }"#,
        r#"reconcile ReconcileRequest { item: Some("si_1") }"#,
        r#"release ReleaseRequest { item: "si_1", adopt: true, because: "seen" }"#,
        r#"void VoidRequest { meter: "api_credits", id: "a", source: Some("web"), because: "typo" }"#,
        r#"usage UsageRequest { month: Some("2026-10"), from: None, to: None, by: None, meter: None }"#,
        "drain",
        "audit since Some(Timestamp(1793491200000000)), 7",
        "audit verify",
        "explain Some(\"2026-10\") Some(\"api_credits\")",
        "explain Some(\"2026-10\") None",
        r#"sync SyncRequest { month: None, subscription_item: Some("si_1"), commit: false }"#,
        "alerts 7",
        "test alert",
        "db check DbCheckRequest { full: true }",
        r#"db backup DbBackupRequest { path: "/srv/copy.db" }"#,
        "doctor",
        "doctor is done",
    ];
    assert_eq!(server.asked(), expected);
}

#[test]
fn what_a_rule_refuses_exits_4() {
    let server = Server::start(FakeDesk::default());
    server.desk.refuses.store(true, Ordering::SeqCst);
    let link = ask(&server, &["link", "--customer", "cus_1", "--subscription", "sub_1"]);
    assert_eq!(link.exit, Exit::Refused);
    assert!(
        link.err.contains("error: si_compute is pushed to") && link.err.contains("hint: give every VM"),
        "{}",
        link.err
    );
    let drain = ask(&server, &["drain"]);
    assert_eq!(drain.exit, Exit::Refused);
    assert!(drain.out.contains("Not certified"), "{}", drain.out);
    let sync = ask(&server, &["sync", "--commit"]);
    assert_eq!(sync.exit, Exit::Refused);
    assert!(sync.out.contains("si_compute"), "what could be done is shown all the same");
}

#[test]
fn a_test_alert_that_does_not_arrive_exits_5() {
    let server = Server::start(FakeDesk::default());
    server.desk.refuses.store(true, Ordering::SeqCst);
    let tested = ask(&server, &["alerts", "test"]);
    assert_eq!((tested.exit, tested.out.contains("it answered 502")), (Exit::NeedsSomeone, true), "{}", tested.out);
}

#[test]
fn a_comparison_that_needs_someone_exits_5() {
    let server = Server::start(FakeDesk::default());
    assert_eq!(ask(&server, &["reconcile"]).exit, Exit::Fine);
    server.desk.refuses.store(true, Ordering::SeqCst);
    let ran = ask(&server, &["reconcile"]);
    assert_eq!(ran.exit, Exit::NeedsSomeone);
    assert!(ran.out.starts_with("PROBLEM"), "problems come first: {}", ran.out);
    assert_eq!(ask(&server, &["reconcile", "--json"]).exit, Exit::NeedsSomeone);
}

#[test]
fn a_daemon_of_another_schema_is_not_guessed_at() {
    let server = Server::start(FakeDesk::default());
    let mut other = answers::healthy();
    other.schema = SCHEMA + 1;
    *server.desk.status.lock().unwrap() = Some(other);
    let ran = ask(&server, &["status"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Error, ""));
    assert!(ran.err.contains("same version"), "{}", ran.err);
}

#[test]
fn nothing_the_daemon_says_reaches_the_terminal_as_a_command() {
    let server = Server::start(FakeDesk::default());
    let mut status = answers::troubled();
    status.problems[0].what = "record \u{1b}[2Jx\u{9b}1m".to_owned();
    *server.desk.status.lock().unwrap() = Some(status);
    let ran = ask(&server, &["status"]);
    assert!(!ran.out.contains(['\u{1b}', '\u{9b}']), "{:?}", ran.out);
    let refused = ask(&server, &["record", "api_credits", "1", "--id", "a\u{1b}[2J"]);
    assert_eq!(refused.exit, Exit::Refused);
    assert!(!refused.err.contains('\u{1b}'), "{:?}", refused.err);
}

/// A reader that has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_seen_enough_changes_no_exit_code() {
    let server = Server::start(FakeDesk::default());
    let surroundings = surroundings(&server.path(), &server.path());
    let exit = |args: &[&str], err: &mut dyn Write| {
        run(std::iter::once("usagectl").chain(args.iter().copied()).map(Into::into), &mut Closed, err, &surroundings)
    };
    let mut err = Vec::new();
    assert_eq!(exit(&["status"], &mut err), Exit::Fine);
    assert_eq!(exit(&["doctor"], &mut err), Exit::NeedsSomeone);
    assert_eq!(exit(&["--help"], &mut err), Exit::Fine);
    assert_eq!(String::from_utf8(err).unwrap(), "");
    assert_eq!(exit(&["record", "nosuch", "1"], &mut Closed), Exit::Refused);
}

#[test]
fn an_export_goes_on_from_where_each_page_ended() {
    let server = Server::start(FakeDesk::default());
    let exported = ask(&server, &["export", "--what", "credits", "--meter", "api_credits"]);
    assert_eq!(exported.exit, Exit::Fine, "{}", exported.err);
    let rows = [
        "meter,source,id,quantity,at,recorded_at,uid,voided_at,voided_because",
        r#"api_credits,uid:1000,"order 1, ""late""",2.5,2026-11-14T10:00:00Z,2026-11-14T10:00:01Z,1000,,"#,
        "api_credits,uid:1000,\"order 2, \"\"late\"\"\",2.5,2026-11-14T10:00:00Z,2026-11-14T10:00:01Z,1000,\
         2026-11-14T11:00:00Z,\"a typo\nof mine\"",
    ];
    assert_eq!(exported.out, rows.map(|row| format!("{row}\r\n")).concat());
    assert_eq!(exported.err, "note: 3 records wait for a trusted clock and are not among them\n");
    assert_eq!(
        server.asked(),
        [
            "export credits Some(\"api_credits\") None",
            "export credits Some(\"api_credits\") Some((1, 1793491200000000, 1))"
        ]
    );
    let lines = ask(&server, &["export", "--json"]).out;
    let used: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["used_micros"].clone())
        .collect();
    assert_eq!(used, [60_000_000, 60_000_000]);
}

#[test]
fn an_exported_file_is_there_once_it_is_whole_and_else_as_it_was() {
    let server = Server::start(FakeDesk::default());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usage.csv");
    let asked = ["export", "--output", path.to_str().unwrap()];
    let written = ask(&server, &asked);
    assert_eq!((written.exit, written.out), (Exit::Fine, format!("Written to {}: 2 rows.\n", path.display())));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);

    std::fs::write(&path, "before").unwrap();
    server.desk.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
    let cut = ask(&server, &asked);
    assert_eq!(cut.exit, Exit::Error);
    assert!(cut.err.contains(&format!("after 1 rows: {} is as it was before", path.display())), "{}", cut.err);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(directory.path().read_dir().unwrap().count(), 1, "nothing else is left behind");
    assert!(ask(&server, &["export"]).err.contains("what was printed is not all"));
}
