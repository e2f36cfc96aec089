use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AGENT_KEY, Account, Answer, Process, Said, Stripe, ask, clean, run, until};

/// A VM: its directories, its configuration, and what its unit hands the daemon. It outlives the daemons on it.
pub(crate) struct Vm {
    dir: TempDir,
    runtime: PathBuf,
    environment: Vec<(String, String)>,
    sandbox: bool,
}

/// A configuration that bills credits beyond the seventh and marks none before, and samples and pushes every second.
pub(crate) fn config(base_url: &str) -> String {
    format!(
        r#"
plan = "small"

[provider]
kind = "stripe-usage-records"
base_url = "{base_url}"
timeout = "30s"

[schedule]
sample_every = "1s"
push = "* * * * * *"
spread = "0s"

[alerts]
allowance_at = []

[plans.small]
currency = "eur"
included = {{ compute_hours = "unlimited", api_credits = 7 }}
overage = {{ api_credits = {{ price = "price_api_overage", unit_amount = "0.01" }} }}
"#
    )
}

impl Vm {
    /// With no configuration at all: measures, bills nothing.
    pub(crate) fn unbilled() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("run");
        Self { dir, runtime, environment: Vec::new(), sandbox: false }
    }

    /// As a newcomer tries it: `usaged run --sandbox`.
    pub(crate) fn in_sandbox() -> Self {
        Self { sandbox: true, ..Self::unbilled() }
    }

    /// With a ledger of its own, where another VM's daemon listens.
    pub(crate) fn sharing_the_socket_of(other: &Self) -> Self {
        Self { runtime: other.runtime.clone(), ..Self::unbilled() }
    }

    /// With a key, not linked yet.
    pub(crate) fn with_key(stripe: &Stripe) -> Self {
        let mut vm = Self::unbilled();
        vm.configure(&config(&stripe.books.base_url()));
        vm.set("STRIPE_API_KEY", AGENT_KEY);
        vm
    }

    /// Linked by its environment.
    pub(crate) fn billed(stripe: &Stripe, account: &Account) -> Self {
        let mut vm = Self::with_key(stripe);
        vm.set("STRIPE_CUSTOMER_ID", &account.customer);
        vm.set("STRIPE_SUBSCRIPTION_ID", &account.subscription);
        vm
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(there, _)| there != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn configure(&self, toml: &str) {
        std::fs::write(self.config_file(), toml).unwrap();
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("usaged.toml")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where `usage.db` lies.
    pub(crate) fn database(&self) -> PathBuf {
        let place = self.state_dir();
        if self.sandbox { place.join("sandbox/usage.db") } else { place.join("usage.db") }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        if self.sandbox { self.runtime.join("sandbox/usaged.sock") } else { self.runtime.join("usaged.sock") }
    }

    /// `usaged` with these words, at home here.
    pub(crate) fn usaged(&self, words: &[&str]) -> Command {
        self.at_home(clean(env!("CARGO_BIN_EXE_usaged")), words)
    }

    /// The same as the last words of another command, which is to execute it.
    pub(crate) fn usaged_under(&self, mut command: Command, words: &[&str]) -> Command {
        command.arg(env!("CARGO_BIN_EXE_usaged"));
        self.at_home(command, words)
    }

    fn at_home(&self, mut command: Command, words: &[&str]) -> Command {
        command.args(words).arg("--state-dir").arg(self.state_dir()).arg("--runtime-dir").arg(&self.runtime);
        if self.config_file().exists() {
            command.arg("--config").arg(self.config_file());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run_words(&self) -> &'static [&'static str] {
        if self.sandbox { &["run", "--sandbox"] } else { &["run"] }
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&self) -> Process {
        self.await_answers(Process::start(&mut self.usaged(self.run_words())))
    }

    /// The same, and waits until it is linked: what is recorded before that is nobody's (rule R1).
    pub(crate) fn start_linked(&self) -> Process {
        self.await_link(self.start())
    }

    pub(crate) fn await_link(&self, daemon: Process) -> Process {
        until("it is linked", || {
            let status = self.status();
            if status["link"].is_object() { Ok(()) } else { Err(format!("{status:#}")) }
        });
        daemon
    }

    pub(crate) fn await_answers(&self, mut daemon: Process) -> Process {
        until("the daemon answers", || {
            if let Some(code) = daemon.ended() {
                panic!("usaged ended with {code}: {}", daemon.output());
            }
            let status = self.ask("GET", "/v1/status", "").map_err(|error| error.to_string())?;
            if status.json()["pid"] == daemon.pid() { Ok(()) } else { Err(format!("{status:?}")) }
        });
        daemon
    }

    /// One request on the socket.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        ask(stream, method, path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Records credits over the socket.
    pub(crate) fn record(&self, id: &str, quantity: &str) -> io::Result<Answer> {
        let record = json!({ "meter": "api_credits", "quantity": quantity, "id": id });
        self.ask("POST", "/v1/usage", &record.to_string())
    }

    /// Records credits and expects them to be taken.
    pub(crate) fn spend(&self, id: &str, quantity: &str) {
        let answer = self.record(id, quantity).unwrap();
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{answer:?}");
    }

    pub(crate) fn status(&self) -> Value {
        self.ask("GET", "/v1/status", "").unwrap().json()
    }

    /// Runs `usagectl` against this daemon.
    pub(crate) fn ctl(&self, words: &[&str]) -> Said {
        run(clean(env!("CARGO_BIN_EXE_usagectl")).arg("--socket").arg(self.socket()).args(words))
    }

    /// `usagectl sync --json …`: its exit code and what it said of the credits' item.
    pub(crate) fn sync(&self, words: &[&str]) -> (i32, Value) {
        let said = self.ctl(&[&["sync", "--json"], words].concat());
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        (said.code, line(&report, "api_credits"))
    }

    /// Syncs until the provider has everything, and returns what was said of the credits' item then.
    pub(crate) fn settle(&self) -> Value {
        until("what should stand, stands", || match self.sync(&["--commit"]) {
            (0, line) if line["stands"].is_i64() && line["stands"] == line["target"] => Ok(line),
            (code, line) => Err(format!("exit {code}: {line:#}")),
        })
    }

    /// Codes of the problems that `status` names now.
    pub(crate) fn problems(&self) -> Vec<String> {
        let status = self.status();
        let problems = status["problems"].as_array().unwrap().iter();
        problems.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until `status` names a problem, and returns what it says and what is to be done.
    pub(crate) fn problem(&self, code: &str) -> String {
        until(&format!("status names {code}"), || {
            let status = self.status();
            let mut problems = status["problems"].as_array().unwrap().iter();
            let found = problems.find(|problem| problem["code"] == code);
            found.map(|problem| format!("{} {}", problem["what"], problem["hint"])).ok_or(format!("{status:#}"))
        })
    }

    /// Waits until the daemon has pushed once, whatever came of it: the provider's time is known then.
    pub(crate) fn await_push(&self) {
        until("a push has run", || {
            let status = self.status();
            if status["jobs"][0]["last_result"].is_string() { Ok(()) } else { Err(status["jobs"].to_string()) }
        });
    }

    /// Looks into `usage.db`, beside a daemon or without one.
    pub(crate) fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags(self.database(), flags).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Changes `usage.db`, which no daemon has open.
    pub(crate) fn execute(&self, sql: &str) {
        Connection::open(self.database()).unwrap().execute_batch(sql).unwrap();
    }
}

/// What a report says of one meter in its newest period; null where it says nothing.
fn line(report: &Value, meter: &str) -> Value {
    let lines = report["lines"].as_array().unwrap().iter();
    lines.clone().rfind(|line| line["meter"] == meter).cloned().unwrap_or_default()
}
