//! Somebody is told: by a command that is run, by an address that is sent it, and by a heartbeat that stops.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::harness::{Receiver, Stripe, Vm, clean, config, run, until};

/// What the command was told, a line for each.
fn notices(vm: &Vm) -> Vec<Value> {
    let text = std::fs::read_to_string(vm.dir().join("notices")).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// An executable of the operator's, which writes down what it is told; what comes first may keep it from that.
fn hook(vm: &Vm, first: &str) -> String {
    let path = vm.dir().join("on-alert");
    let file = vm.dir().join("notices");
    let text = format!("#!/bin/sh\n{first}\ncat >> {0}\necho >> {0}\necho said by the hook\n", file.display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn await_notice(vm: &Vm, state: &str, code: &str) -> Value {
    until(&format!("{code} is told as {state}"), || {
        let notices = notices(vm);
        let found = notices.iter().find(|notice| notice["state"] == state && notice["code"] == code);
        found.cloned().ok_or(format!("{notices:#?}"))
    })
}

#[test]
fn a_refused_key_is_told_by_command_and_address_and_its_end_too_and_meanwhile_no_heart_beats() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let receiver = Receiver::start();
    let mut vm = Vm::billed(&stripe, &account);
    let good_key = crate::harness::AGENT_KEY;
    let alerts = format!(
        "[alerts]\ncommand = [\"{}\", \"an argument\"]\nurl = \"{}\"\nheartbeat = \"{}\"\nheartbeat_every = \"10s\"",
        hook(&vm, ""),
        receiver.url("/alerts?token=hush"),
        receiver.url("/beat/hush")
    );
    vm.configure(&config(&stripe.books.base_url()).replace("[alerts]", &alerts));
    vm.set("USAGED_ALERTS_SECRET", "whisper");
    let daemon = vm.start_linked();
    let beats = || receiver.at("/beat/hush").len();
    until("the heart beats", || if beats() > 0 { Ok(()) } else { Err(vm.status().to_string()) });
    assert_eq!(receiver.at("/alerts?token=hush").len(), 0);
    daemon.stop();

    let before = beats();
    vm.set("STRIPE_API_KEY", "rk_test_nobodyKnowsThisOne77");
    let daemon = vm.start();
    let fired = await_notice(&vm, "fired", "subscription_unreadable");
    assert_eq!(
        (&fired["about"], &fired["severity"]),
        (&(*account.subscription).into(), &"problem".into()),
        "{fired:#}"
    );
    assert_eq!((&fired["customer"], &fired["schema"]), (&(*account.customer).into(), &1.into()), "{fired:#}");
    daemon.says("said by the hook");
    let sent = until("the address is told, too", || {
        let arrived = receiver.at("/alerts?token=hush");
        arrived.into_iter().find(|sent| sent.json()["id"] == fired["id"]).ok_or("nothing came")
    });
    assert_eq!(sent.json(), fired);
    assert_eq!(sent.header("content-type"), Some("application/json"));
    let signature = sent.header("x-usaged-signature").unwrap();
    let at_s = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(signature, usaged::alerts::sign(b"whisper", at_s, sent.body.as_bytes()));
    let listed = vm.ctl(&["alerts"]);
    assert!(listed.out.contains("PROBLEM  subscription_unreadable"), "{listed:?}");
    for text in [daemon.output(), listed.out, vm.status().to_string()] {
        assert!(!text.contains("hush") && !text.contains("whisper"), "{text}");
    }
    daemon.stop();
    assert_eq!(beats(), before, "the heart beat while the key was refused");

    vm.set("STRIPE_API_KEY", good_key);
    let daemon = vm.start();
    let cleared = await_notice(&vm, "cleared", "subscription_unreadable");
    assert_eq!(cleared["id"], fired["id"]);
    until("the heart beats again", || if beats() > before { Ok(()) } else { Err(vm.status().to_string()) });
    daemon.stop();
    let mut told: Vec<String> = notices(&vm).iter().map(|one| format!("{} {}", one["id"], one["state"])).collect();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "each is told once: {:#?}", notices(&vm));
}

/// Something that needs someone while the listener lives.
fn with_a_taken_port(alerts: &str) -> (Vm, TcpListener) {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let vm = Vm::unbilled();
    let address = other.local_addr().unwrap();
    let schedule = "[schedule]\nsample_every = \"1s\"\npush = \"* * * * * *\"\nspread = \"0s\"";
    vm.configure(&format!("{schedule}\n[metrics]\nlisten = \"{address}\"\n[alerts]\n{alerts}\n"));
    (vm, other)
}

#[test]
fn a_command_that_hangs_is_ended_with_its_children_and_run_again_until_it_is_done() {
    let (vm, _other) = with_a_taken_port("");
    let mark = vm.dir().join("hangs");
    let children = vm.dir().join("children");
    std::fs::write(&mark, "").unwrap();
    let first = format!("if [ -e {} ]; then sleep 600 & echo $! >> {}; wait; fi", mark.display(), children.display());
    let command = hook(&vm, &first);
    let alerts = format!("[alerts]\ncommand = [\"{command}\"]\ntime_limit = \"1s\"\n");
    let text = std::fs::read_to_string(vm.config_file()).unwrap();
    vm.configure(&text.replace("[alerts]\n", &alerts));
    let daemon = vm.start();
    daemon.says("it took longer than 1 s and was ended");
    let pids = std::fs::read_to_string(&children).unwrap();
    for pid in pids.lines() {
        until("its child is gone", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        });
    }
    assert_eq!(notices(&vm), Vec::<Value>::new());
    std::fs::remove_file(&mark).unwrap();
    let fired = await_notice(&vm, "fired", "metrics_not_served");
    let alerts: Value = serde_json::from_str(&vm.ctl(&["alerts", "--json"]).out).unwrap();
    assert_eq!(alerts["alerts"][0]["id"], fired["id"], "{alerts:#}");
    daemon.stop();
}

