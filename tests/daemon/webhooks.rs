//! Webhooks: what the provider signed is taken once and read again, what it did not sign costs nothing.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use ring::hmac;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Account, Answer, Process, Stripe, Vm, ask, config, until};

const SECRET: &str = "whsec_ofThisEndpoint";

fn listening(stripe: &Stripe, account: &Account) -> Vm {
    let mut vm = Vm::billed(stripe, account);
    vm.configure(&format!("{}\n[webhook]\nlisten = \"127.0.0.1:0\"\n", config(&stripe.books.base_url())));
    vm.set("STRIPE_WEBHOOK_SECRET", SECRET);
    vm
}

fn address(daemon: &Process) -> String {
    daemon.says("webhooks are taken on http://").strip_suffix("/webhooks/").unwrap().to_owned()
}

fn open(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

fn signed(secret: &str, at: i64, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", usaged::model::hex(tag.as_ref()))
}

fn post(address: &str, signature: &str, body: &str) -> Answer {
    ask(open(address), "POST", "/webhooks/stripe", &[("Stripe-Signature", signature)], body.as_bytes()).unwrap()
}

fn customer_updated(id: &str, account: &Account) -> String {
    let object = json!({ "id": account.customer, "object": "customer", "name": "what an event says is not believed" });
    json!({ "id": id, "object": "event", "type": "customer.updated", "data": { "object": object } }).to_string()
}

fn rename(stripe: &Stripe, account: &Account, name: &str) {
    stripe.books.post(&format!("/v1/customers/{}", account.customer), &[("name", name)]);
}

fn await_name(vm: &Vm, name: &str) {
    until(&format!("the customer is known as {name}"), || {
        let link = &vm.status()["link"];
        if link["customer_name"] == name { Ok(()) } else { Err(link.to_string()) }
    });
}

fn events(vm: &Vm) -> i64 {
    vm.query("SELECT count(*) FROM event")
}

#[test]
fn what_an_event_is_about_is_read_again_however_often_it_comes() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = listening(&stripe, &account);
    let daemon = vm.start_linked();
    let address = address(&daemon);
    rename(&stripe, &account, "First");
    let body = customer_updated("evt_1", &account);
    for _ in 0..3 {
        let taken = post(&address, &signed(SECRET, stripe.books.now(), &body), &body);
        assert_eq!((taken.status, &*taken.body), (200, "taken\n"));
    }
    await_name(&vm, "First");
    rename(&stripe, &account, "Second");
    // The first again, and then a newer one: each is a word to look, and the second look finds what is new.
    for id in ["evt_1", "evt_2"] {
        let body = customer_updated(id, &account);
        assert_eq!(post(&address, &signed(SECRET, stripe.books.now(), &body), &body).status, 200);
    }
    await_name(&vm, "Second");
    assert_eq!(events(&vm), 2);
    let lines: i64 = vm.query("SELECT count(*) FROM audit WHERE action = 'customer.updated'");
    assert_eq!(lines, 1, "what was read first is no change");
    daemon.stop();
}

#[test]
fn an_event_that_was_answered_is_not_lost_by_a_kill() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = listening(&stripe, &account);
    let daemon = vm.start_linked();
    vm.settle();
    let address = address(&daemon);
    rename(&stripe, &account, "After the kill");
    stripe.books.control("faults", &json!({ "effect": "cut_before_commit", "times": 1_000_000 }));
    let body = customer_updated("evt_1", &account);
    let taken = post(&address, &signed(SECRET, stripe.books.now(), &body), &body);
    assert_eq!(taken.status, 200, "{taken:?}");
    daemon.kill();
    stripe.books.clear_faults();
    let daemon = vm.start_linked();
    await_name(&vm, "After the kill");
    daemon.stop();
}

