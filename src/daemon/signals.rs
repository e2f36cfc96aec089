//! Signals, by signal-hook: SIGTERM and SIGINT stop, a second one stops at once, SIGHUP reads the configuration again.

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Listens from now on.
pub(super) fn listen() -> std::io::Result<mpsc::UnboundedReceiver<Asked>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (tell, asked) = mpsc::unbounded_channel();
    thread::Builder::new().name("signals".to_owned()).stack_size(128 * 1_024).spawn(move || {
        for signal in signals.forever() {
            let what = if signal == SIGHUP { Asked::Reload } else { Asked::Stop };
            if tell.send(what).is_err() {
                return;
            }
        }
    })?;
    Ok(asked)
}

/// Whether the whole system is on its way down, as systemd says: then the time until the next boot is not lost time.
pub(super) fn system_is_stopping() -> bool {
    // Of our environment, which may hold the provider's key, it gets only where programs lie.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let asked = std::process::Command::new("systemctl").env_clear().env("PATH", path).arg("is-system-running").output();
    asked.is_ok_and(|answer| answer.stdout.trim_ascii() == b"stopping")
}
