//! The usage page: whoever knows the token sees everything on it, others nothing, and it does what its own forms ask.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::damaged::start_without_room;
use crate::harness::{AGENT_KEY, Account, Answer, Process, Stripe, Vm, ask, config, until};
use crate::torn::tear;

const TOKEN: &str = "the token of this page, which nobody guesses";

/// A VM with a page on a free port, billed for one credit beyond the seven that are included.
fn with_page(stripe: &Stripe, account: &Account) -> Vm {
    let mut vm = Vm::billed(stripe, account);
    vm.configure(&format!("{}\n[dashboard]\nlisten = \"127.0.0.1:0\"\n", config(&stripe.books.base_url())));
    vm.set("USAGED_DASHBOARD_TOKEN", TOKEN);
    vm
}

/// A browser, as far as it matters: one page, its cookie and its address.
struct Visitor {
    address: String,
    cookie: Option<String>,
}

impl Visitor {
    fn of(daemon: &Process) -> Self {
        let address = daemon.says("the usage page is on http://").strip_suffix('/').unwrap().to_owned();
        Self { address, cookie: None }
    }

    fn logged_in(daemon: &Process) -> Self {
        let mut visitor = Self::of(daemon);
        let answer = visitor.post("/login", &[("token", TOKEN)]);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=") && !cookie.contains(TOKEN), "{cookie}");
        visitor.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        visitor
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        self.ask_on(stream, method, path, headers, body)
    }

