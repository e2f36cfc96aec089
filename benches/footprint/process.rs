//! A process as `/proc` shows it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The unit of the times in `/proc/PID/stat`: hundredths of a second on every Linux this runs on.
const TICK_US: u64 = 10_000;

/// One process.
pub(crate) struct Process {
    directory: PathBuf,
}

/// Bytes.
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) anonymous: u64,
}

/// What a process has done since it started.
pub(crate) struct Effort {
    /// By `schedstat`, exact, of the threads that live.
    pub(crate) run_us: u64,
    /// By `stat`, in steps of 10 ms, with the threads that ended.
    pub(crate) stat_us: u64,
    /// Voluntary context switches: it waited, and was woken.
    pub(crate) wakes: u64,
}

impl Effort {
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            run_us: self.run_us.saturating_sub(before.run_us),
            stat_us: self.stat_us.saturating_sub(before.stat_us),
            wakes: self.wakes.saturating_sub(before.wakes),
        }
    }
}

impl Process {
    pub(crate) fn of(pid: u32) -> Self {
        Self { directory: format!("/proc/{pid}").into() }
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let text = self.read("smaps_rollup")?;
        let bytes = |name| field(&text, name).map(|kib| kib.saturating_mul(1_024));
        Ok(Memory { resident: bytes("Rss:")?, proportional: bytes("Pss:")?, anonymous: bytes("Anonymous:")? })
    }

    /// The most that was ever resident, bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        field(&self.read("status")?, "VmHWM:").map(|kib| kib.saturating_mul(1_024))
    }

    pub(crate) fn threads(&self) -> Result<u64> {
        field(&self.read("status")?, "Threads:")
    }

    pub(crate) fn effort(&self) -> Result<Effort> {
        let (mut run_us, mut wakes) = (0_u64, 0_u64);
        for task in fs::read_dir(self.directory.join("task"))? {
            let task = Self { directory: task?.path() };
            let nanos: u64 = task.read("schedstat")?.split_whitespace().next().unwrap_or_default().parse()?;
            run_us = run_us.saturating_add(nanos.div_euclid(1_000));
            wakes = wakes.saturating_add(field(&task.read("status")?, "voluntary_ctxt_switches:")?);
        }
        Ok(Effort { run_us, stat_us: self.stat_us()?, wakes })
    }

    /// User and system time. The name in parentheses may hold anything, so fields are counted after it.
    fn stat_us(&self) -> Result<u64> {
        let stat = self.read("stat")?;
        let (_, after) = stat.rsplit_once(')').context("no name in stat")?;
        let times = after.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = times.sum::<Result<u64, _>>().context("no times in stat")?;
        Ok(ticks.saturating_mul(TICK_US))
    }
}

/// The number of a line that begins with its name.
fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let number = line.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("{name} is {number:?}"))
}
