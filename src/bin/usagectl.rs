//! `usagectl`, see [`usaged::cli`].

use std::io::{IsTerminal as _, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use terminal_size::{Height, Width, terminal_size_of};
use usaged::cli::{Size, Sockets, Surroundings, has_unicode, local, run, show_service};
use usaged::clock::{Clock as _, SystemClock};
use usaged::config::{self, Environment, Overrides};

fn main() -> ExitCode {
    let terminal = stdout().is_terminal();
    let surroundings = Surroundings {
        socket: std::env::var_os("USAGED_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from),
        sockets: default_sockets(),
        watched: || stderr().is_terminal(),
        terminal,
        colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) && !is_dumb(),
        unicode: has_unicode(|name| std::env::var_os(name)),
        size,
        local,
        environment: Environment::of_process(),
        clock: || SystemClock.read(),
        show_service,
    };
    run(std::env::args_os(), &mut stdout().lock(), &mut stderr().lock(), &surroundings).into()
}

/// A terminal that obeys nothing, as an editor's.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The terminal's, else what fits everywhere.
fn size() -> Size {
    let usual = Size { width: 80, height: 24 };
    match terminal_size_of(stdout()) {
        // A serial line does not know how large what hangs on it is.
        Some((Width(width), Height(height))) if width > 0 && height > 0 => {
            Size { width: width.into(), height: height.into() }
        }
        _ => usual,
    }
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