    fn ask_on(
        &self,
        stream: impl Read + Write,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut all: Vec<_> = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "Host") {
            all.push(("Host", &self.address));
        }
        all.extend(self.cookie.as_ref().map(|cookie| ("Cookie", cookie.as_str())));
        ask(stream, method, path, &all, body.as_bytes()).unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// As a form of a page here is sent.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("POST", path, &[("Origin", &self.origin()), ("Accept", "text/html,*/*")], &form(fields))
    }

    fn page(&self) -> String {
        let answer = self.get("/");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// What the forms of the page carry.
    fn form_token(&self) -> String {
        let page = self.page();
        let (_, rest) = page.split_once("name=\"form\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    fn manage(&self) -> Answer {
        self.post("/api/billing/portal-session", &[("form", &self.form_token())])
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Lets the agent's key open the portal, and configures that as `usagectl stripe portal configure` does.
fn allow_portal(stripe: &Stripe) {
    let may = ["usage_record_write", "subscription_read", "customer_read", "balance_read", "customer_portal_write"];
    stripe.books.control("keys", &json!({ "key": AGENT_KEY, "permissions": may }));
    let terms = [("features[invoice_history][enabled]", "true"), ("metadata[usagectl]", "portal")];
    stripe.books.post("/v1/billing_portal/configurations", &terms);
}

#[test]
fn whoever_does_not_know_the_token_sees_nothing() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = with_page(&stripe, &account);
    let daemon = vm.start_linked();
    let stranger = Visitor::of(&daemon);
    for path in ["/", "/explain", "/explain?month=2026-01"] {
        let answer = stranger.get(path);
        assert_eq!((answer.status, answer.header("location"), &*answer.body), (303, Some("/login"), ""), "{path}");
    }
    for token in ["", "wrong", &TOKEN.to_uppercase()] {
        let answer = stranger.post("/login", &[("token", token)]);
        assert!(answer.status == 403 && answer.header("set-cookie").is_none(), "{answer:?}");
        assert!(answer.body.contains("That is not the token."), "{answer:?}");
    }
    let forged = Visitor { cookie: Some("usaged_page=9999999999.00".to_owned()), ..Visitor::of(&daemon) };
    assert_eq!(forged.get("/").status, 303);
    assert_eq!(stranger.post("/api/billing/portal-session", &[("form", "")]).status, 403);
    let friend = Visitor::logged_in(&daemon);
    assert!(friend.page().contains("api_credits"));
    assert_eq!(stranger.get("/").status, 303, "it is the cookie that lets in");
    assert!(!daemon.output().contains(TOKEN) && !friend.page().contains(TOKEN));
    daemon.stop();
}

#[test]
fn the_page_shows_what_is_billed_and_why_and_keeps_the_key_to_itself() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let mut vm = with_page(&stripe, &account);
    let text = std::fs::read_to_string(vm.config_file()).unwrap();
    vm.configure(&text.replace("[schedule]\n", "[schedule]\nlook = \"* * * * * *\"\n"));
    let hostile = "<script>alert('us')</script>";
    stripe.books.post(&format!("/v1/customers/{}", account.customer), &[("name", hostile)]);
    vm.set("USAGED_ALERTS_SECRET", "hushHushOfTheAlerts");
    let daemon = vm.start_linked();
    vm.spend("order-1", "8");
    let record = json!({ "meter": "api_credits", "quantity": "1", "id": "order-2", "source": "app<b>&'\"" });
    let refused = vm.ask("POST", "/v1/usage", &record.to_string()).unwrap();
    assert_eq!(refused.json()["refused"], 1, "no such name gets in: {refused:?}");
    assert_eq!(vm.settle()["stands"], 1);
    let visitor = Visitor::logged_in(&daemon);
    let page = until("the customer's name was read", || {
        let page = visitor.page();
        if page.contains("&lt;script&gt;alert(&#39;us&#39;)&lt;/script&gt;") { Ok(page) } else { Err(page) }
    });
    for said in [&*account.customer, "8 credits", "7 credits", "accepted", "<svg", "Not watched", "Alerts"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("<script>") && page.matches("<script src=\"/refresh.js\"").count() == 1, "{page}");
    let explained = visitor.get("/explain").body;
    assert!(
        explained.contains("1 credits billed")
            && explained.contains(&account.item)
            && explained.contains("above what is included"),
        "{explained}"
    );
    for secret in [AGENT_KEY, TOKEN, "hushHushOfTheAlerts", "whsec_"] {
        assert!(!page.contains(secret) && !explained.contains(secret), "{secret}");
    }
    for (path, status) in
        [("/explain?month=2020-01", 200), ("/explain?month=<b>", 400), ("/v1/status", 404), ("/metrics", 404)]
    {
        let answer = visitor.get(path);
        assert!(answer.status == status && !answer.body.contains("<b>"), "{path}: {answer:?}");
    }
    daemon.stop();
}

#[test]
fn every_answer_forbids_what_is_not_our_own() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = with_page(&stripe, &account);
    let daemon = vm.start_linked();
    let visitor = Visitor::logged_in(&daemon);
    for path in ["/", "/explain", "/login", "/back", "/style.css", "/refresh.js", "/nowhere"] {
        let answer = visitor.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
            assert!(policy.contains(rule) && !policy.contains("unsafe"), "{path}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    let script = visitor.get("/refresh.js");
    assert_eq!(script.header("content-type"), Some("text/javascript"));
    daemon.stop();
}

#[test]
fn another_name_and_another_pages_form_are_refused() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    allow_portal(&stripe);
    let vm = with_page(&stripe, &account);
    let daemon = vm.start_linked();
    let visitor = Visitor::logged_in(&daemon);
    // A page in a browser here, whose name resolves to this machine.
    for host in ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1"] {
        for path in ["/", "/style.css", "/login", "/back"] {
            assert_eq!(visitor.ask("GET", path, &[("Host", host)], "").status, 403, "{host} {path}");
        }
    }
    // A page elsewhere, from which a form is sent here.
    let (good, own) = (visitor.form_token(), visitor.origin());
    let other_port = "http://127.0.0.1:1";
    for (origin, field) in [
        (Some("http://evil.example"), &*good),
        (Some(other_port), &good),
        (Some("null"), &good),
        (None, &good),
        (Some(&*own), ""),
        (Some(&own), "00"),
    ] {
        for path in ["/api/billing/portal-session", "/logout"] {
            let headers: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
            let refused = visitor.ask("POST", path, &headers, &form(&[("form", field)]));
            assert!(
                refused.status == 403 && refused.header("set-cookie").is_none(),
                "{origin:?} {field} {path}: {refused:?}"
            );
        }
    }
    let login = visitor.ask("POST", "/login", &[("Origin", "http://evil.example")], &form(&[("token", TOKEN)]));
    assert!(
        login.status == 403 && login.header("set-cookie").is_none(),
        "nobody is logged in from elsewhere: {login:?}"
    );
    for (method, path) in [("GET", "/api/billing/portal-session"), ("GET", "/logout"), ("PUT", "/"), ("POST", "/")] {
        let answer = visitor.ask(method, path, &[("Origin", &own)], &form(&[("form", &good)]));
        assert!([404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
    }
    let asked = stripe.books.requests("/v1/billing_portal/sessions");
    assert!(asked.iter().all(|request| request["status"] == 400), "nothing but the question whether it may: {asked:?}");
    let out = visitor.post("/logout", &[("form", &good)]);
    assert!(out.status == 303 && out.header("set-cookie").unwrap().contains("usaged_page=; "), "{out:?}");
    daemon.stop();
}

#[test]
fn the_portal_is_opened_for_the_customer_and_leads_back() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    allow_portal(&stripe);
    let vm = with_page(&stripe, &account);
    let daemon = vm.start_linked();
    let visitor = Visitor::logged_in(&daemon);
    assert!(visitor.page().contains("Manage subscription</button>"));
    let opened = visitor.manage();
    assert_eq!(opened.status, 200, "{opened:?}");
    assert!(opened.body.contains("content=\"0;url=https://billing.stripe.com/p/session/test_bps_"), "{opened:?}");
    // As a script asks.
    let headers = [("Origin", &*visitor.origin()), ("Accept", "application/json")];
    let field = form(&[("form", &visitor.form_token())]);
    let said = visitor.ask("POST", "/api/billing/portal-session", &headers, &field).json();
    assert!(said["url"].as_str().unwrap().starts_with("https://billing.stripe.com/p/session/test_bps_"), "{said}");
    let asked = stripe.books.requests("/v1/billing_portal/sessions");
    let made: Vec<_> = asked.iter().filter(|request| request["status"] == 200).map(ToString::to_string).collect();
    let back = form(&[("return_url", &format!("{}/back", visitor.origin()))]);
    for made in &made {
        assert!(
            made.contains(&account.customer) && made.contains(&back) && made.contains("configuration=bpc_"),
            "{made}"
        );
    }
    assert_eq!(made.len(), 2);
    assert!(!daemon.output().contains("p/session"), "whoever has the address is the customer");
    daemon.stop();
}

#[test]
fn where_the_portal_cannot_be_opened_the_page_says_why() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = with_page(&stripe, &account);
    let daemon = vm.start_linked();
    let visitor = Visitor::logged_in(&daemon);
    let page = visitor.page();
    assert!(
        page.contains("not offered here: the provider&#39;s key lacks the permission “Customer portal: write”.")
            && !page.contains("Manage subscription<"),
        "{page}"
    );
    let denied = visitor.manage();
    assert!(denied.status == 502 && denied.body.contains("customer_portal"), "{denied:?}");
    // It may now, but the provider does not answer.
    allow_portal(&stripe);
    daemon.stop();
    let daemon = vm.start_linked();
    let visitor = Visitor::logged_in(&daemon);
    stripe.fault("POST", "/v1/billing_portal/sessions", &json!({ "effect": "cut_before_commit", "times": 1_000 }));
    let lost = visitor.manage();
    assert!(lost.status == 502 && lost.body.contains("Your subscription cannot be managed now"), "{lost:?}");
    assert!(lost.body.contains("the billing provider: "), "{lost:?}");
    stripe.books.clear_faults();
    assert_eq!(visitor.manage().status, 200);
    daemon.stop();
}