#[test]
fn what_the_provider_did_not_sign_is_refused_and_leaves_nothing() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = listening(&stripe, &account);
    let daemon = vm.start_linked();
    let address = address(&daemon);
    let (body, now) = (customer_updated("evt_1", &account), stripe.books.now());
    for (signature, why) in [
        (signed("whsec_another", now, &body), "does not fit"),
        (signed(SECRET, now, &body.replace("evt_1", "evt_9")), "does not fit"),
        (signed(SECRET, now - 400, &body), "older than 5 minutes"),
        (String::new(), "missing or not understood"),
        (format!("t={now}"), "missing or not understood"),
        (signed(SECRET, now, &body).replace("v1=", "v0="), "missing or not understood"),
    ] {
        let refused = post(&address, &signature, &body);
        assert!(refused.status == 400 && refused.body.contains(why), "{signature}: {refused:?}");
        assert!(!refused.body.contains("whsec") && !daemon.output().contains("whsec"), "{refused:?}");
    }
    let problem = vm.problem("webhook_refused");
    assert!(problem.contains("compare the signing secret"), "{problem}");
    for (path, method, status) in
        [("/webhooks/stripe", "GET", 405), ("/v1/status", "GET", 404), ("/metrics", "GET", 404), ("/", "POST", 404)]
    {
        assert_eq!(ask(open(&address), method, path, &[], b"").unwrap().status, status, "{method} {path}");
    }
    let junk = "[]";
    assert_eq!(post(&address, &signed(SECRET, now, junk), junk).status, 400, "signed, and no event");
    let long = "x".repeat(300 * 1024);
    let refused = ask(open(&address), "POST", "/webhooks/stripe", &[], long.as_bytes());
    assert!(refused.as_ref().is_ok_and(|answer| answer.status == 413), "{refused:?}");
    assert_eq!(events(&vm), 0);
    assert_eq!(post(&address, &signed(SECRET, now, &body), &body).status, 200);
    assert!(!vm.problems().contains(&"webhook_refused".to_owned()), "one that fits ends it");
    daemon.stop();
}

#[test]
fn without_a_secret_everything_is_refused_and_status_says_so() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let mut vm = listening(&stripe, &account);
    vm.set("STRIPE_WEBHOOK_SECRET", "");
    let daemon = vm.start_linked();
    let address = address(&daemon);
    let body = customer_updated("evt_1", &account);
    let refused = post(&address, &signed("", stripe.books.now(), &body), &body);
    assert_eq!((refused.status, &*refused.body), (503, "no signing secret is configured\n"));
    assert!(vm.problem("webhook_no_secret").contains("STRIPE_WEBHOOK_SECRET"));
    daemon.stop();
}

#[test]
fn while_a_secret_is_rolled_both_are_good() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let mut vm = listening(&stripe, &account);
    vm.set("STRIPE_WEBHOOK_SECRET", &format!("whsec_next {SECRET}"));
    let daemon = vm.start_linked();
    let address = address(&daemon);
    for (id, secret) in [("evt_1", SECRET), ("evt_2", "whsec_next")] {
        let body = customer_updated(id, &account);
        assert_eq!(post(&address, &signed(secret, stripe.books.now(), &body), &body).status, 200, "{secret}");
    }
    daemon.stop();
}

#[test]
fn a_flood_of_forged_bodies_and_callers_that_stall_keep_nobody_from_recording() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = listening(&stripe, &account);
    let daemon = vm.start_linked();
    let address = address(&daemon);
    // More than there are places, each in the middle of its body.
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = open(&address);
            let head = "POST /webhooks/stripe HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n{";
            drop(stream.write_all(head.as_bytes()));
            stream
        })
        .collect();
    let memory = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    let before = memory();
    let body = "x".repeat(200 * 1024);
    let forged = signed("whsec_another", stripe.books.now(), &body);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let refused = ask(
                        open(&address),
                        "POST",
                        "/webhooks/stripe",
                        &[("Stripe-Signature", &forged)],
                        body.as_bytes(),
                    );
                    assert!(refused.is_ok_and(|answer| [400, 503].contains(&answer.status)));
                }
            });
        }
        for n in 0..20 {
            vm.spend(&format!("order-{n}"), "1");
        }
    });
    assert!(memory() < before + 20 * 1024, "{before} kB grew to {} kB", memory());
    assert_eq!(events(&vm), 0);
    drop(stalled);
    let body = customer_updated("evt_1", &account);
    until("there is a place again", || {
        let answer = post(&address, &signed(SECRET, stripe.books.now(), &body), &body);
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    daemon.stop();
}

#[test]
fn a_vm_that_was_never_linked_is_linked_by_its_customers_new_subscription() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let customer = format!("/v1/customers/{}", account.customer);
    let mut vm = Vm::with_key(&stripe);
    let webhook = "[webhook]\nlisten = \"127.0.0.1:0\"\nvm_id = \"vm-17\"\n";
    let plan = config(&stripe.books.base_url())
        .replace("[plans.small]", "[plans.small]\nmonthly = { price = \"price_api_overage\", amount = \"1\" }");
    vm.configure(&format!("{plan}\n{webhook}"));
    vm.set("STRIPE_WEBHOOK_SECRET", SECRET);
    let daemon = vm.start();
    let address = address(&daemon);
    let created = |id: &str| {
        let object: Value =
            json!({ "id": account.subscription, "object": "subscription", "customer": account.customer });
        json!({ "id": id, "object": "event", "type": "customer.subscription.created", "data": { "object": object } })
            .to_string()
    };
    let send = |id: &str| {
        let body = created(id);
        assert_eq!(post(&address, &signed(SECRET, stripe.books.now(), &body), &body).status, 200);
        until("it is looked at", || {
            let waiting: i64 = vm.query("SELECT count(*) FROM event WHERE done_us IS NULL");
            if waiting == 0 { Ok(()) } else { Err(waiting.to_string()) }
        });
    };
    stripe.books.post(&customer, &[("metadata[magic_box_vm_id]", "vm-18")]);
    send("evt_1");
    assert!(vm.status()["link"].is_null(), "it was made for another VM");
    stripe.books.post(&customer, &[("metadata[magic_box_vm_id]", "vm-17")]);
    send("evt_2");
    let daemon = vm.await_link(daemon);
    assert_eq!(vm.status()["link"]["subscription"], account.subscription);
    daemon.stop();
}