#[test]
fn an_address_that_fails_is_asked_again_and_a_kill_in_between_loses_nothing() {
    let receiver = Receiver::start();
    receiver.answer(503);
    let (vm, _other) = with_a_taken_port(&format!("url = \"{}\"", receiver.url("/in")));
    let daemon = vm.start();
    until("it was tried", || receiver.at("/in").pop().ok_or("nothing came"));
    daemon.kill();
    receiver.answer(200);
    let daemon = vm.start();
    let told = until("it was told", || {
        let alerts: Value = serde_json::from_str(&vm.ctl(&["alerts", "--json"]).out).unwrap();
        let message = alerts["alerts"][0]["messages"][0].clone();
        if message["told_at"].is_string() { Ok(alerts) } else { Err(format!("{alerts:#}")) }
    });
    let ids: Vec<Value> = receiver.at("/in").iter().map(|arrived| arrived.json()["id"].clone()).collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| *id == told["alerts"][0]["id"]), "{ids:?}");
    daemon.stop();
}

#[test]
fn the_example_mails_what_it_is_told_by_any_sendmail() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/alerts/mail-alert");
    assert_eq!(run(clean("sh").args(["-n", example])).code, 0);
    let (vm, _other) = with_a_taken_port("");
    let (sendmail, mail) = (vm.dir().join("sendmail"), vm.dir().join("mail"));
    std::fs::write(&sendmail, format!("#!/bin/sh\necho \"$@\" > {0}\ncat >> {0}\n", mail.display())).unwrap();
    std::fs::set_permissions(&sendmail, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = format!("command = [\"{example}\", \"ops@example.com\", \"{}\"]\n", sendmail.display());
    let text = std::fs::read_to_string(vm.config_file()).unwrap();
    vm.configure(&text.replace("[alerts]\n", &format!("[alerts]\n{command}")));
    let daemon = vm.start();
    daemon.says("told by command");
    let mail = std::fs::read_to_string(mail).unwrap();
    assert!(mail.starts_with("-t -i\nTo: ops@example.com\nSubject: ["), "{mail}");
    for words in ["fired metrics_not_served", "What to do: ", "\"schema\":1"] {
        assert!(mail.contains(words), "{words}: {mail}");
    }
    daemon.stop();
}

#[test]
fn a_test_says_what_came_of_it_on_every_way_and_without_one_what_to_write() {
    let receiver = Receiver::start();
    let vm = Vm::unbilled();
    let daemon = vm.start();
    let refused = vm.ctl(&["alerts", "test"]);
    assert_eq!((refused.code, refused.err.contains("usaged.toml")), (4, true), "{refused:?}");
    daemon.stop();
    let command = hook(&vm, "");
    vm.configure(&format!("[alerts]\ncommand = [\"{command}\"]\nurl = \"{}\"\n", receiver.url("/in")));
    let daemon = vm.start();
    let told = vm.ctl(&["alerts", "test"]);
    assert_eq!((told.code, &*told.err), (0, ""), "{told:?}");
    assert_eq!(notices(&vm)[0]["state"], "test");
    receiver.answer(404);
    let failed = vm.ctl(&["alerts", "test"]);
    assert_eq!((failed.code, failed.out.contains("it answered 404")), (5, true), "{failed:?}");
    assert_eq!(vm.query::<i64>("SELECT count(*) FROM alert"), 0, "a test is no alert");
    daemon.stop();
}
