//! The daemon under measurement, in a directory of its own on the disk that the build is on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::http;
use super::process::Process;
use super::provider::FakeProvider;

pub(crate) const USAGED: &str = env!("CARGO_BIN_EXE_usaged");
pub(crate) const USAGECTL: &str = env!("CARGO_BIN_EXE_usagectl");

/// How long anything may take before it counts as broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a daemon keeps its things.
pub(crate) struct Place {
    directory: TempDir,
    certificates: PathBuf,
}

impl Place {
    pub(crate) fn new(provider: &FakeProvider) -> Result<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let config = format!(
            "plan = \"pro\"\n[provider]\nkind = \"stripe-usage-records\"\nbase_url = \"{}\"\n\
             [plans.pro.included]\ncompute_hours = 100\napi_credits = 1000\n",
            provider.base_url()
        );
        fs::write(directory.path().join("usaged.toml"), config)?;
        Ok(Self { certificates: provider.certificates(), directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("usaged.sock")
    }

    fn command(&self) -> Result<Command> {
        let at = self.directory.path();
        let mut command = Command::new(USAGED);
        command.arg("run").arg("--config").arg(at.join("usaged.toml"));
        command.arg("--state-dir").arg(at).arg("--runtime-dir").arg(at);
        // Nothing of the caller's own account, proxies or log settings has a part in this.
        command.env_clear().env("HOME", at).env("PATH", "/usr/bin:/bin");
        command.env("SSL_CERT_FILE", &self.certificates);
        command.env("STRIPE_API_KEY", "rk_test_footprint0notARealKey");
        command.env("STRIPE_CUSTOMER_ID", "cus_footprint").env("STRIPE_SUBSCRIPTION_ID", "sub_footprint");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().create(true).append(true).open(at.join("log"))?);
        Ok(command)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// A running daemon; killed where it is not stopped.
pub(crate) struct Daemon<'p> {
    child: Child,
    place: &'p Place,
}

impl<'p> Daemon<'p> {
    /// Starts it; when it returns, the socket answers.
    pub(crate) fn start(place: &'p Place) -> Result<Self> {
        let child = place.command()?.spawn().with_context(|| format!("cannot start {USAGED}"))?;
        let mut daemon = Self { child, place };
        let began = Instant::now();
        while http::status(&place.socket()).is_err() {
            if let Some(ended) = daemon.child.try_wait()? {
                bail!("usaged ended with {ended}:\n{}", place.log());
            }
            ensure!(began.elapsed() < PATIENCE, "the socket does not answer:\n{}", place.log());
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(daemon)
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    /// Waits until it is linked and has finished a push, so that the client has done all that it does.
    pub(crate) fn wait_until_pushed(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let status = http::status(&self.socket())?;
            if is_linked(&status) && has_pushed(&status) {
                return Ok(());
            }
            let log = || self.place.log();
            ensure!(began.elapsed() < PATIENCE, "it was not linked and pushed, status says:\n{status:#}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As systemd stops it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "usaged ended with {ended}:\n{}", self.place.log());
        Ok(())
    }
}

fn is_linked(status: &Value) -> bool {
    status.pointer("/link/customer").is_some_and(Value::is_string)
}

fn has_pushed(status: &Value) -> bool {
    let ended = |job: &Value| job.get("last_result").is_some_and(Value::is_string);
    let jobs = status.get("jobs").and_then(Value::as_array);
    jobs.is_some_and(|jobs| jobs.iter().any(|job| job.get("name").is_some_and(|name| name == "push") && ended(job)))
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Already gone where it was stopped.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
