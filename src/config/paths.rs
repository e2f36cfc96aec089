//! Where things lie on this machine, for the daemon and for whoever looks for its socket.

use std::path::{Path, PathBuf};

use super::{Environment, Paths, Reading};

const STATE: &str = "/var/lib/usaged";
const RUNTIME: &str = "/run/usaged";
const CONFIG: &str = "/etc/usaged";
const FILE: &str = "usaged.toml";

/// What the command line says about places; each wins over everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--runtime-dir`.
    pub runtime_dir: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
}

/// Why no place was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// Neither root, nor a service, nor a user with a home.
    #[error(
        "this user has no home directory to keep things in\n  hint: set HOME, or name --state-dir and --runtime-dir"
    )]
    NoHome,
}

/// Where a real agent keeps things: what the command line or systemd says, the system's directories for root and for
/// a service, the user's own (XDG) for anybody else.
///
/// # Errors
/// There is nothing to go by.
pub fn paths(env: &Environment, is_root: bool, overrides: &Overrides) -> Result<Paths, PathsError> {
    let system = is_root || env.path("STATE_DIRECTORY").is_some() || env.path("RUNTIME_DIRECTORY").is_some();
    let user = env.user_directories().filter(|_| !system);
    let by_systemd = |named: &Option<PathBuf>, variable| named.clone().or_else(|| env.path(variable));
    let of_system = |path| system.then(|| PathBuf::from(path));
    let state = by_systemd(&overrides.state_dir, "STATE_DIRECTORY")
        .or_else(|| of_system(STATE))
        .or_else(|| user.map(|user| user.state.clone()))
        .ok_or(PathsError::NoHome)?;
    // Outside a login session there is no runtime directory. Below the state directory, unlike in /tmp, nobody else
    // can have put a socket there first.
    let runtime = by_systemd(&overrides.runtime_dir, "RUNTIME_DIRECTORY")
        .or_else(|| of_system(RUNTIME))
        .or_else(|| user.and_then(|user| user.runtime.clone()))
        .unwrap_or_else(|| state.join("run"));
    let named = overrides.config.clone().or_else(|| env.path("USAGED_CONFIG"));
    let reading = if named.is_some() { Reading::Named } else { Reading::IfThere };
    let config = named
        .or_else(|| env.path("CONFIGURATION_DIRECTORY").map(|directory| directory.join(FILE)))
        .or_else(|| user.map(|user| user.config.join(FILE)))
        .unwrap_or_else(|| Path::new(CONFIG).join(FILE));
    Ok(Paths { state, runtime, config, reading })
}

/// Where the sandbox keeps things: a `sandbox` directory inside each of the real agent's, so that neither ever opens
/// the other's ledger or socket. A configuration file is read only where one is named.
///
/// # Errors
/// As [`paths`].
pub fn sandbox_paths(env: &Environment, is_root: bool, overrides: &Overrides) -> Result<Paths, PathsError> {
    let Paths { state, runtime, config, reading } = paths(env, is_root, overrides)?;
    let reading = if reading == Reading::Named { reading } else { Reading::Never };
    Ok(Paths { state: state.join("sandbox"), runtime: runtime.join("sandbox"), config, reading })
}

