//! `usagectl`, see [`usaged::cli`].

use std::io::{IsTerminal as _, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use usaged::cli::{Sockets, Surroundings, run, show_service};
use usaged::clock::{Clock as _, SystemClock};
use usaged::config::{self, Environment, Overrides};

fn main() -> ExitCode {
    let terminal = stdout().is_terminal();
    let surroundings = Surroundings {
        socket: std::env::var_os("USAGED_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from),
        sockets: default_sockets(),
        colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        width: 80,
        watched: stderr().is_terminal(),
        environment: Environment::of_process(),
        clock: || SystemClock.read(),
        show_service,
    };
    run(std::env::args_os(), &mut stdout().lock(), &mut stderr().lock(), &surroundings).into()
}

/// Where daemons listen, as the daemon itself finds its place.
fn default_sockets() -> Sockets {
    let env = Environment::of_process();
    let is_root = rustix::process::geteuid().is_root();
    let found = |sandbox| config::sockets(&env, is_root, &Overrides::default(), sandbox);
    let mut trial = found(true);
    let ordinary = found(false).into_iter().filter(|path| !trial.contains(path)).collect();
    // The user's own sandbox comes first.
    Sockets { ordinary, sandbox: if trial.is_empty() { PathBuf::new() } else { trial.swap_remove(0) } }
}
