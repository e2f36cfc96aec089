//! How long a person waits: for the daemon to start, and for `usagectl status`.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::daemon::{Daemon, Place, USAGECTL};
use super::numbers::{median, micros, percentile};
use super::provider::FakeProvider;
use super::report::{Budget, Report, Unit};

const STARTS: usize = 9;
const LOOKS: usize = 50;

/// From the start of the process to its first answer, without a ledger and with one.
pub(crate) fn starts(report: &mut Report, provider: &FakeProvider) -> Result<()> {
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let place = Place::new(provider)?;
        for times in [&mut new, &mut again] {
            let began = Instant::now();
            let mut daemon = Daemon::start(&place)?;
            times.push(micros(began.elapsed()));
            daemon.stop()?;
        }
    }
    report.line("first start to first answer, median", median(&new), Unit::Micros, None)?;
    report.line("later start to first answer, median", median(&again), Unit::Micros, None)
}

/// The whole process, as a shell sees it.
pub(crate) fn status(report: &mut Report, daemon: &Daemon, name: &str) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..LOOKS {
        let mut command = Command::new(USAGECTL);
        command.arg("--socket").arg(daemon.socket()).arg("status").stdin(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let answer = command.output()?;
        times.push(micros(began.elapsed()));
        // 5 is an answer too: something needs a person.
        ensure!(matches!(answer.status.code(), Some(0 | 5)), "usagectl status ended with {}", answer.status);
        ensure!(!answer.stdout.is_empty(), "usagectl status said nothing");
    }
    report.line(&format!("usagectl {name}, median"), median(&times), Unit::Micros, Some(Budget::under(20_000)))?;
    report.line(&format!("usagectl {name}, p99"), percentile(&times, 99), Unit::Micros, None)
}