#[test]
fn a_vm_that_bills_nothing_has_a_page_without_the_portal() {
    let mut vm = Vm::unbilled();
    vm.configure("[dashboard]\nlisten = \"[::1]:0\"\n");
    vm.set("USAGED_DASHBOARD_TOKEN", TOKEN);
    let daemon = vm.start();
    let visitor = Visitor::logged_in(&daemon);
    let page = visitor.page();
    assert!(
        page.contains("not offered here: no billing provider is configured") && page.contains("nobody: this VM"),
        "{page}"
    );
    assert!(visitor.get("/explain").body.contains("Nothing is billed in that period."));
    let refused = visitor.post("/api/billing/portal-session", &[("form", "0")]);
    assert_eq!(refused.status, 403);
    daemon.stop();
}

#[test]
fn without_a_token_nothing_listens_and_status_says_so() {
    let vm = Vm::unbilled();
    vm.configure("[dashboard]\nlisten = \"127.0.0.1:0\"\n");
    let daemon = vm.start();
    let problem = vm.problem("dashboard_token_missing");
    assert!(problem.contains("dashboard.token_file"), "{problem}");
    assert!(!daemon.output().contains("the usage page is on"));
    daemon.stop();
}

#[test]
fn on_a_socket_the_web_server_in_front_answers_for_who_comes() {
    let vm = Vm::unbilled();
    let socket = vm.dir().join("page.sock");
    let listen = format!("[dashboard]\nlisten = \"unix:{}\"\nurl = \"https://usage.example.com\"\n", socket.display());
    vm.configure(&listen);
    let daemon = vm.start();
    daemon.says("the usage page is on unix:");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    let visitor = Visitor { address: "usage.example.com".to_owned(), cookie: None };
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        visitor.ask_on(UnixStream::connect(&socket).unwrap(), method, path, headers, body)
    };
    let page = ask("GET", "/", &[], "");
    assert!(page.status == 200 && !page.body.contains("Log out"), "{page:?}");
    for host in ["localhost", "evil.example", "usage.example.com.evil.example"] {
        assert_eq!(ask("GET", "/", &[("Host", host)], "").status, 403, "{host}");
    }
    let foreign = ask("POST", "/api/billing/portal-session", &[("Origin", "http://usage.example.com")], "form=0");
    assert_eq!(foreign.status, 403);
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn while_the_ledger_is_busy_the_page_shows_what_it_can() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = with_page(&stripe, &account);
    let daemon = vm.start_linked();
    let visitor = Visitor::logged_in(&daemon);
    let other = rusqlite::Connection::open(vm.database()).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(visitor.page().contains("api_credits"));
    let explained = visitor.get("/explain");
    assert!(explained.status == 503 && explained.body.contains("This cannot be explained now"), "{explained:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(visitor.get("/explain").status, 200);
    daemon.stop();
}

#[test]
fn while_the_ledger_is_damaged_the_page_says_so() {
    let stripe = Stripe::start();
    let account = stripe.books.subscribe("price_api_overage");
    let vm = with_page(&stripe, &account);
    vm.start_linked().stop();
    tear(&vm.database(), "bucket");
    let daemon = start_without_room(&vm);
    let visitor = Visitor::logged_in(&daemon);
    let page = visitor.page();
    assert!(page.contains("usage.db is damaged") && !page.contains("Manage subscription"), "{page}");
    let explained = visitor.get("/explain");
    assert!(explained.status == 503 && explained.body.contains("usage.db is damaged"), "{explained:?}");
    daemon.stop();
}
