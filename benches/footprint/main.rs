//! What the agent costs the machine it runs on: the real daemon and the real `usagectl`, measured from outside against
//! their budgets. Prints a table and exits 1 where a budget is missed.
//!
//! `cargo bench --bench footprint --no-default-features [-- --seconds N]`
//!
//! The daemon is linked to a subscription at a provider inside this process, over TLS with all of the system's root
//! certificates, and has run its push job: idle as it is on a customer's VM. Rates are shown beside a bare SQLite that does the
//! same syncs on the same disk in the same run, because that, not the number, carries over to another machine.

mod baseline;
mod daemon;
mod http;
mod intake;
mod numbers;
mod process;
mod provider;
mod report;
mod timing;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use daemon::{Daemon, Place};
use provider::FakeProvider;
use report::{Budget, Report, Unit};

/// What a reading of an idle minute is told in.
const MINUTE: Duration = Duration::from_mins(1);
/// What follows a burst, as freeing memory and ending threads, is over after this.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut report = Report::new();
    // Cargo says --bench where it benchmarks; `cargo test --all-targets` only wants to see it start.
    if !words.iter().any(|word| word == "--bench") {
        report::say("run it by: cargo bench --bench footprint --no-default-features")?;
        return Ok(ExitCode::SUCCESS);
    }
    measure(&mut report, seconds(&words)?)?;
    report.finish()
}

fn seconds(words: &[String]) -> Result<Duration> {
    let Some(at) = words.iter().position(|word| word == "--seconds") else { return Ok(MINUTE) };
    let number = words.get(at + 1).context("--seconds needs a number")?;
    let seconds: u64 = number.parse().with_context(|| format!("--seconds takes a whole number, not {number:?}"))?;
    anyhow::ensure!(seconds > 0, "--seconds 0 measures nothing");
    Ok(Duration::from_secs(seconds))
}

fn measure(report: &mut Report, idle: Duration) -> Result<()> {
    if cfg!(feature = "sandbox") {
        report::say("built with the sandbox; the budgets are for --no-default-features")?;
    }
    let provider = FakeProvider::start()?;
    sizes(report)?;
    timing::starts(report, &provider)?;

    let place = Place::new(&provider)?;
    let mut daemon = Daemon::start(&place)?;
    daemon.wait_until_pushed()?;
    std::thread::sleep(SETTLE);
    idle_stretch(report, &daemon, idle)?;
    memory(report, &daemon, "linked, pushed, idle", Some(Budget::under(10_000_000)))?;
    timing::status(report, &daemon, "status, new ledger")?;

    let rounds = intake::batches(&daemon)?;
    std::thread::sleep(SETTLE);
    memory(report, &daemon, "after 100 000 credits", Some(Budget::under(10_000_000)))?;
    timing::status(report, &daemon, "status, 100 000 credits")?;
    intake::report_batches(report, &rounds)?;
    intake::report_singles(report, &intake::singles(&daemon)?)?;
    std::thread::sleep(SETTLE);
    memory(report, &daemon, "after 64 connections", None)?;
    report.line("highest resident memory", daemon.process().peak()?, Unit::Bytes, None)?;
    report.line("sync of 4 KiB, median", baseline::sync_median(place.directory())?, Unit::Micros, None)?;
    daemon.stop()
}

fn sizes(report: &mut Report) -> Result<()> {
    for (name, path) in [("usaged", daemon::USAGED), ("usagectl", daemon::USAGECTL)] {
        let bytes = std::fs::metadata(path).with_context(|| format!("no {path}"))?.len();
        report.line(&format!("size of {name}"), bytes, Unit::Bytes, Some(Budget::at_most(8_000_000)))?;
    }
    Ok(())
}

fn memory(report: &mut Report, daemon: &Daemon, when: &str, budget: Option<Budget>) -> Result<()> {
    let memory = daemon.process().memory()?;
    report.line(&format!("resident, {when}"), memory.resident, Unit::Bytes, budget)?;
    report.line(&format!("  its own share (PSS), {when}"), memory.proportional, Unit::Bytes, budget)?;
    report.line(&format!("  not backed by a file, {when}"), memory.anonymous, Unit::Bytes, None)
}

/// Scaled to a minute. A look that is shorter may hold no sample, or one for much of a minute.
fn idle_stretch(report: &mut Report, daemon: &Daemon, stretch: Duration) -> Result<()> {
    let process = daemon.process();
    let (before, began) = (process.effort()?, Instant::now());
    std::thread::sleep(stretch);
    let spent = process.effort()?.since(&before);
    let took = began.elapsed();
    let a_minute = |amount: u64| numbers::per(amount, MINUTE, took);
    let budget = Some(Budget::under(50_000));
    report.line("CPU in an idle minute, by the scheduler", a_minute(spent.run_us), Unit::Micros, budget)?;
    report.line("CPU in an idle minute, /proc/PID/stat", a_minute(spent.stat_us), Unit::Micros, budget)?;
    let wakes = numbers::per(spent.wakes.saturating_mul(1_000), Duration::from_secs(1), took);
    report.line("wake-ups a second, idle", wakes, Unit::Thousandths, None)?;
    report.line("threads", process.threads()?, Unit::Count, None)
}
