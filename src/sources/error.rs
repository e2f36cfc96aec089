//! What can go wrong with a reading.

use std::path::PathBuf;

/// Why there is no reading. None of these ends the daemon: the next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file of the kernel cannot be read.
    #[error("cannot read {path}: {source}\nhint: {hint}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// A file of the kernel says something unheard of.
    #[error(
        "{path} does not hold {expected}\nhint: this kernel is not known to usaged; choose another source for the meter"
    )]
    Unexpected {
        /// Which file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// The control group is not there.
    #[error(
        "meter {meter}: there is no control group {path} below /sys/fs/cgroup\nhint: is its service running? `systemd-cgls` shows the paths; set cgroup under [meters.{meter}], as in \"system.slice/app.service\""
    )]
    NoCgroup {
        /// The meter that names it.
        meter: String,
        /// As configured.
        path: String,
    },
    /// The control group's path leaves the hierarchy.
    #[error(
        "meter {meter}: control group {path:?} is not a path below /sys/fs/cgroup\nhint: set cgroup under [meters.{meter}] without \"..\", as in \"system.slice/app.service\""
    )]
    BadCgroup {
        /// The meter that names it.
        meter: String,
        /// As configured.
        path: String,
    },
    /// Busy time inside of a container is the host's.
    #[error(
        "meter {meter}: source \"cpu\" in a container would count the whole host's CPU time\nhint: set source = \"cgroup\" and cgroup = \"…\" under [meters.{meter}]"
    )]
    CpuInContainer {
        /// The meter that wants it.
        meter: String,
    },
    /// No random numbers.
    #[error("the system gives no random numbers: {0}\nhint: see that getrandom(2) is allowed for this service")]
    NoRandom(String),
}
