use std::io;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Process, ask, clean};

/// What the agent may do: read what it is linked to, write and read usage.
pub(crate) const AGENT_KEY: &str = "rk_test_agentOfThisVm4242";
/// What the demo of `usaged run --sandbox` lets in; well-formed test keys may do everything elsewhere too.
const SECRET_KEY: &str = "sk_test_usagedDemoSecret";
const AGENT_MAY: [&str; 4] = ["usage_record_write", "subscription_read", "customer_read", "balance_read"];

/// A sandbox's side of the story, asked over HTTP.
pub(crate) struct Books {
    address: String,
}

/// A customer with one metered item.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) customer: String,
    pub(crate) subscription: String,
    pub(crate) item: String,
}

impl Books {
    /// Of the sandbox in this process: `usaged run --sandbox` or `usaged sandbox`.
    pub(crate) fn of(process: &Process) -> Self {
        let announced = process.says("Stripe sandbox on http://");
        Self { address: announced.split(',').next().unwrap().to_owned() }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Value> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let answer = ask(stream, method, path, headers, body.as_bytes())?;
        assert_eq!(answer.status, 200, "{method} {path} {body}: {answer:?}");
        Ok(answer.json())
    }

    /// As the vendor's own backend asks Stripe.
    pub(crate) fn get(&self, path: &str) -> Value {
        let bearer = format!("Bearer {SECRET_KEY}");
        self.ask("GET", path, &[("Authorization", &bearer)], "").unwrap()
    }

    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let bearer = format!("Bearer {SECRET_KEY}");
        let headers = [("Authorization", &*bearer), ("Content-Type", "application/x-www-form-urlencoded")];
        self.ask("POST", path, &headers, &body).unwrap()
    }

    /// The sandbox's own controls.
    pub(crate) fn control(&self, name: &str, order: &Value) -> Value {
        let path = format!("/_sandbox/{name}");
        self.ask("POST", &path, &[("Content-Type", "application/json")], &order.to_string()).unwrap()
    }

    pub(crate) fn clear_faults(&self) {
        self.ask("DELETE", "/_sandbox/faults", &[], "").unwrap();
    }

    pub(crate) fn waiting_faults(&self) -> usize {
        self.ask("GET", "/_sandbox/faults", &[], "").unwrap()["waiting"].as_array().unwrap().len()
    }

    /// Moves Stripe's time on.
    pub(crate) fn advance(&self, seconds: i64) {
        self.control("clock", &json!({ "advance": seconds }));
    }

    /// What stands on an item in its open period, by the sandbox's books: no fault meets who asks there.
    pub(crate) fn total(&self, item: &str) -> i64 {
        let books = self.ask("GET", "/_sandbox/books", &[], "").unwrap();
        books["totals"][item][0]["total"].as_i64().unwrap()
    }

    /// Usage as another writer sets it.
    pub(crate) fn set_usage(&self, item: &str, quantity: i64, timestamp: i64) {
        let (quantity, timestamp) = (quantity.to_string(), timestamp.to_string());
        let form = [("quantity", &*quantity), ("action", "set"), ("timestamp", &timestamp)];
        self.post(&format!("/v1/subscription_items/{item}/usage_records"), &form);
    }

    pub(crate) fn now(&self) -> i64 {
        self.ask("GET", "/_sandbox/clock", &[], "").unwrap()["now"].as_i64().unwrap()
    }

    /// What became of webhooks.
    pub(crate) fn deliveries(&self) -> Vec<Value> {
        let told = self.ask("GET", "/_sandbox/deliveries", &[], "").unwrap();
        told["deliveries"].as_array().unwrap().clone()
    }

    /// Requests that reached a path with this ending, as the sandbox logged them.
    pub(crate) fn requests(&self, ending: &str) -> Vec<Value> {
        let log = self.ask("GET", "/_sandbox/requests", &[], "").unwrap();
        let all = log["requests"].as_array().unwrap().iter();
        all.filter(|request| request["path"].as_str().unwrap().ends_with(ending)).cloned().collect()
    }

    /// The metered price of this name, one cent a unit; one customer's is another's.
    fn price(&self, lookup_key: &str) -> String {
        let found = self.get(&format!("/v1/prices?lookup_keys[]={lookup_key}"));
        if let Some(id) = found["data"][0]["id"].as_str() {
            return id.to_owned();
        }
        let product = self.post("/v1/products", &[("name", "A product")]);
        let terms = [
            ("lookup_key", lookup_key),
            ("product", product["id"].as_str().unwrap()),
            ("currency", "eur"),
            ("unit_amount", "1"),
            ("recurring[interval]", "month"),
            ("recurring[usage_type]", "metered"),
        ];
        self.post("/v1/prices", &terms)["id"].as_str().unwrap().to_owned()
    }

    /// A monthly subscription to a metered price, begun two seconds ago: so its first record may be sent (rule S3).
    pub(crate) fn subscribe(&self, lookup_key: &str) -> Account {
        let customer = self.post("/v1/customers", &[("name", "A customer"), ("payment_method", "pm_card_visa")]);
        let price = self.price(lookup_key);
        let customer = customer["id"].as_str().unwrap();
        let order = [("customer", customer), ("items[0][price]", &price)];
        let subscription = self.post("/v1/subscriptions", &order);
        self.advance(2);
        Account {
            customer: customer.to_owned(),
            subscription: subscription["id"].as_str().unwrap().to_owned(),
            item: subscription["items"]["data"][0]["id"].as_str().unwrap().to_owned(),
        }
    }
}

/// `usaged sandbox`: a Stripe of its own process, which lives on while agents die.
pub(crate) struct Stripe {
    pub(crate) books: Books,
    process: Option<Process>,
    dir: TempDir,
}

impl Stripe {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = listen(&dir, "127.0.0.1:0");
        let stripe = Self { books: Books::of(&process), process: Some(process), dir };
        stripe.books.control("keys", &json!({ "key": AGENT_KEY, "permissions": AGENT_MAY }));
        stripe
    }

    /// Stripe goes away.
    pub(crate) fn go_down(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Stripe is back where it was, with its books.
    pub(crate) fn come_back(&mut self) {
        let process = listen(&self.dir, &self.books.address);
        self.books = Books::of(&process);
        self.process = Some(process);
    }

    /// Something goes wrong with requests to come; see `src/sandbox/faults.rs`.
    pub(crate) fn fault(&self, method: &str, path: &str, rest: &Value) {
        let mut order = json!({ "method": method, "path": path });
        order.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.books.control("faults", &order);
    }
}

fn listen(dir: &TempDir, address: &str) -> Process {
    let mut command = clean(env!("CARGO_BIN_EXE_usaged"));
    command.args(["sandbox", "--listen", address, "--state-dir"]).arg(dir.path());
    command.arg("--runtime-dir").arg(dir.path());
    Process::start(&mut command)
}
