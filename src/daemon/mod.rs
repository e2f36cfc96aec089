//! `usaged`: start, run, stop. Composes the rooms; nobody imports it.
//!
//! Owns: the command line, the log, signals, the schedule, and the tasks that activate the jobs. After a crash: nothing of
//! it has to survive; the jobs go on from what the rooms have stored.

mod alerter;
mod args;
mod assemble;
mod care;
mod dashboard;
mod db;
mod desk;
mod door;
mod log;
mod metrics;
mod notify;
mod patience;
mod pusher;
mod run;
mod sampler;
#[cfg(feature = "sandbox")]
mod sandbox;
mod schedule;
mod sick;
mod signals;
mod unsent;
mod watchdog;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

pub use args::{Args, command};

/// The daemon's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: stopped as asked, or the configuration is good.
    Fine,
    /// 1: could not run on; systemd may start it again.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 78: the configuration is wrong, or usage.db is of a later version or another program; starting again changes
    /// nothing, and the unit does not.
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Config => crate::config::EXIT_BAD_CONFIG,
        })
    }
}

/// The body of `usaged`.
#[must_use]
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    args::dispatch(words)
}
