use std::net::SocketAddr;
use std::process::Command;
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use usaged::model::Timestamp;
use usaged::sandbox::{Effect, Fault, PINNED_VERSION, Sandbox, SandboxClock};

/// The operator's key. The sandbox lets any of this form do everything.
pub(crate) const KEY: &str = "sk_test_usagedOperator";
const NEWEST: &str = "2026-10-28.endive";
/// A POST that changes nothing.
const PREVIEW: &str = "/v1/invoices/create_preview";
pub(crate) const START: &str = "2026-11-10T12:00:00Z";

/// An empty account behind a port.
pub(crate) struct Account {
    pub(crate) sandbox: Sandbox,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    pub(crate) dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Account {
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = SandboxClock::frozen(Timestamp::parse(START).unwrap());
        let sandbox = Sandbox::open(dir.path(), clock).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (announce, announced) = std::sync::mpsc::channel();
        let served = sandbox.clone();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                announce.send(listener.local_addr().unwrap()).unwrap();
                served.serve(listener, async { drop(stopped.await) }).await;
            });
        });
        let address = announced.recv().unwrap();
        Self { sandbox, address, stop: Some(stop), serving: Some(serving), dir }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `usagectl stripe …`, as the operator.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(KEY, args)
    }

    /// The same with another key.
    pub(crate) fn run_with(&self, key: &str, args: &[&str]) -> Ran {
        let mut command = usagectl(args);
        ran(command.env("STRIPE_API_KEY", key).env("STRIPE_API_BASE", self.base_url()))
    }

    /// A command that works, with its report.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Makes the next requests of this kind go wrong.
    pub(crate) fn fault(&self, method: &str, path: &str, times: u32, effect: &Effect) {
        let fault = Fault::next(effect.clone()).on(method, path).times(times);
        self.sandbox.fault(fault);
    }

    /// What the account has, asked in the newest version.
    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        self.get(&format!("{path}?limit=100"))["data"].as_array().unwrap().clone()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.asked(reqwest::Method::GET, path, "")
    }

    /// As somebody else asks it: the vendor's page, or the agent.
    pub(crate) fn post(&self, path: &str, form: &str) -> Value {
        self.asked(reqwest::Method::POST, path, form)
    }

    fn asked(&self, method: reqwest::Method, path: &str, form: &str) -> Value {
        let _already_installed = rustls::crypto::ring::default_provider().install_default().is_err();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("{}{path}", self.base_url());
        let version = if path.contains("usage_record") { PINNED_VERSION } else { NEWEST };
        let text = runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
            let request = client.request(method, url).bearer_auth(KEY).header("Stripe-Version", version);
            let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form.to_owned());
            request.send().await.unwrap().text().await.unwrap()
        });
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer.get("error").is_none(), "{path} {form}: {text}");
        answer
    }

    /// Requests that changed something, as `POST /v1/products`.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.sandbox.requests().into_iter();
        let requests = requests.filter(|one| one.method != "GET" && one.status == 200 && one.path != PREVIEW);
        requests.map(|one| format!("{} {}", one.method, one.path)).collect()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.serving.take().map(JoinHandle::join));
    }
}

/// `usagectl stripe …` without anything in its environment that a developer's shell might have.
pub(crate) fn usagectl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usagectl"));
    command.arg("stripe").args(args);
    clean(&mut command);
    command
}

/// Takes out what a developer's shell might have.
pub(crate) fn clean(command: &mut Command) {
    for name in std::env::vars_os().map(|(name, _)| name) {
        if name.to_str().is_some_and(|name| ["STRIPE_", "USAGED_", "NO_COLOR"].iter().any(|one| name.starts_with(one)))
        {
            command.env_remove(name);
        }
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
