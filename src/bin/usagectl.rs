//! `usagectl`, see [`usaged::cli`].

use std::io::{IsTerminal as _, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use usaged::cli::{Sockets, Surroundings, run};

fn main() -> ExitCode {
    let terminal = stdout().is_terminal();
    let surroundings = Surroundings {
        socket: std::env::var_os("USAGED_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from),
        sockets: default_sockets(),
        colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        width: 80,
    };
    run(std::env::args_os(), &mut stdout().lock(), &mut stderr().lock(), &surroundings).into()
}

/// Where daemons listen: the service first, then this user's own.
fn default_sockets() -> Sockets {
    let service = PathBuf::from("/run/usaged/usaged.sock");
    let uid = rustix::process::geteuid();
    let user = || PathBuf::from(format!("/run/user/{}", uid.as_raw()));
    let user = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(user, PathBuf::from);
    let sandbox = user.join("usaged-sandbox/usaged.sock");
    if uid.is_root() {
        return Sockets { ordinary: vec![service], sandbox };
    }
    Sockets { ordinary: vec![service, user.join("usaged/usaged.sock")], sandbox }
}