/// Where to look for a daemon's socket, best first: the one that is named (`--socket`, `USAGED_SOCKET`) and no other;
/// else the user's own daemon, the system's, and last their sandboxes. `sandbox` leaves only the latter, and is not
/// overruled by the environment.
#[must_use]
pub fn sockets(env: &Environment, is_root: bool, overrides: &Overrides, sandbox: bool) -> Vec<PathBuf> {
    let by_env = || env.path("USAGED_SOCKET").filter(|_| !sandbox);
    if let Some(named) = overrides.socket.clone().or_else(by_env) {
        return vec![named];
    }
    let (nobody, nowhere) = (Environment::default(), Overrides::default());
    let mut worlds = vec![(env, is_root, overrides)];
    if overrides.runtime_dir.is_none() {
        worlds.push((&nobody, true, &nowhere));
    }
    let real = worlds.iter().filter(|_| !sandbox).map(|(env, is_root, overrides)| paths(env, *is_root, overrides));
    let trial = worlds.iter().map(|(env, is_root, overrides)| sandbox_paths(env, *is_root, overrides));
    let mut found = Vec::new();
    for socket in real.chain(trial).flatten().map(|place| place.socket()) {
        if !found.contains(&socket) {
            found.push(socket);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UserDirectories;

    fn ann(runtime: Option<&str>) -> UserDirectories {
        let runtime = runtime.map(PathBuf::from);
        UserDirectories { config: "/home/ann/c".into(), state: "/home/ann/s".into(), runtime }
    }

    fn shown(paths: &Paths) -> [&str; 3] {
        [&paths.state, &paths.runtime, &paths.config].map(|path| path.to_str().unwrap())
    }

    #[test]
    fn root_and_services_use_the_systems_directories() {
        let system = ["/var/lib/usaged", "/run/usaged", "/etc/usaged/usaged.toml"];
        let root = paths(&Environment::of(&[], Some(ann(None))), true, &Overrides::default()).unwrap();
        assert_eq!((shown(&root), root.reading), (system, Reading::IfThere));
        let service = Environment::of(&[("STATE_DIRECTORY", "/var/lib/usaged")], Some(ann(None)));
        assert_eq!(shown(&paths(&service, false, &Overrides::default()).unwrap()), system);
    }

    #[test]
    fn what_systemd_hands_in_wins_over_the_usual_places() {
        let env = Environment::of(
            &[("STATE_DIRECTORY", "/a"), ("RUNTIME_DIRECTORY", "/b"), ("CONFIGURATION_DIRECTORY", "/c")],
            Some(ann(None)),
        );
        assert_eq!(shown(&paths(&env, true, &Overrides::default()).unwrap()), ["/a", "/b", "/c/usaged.toml"]);
    }

    #[test]
    fn anybody_else_uses_directories_of_their_own() {
        let env = Environment::of(&[], Some(ann(Some("/run/user/7/usaged"))));
        let found = paths(&env, false, &Overrides::default()).unwrap();
        assert_eq!(shown(&found), ["/home/ann/s", "/run/user/7/usaged", "/home/ann/c/usaged.toml"]);
        let outside_a_session = paths(&Environment::of(&[], Some(ann(None))), false, &Overrides::default()).unwrap();
        assert_eq!(outside_a_session.runtime, Path::new("/home/ann/s/run"));
        assert_eq!(paths(&Environment::default(), false, &Overrides::default()), Err(PathsError::NoHome));
    }

    #[test]
    fn what_is_named_wins_and_then_has_to_be_there() {
        let env = Environment::of(&[("USAGED_CONFIG", "/env.toml"), ("STATE_DIRECTORY", "/a")], None);
        let by_env = paths(&env, true, &Overrides::default()).unwrap();
        assert_eq!((by_env.config.to_str(), by_env.reading), (Some("/env.toml"), Reading::Named));
        let overrides = Overrides {
            config: Some("/cli.toml".into()),
            state_dir: Some("/s".into()),
            runtime_dir: Some("/r".into()),
            socket: None,
        };
        assert_eq!(shown(&paths(&env, true, &overrides).unwrap()), ["/s", "/r", "/cli.toml"]);
    }

    #[test]
    fn the_sandbox_shares_no_directory_with_a_real_agent_and_reads_no_configuration_unasked() {
        let named = Overrides { state_dir: Some("/s".into()), ..Overrides::default() };
        for overrides in [Overrides::default(), named] {
            let env = Environment::of(&[], Some(ann(None)));
            let (real, trial) =
                (paths(&env, true, &overrides).unwrap(), sandbox_paths(&env, true, &overrides).unwrap());
            assert_eq!((trial.state, trial.runtime), (real.state.join("sandbox"), real.runtime.join("sandbox")));
            assert_eq!(trial.reading, Reading::Never);
        }
        let named = Overrides { config: Some("/x.toml".into()), ..Overrides::default() };
        let trial = sandbox_paths(&Environment::default(), true, &named).unwrap();
        assert_eq!((trial.config.to_str(), trial.reading), (Some("/x.toml"), Reading::Named));
    }

    #[test]
    fn a_named_socket_is_the_only_one_tried() {
        let env = Environment::of(&[("USAGED_SOCKET", "/env.sock")], Some(ann(None)));
        assert_eq!(sockets(&env, false, &Overrides::default(), false), [Path::new("/env.sock")]);
        let overrides = Overrides { socket: Some("/cli.sock".into()), ..Overrides::default() };
        assert_eq!(sockets(&env, false, &overrides, true), [Path::new("/cli.sock")]);
        let sandboxes = ["/home/ann/s/run/sandbox/usaged.sock", "/run/usaged/sandbox/usaged.sock"];
        assert_eq!(sockets(&env, false, &Overrides::default(), true), sandboxes.map(PathBuf::from));
    }

    #[test]
    fn a_user_finds_their_own_daemon_then_the_systems_then_a_sandbox() {
        let env = Environment::of(&[], Some(ann(Some("/run/user/7/usaged"))));
        let (own, system) = ("/run/user/7/usaged", "/run/usaged");
        let sandboxes = [format!("{own}/sandbox/usaged.sock"), format!("{system}/sandbox/usaged.sock")];
        let found = sockets(&env, false, &Overrides::default(), false);
        assert_eq!(found[..2], [Path::new(own).join("usaged.sock"), Path::new(system).join("usaged.sock")]);
        assert_eq!(found[2..], sandboxes.clone().map(PathBuf::from));
        assert_eq!(sockets(&env, false, &Overrides::default(), true), sandboxes.map(PathBuf::from));
        assert_eq!(sockets(&Environment::default(), true, &Overrides::default(), false).len(), 2);
        let there = Overrides { runtime_dir: Some("/r".into()), ..Overrides::default() };
        assert_eq!(
            sockets(&env, false, &there, false),
            ["/r/usaged.sock", "/r/sandbox/usaged.sock"].map(PathBuf::from)
        );
    }
}