/// An endpoint at the sandbox for everything that is about customers, and its secret where the daemon finds it.
fn endpoint(stripe: &Stripe, vm: &Vm, daemon: &Process, secrets: &Path) -> String {
    let url = format!("http://{}/webhooks/stripe", address(daemon));
    let order = [("url", &*url), ("enabled_events[]", "customer.updated")];
    let made = stripe.books.post("/v1/webhook_endpoints", &order);
    std::fs::write(secrets, made["secret"].as_str().unwrap()).unwrap();
    daemon.signal(Signal::HUP);
    daemon.says("the configuration was reloaded");
    until("the secret is known", || {
        let problems = vm.problems();
        if problems.contains(&"webhook_no_secret".to_owned()) { Err(format!("{problems:?}")) } else { Ok(()) }
    });
    made["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_the_provider_delivers_twice_in_disorder_late_and_under_a_rolled_secret_leaves_the_same() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = Vm::billed(&stripe, &account);
    let secrets = vm.dir().join("webhook_secret");
    std::fs::write(&secrets, "").unwrap();
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
    let webhook = format!("[webhook]\nlisten = \"127.0.0.1:0\"\nsecret_file = \"{}\"\n", secrets.display());
    vm.configure(&format!("{}\n{webhook}", config(&stripe.books.base_url())));
    let daemon = vm.start_linked();
    vm.problem("webhook_no_secret");
    let endpoint = endpoint(&stripe, &vm, &daemon, &secrets);
    rename(&stripe, &account, "One");
    await_name(&vm, "One");
    for effect in [json!("twice"), json!("out_of_order"), json!("bogus"), json!({ "late": 60 })] {
        stripe.books.control("tamperings", &json!({ "effect": effect }));
    }
    for name in ["Two", "Three", "Four", "Five", "Six"] {
        rename(&stripe, &account, name);
    }
    let await_taken = |wanted: i64| {
        until(&format!("{wanted} events were taken, each once"), || {
            // What is late, or was refused, comes with the time.
            stripe.books.advance(60);
            let taken: i64 = vm.query("SELECT count(*) FROM event WHERE done_us IS NOT NULL");
            if taken == wanted { Ok(()) } else { Err(format!("{taken}: {:?}", stripe.books.deliveries())) }
        });
    };
    await_taken(6);
    await_name(&vm, "Six");
    let rolled = stripe.books.control("roll_secret", &json!({ "webhook_endpoint": endpoint, "old_valid_s": 3_600 }));
    rename(&stripe, &account, "Under both secrets");
    await_name(&vm, "Under both secrets");
    stripe.books.advance(7_200);
    std::fs::write(&secrets, rolled["secret"].as_str().unwrap()).unwrap();
    daemon.signal(Signal::HUP);
    until("it is reloaded a second time", || {
        let output = daemon.output();
        if output.matches("the configuration was reloaded").count() == 2 { Ok(()) } else { Err(output) }
    });
    rename(&stripe, &account, "Under the new one");
    await_name(&vm, "Under the new one");
    await_taken(8);
    stripe.books.control("tamperings", &json!({ "effect": "forged", "times": 1 }));
    rename(&stripe, &account, "Told by no forged event");
    until("it came, and was refused", || {
        let deliveries = stripe.books.deliveries();
        let refused = deliveries.iter().any(|one| one["status"] == 400);
        if refused { Ok(()) } else { Err(format!("{deliveries:?}")) }
    });
    assert_eq!(events(&vm), 8);
    daemon.stop();
}
