//! Who may ask, and where things lie for a user without root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Process, Vm, clean, run, until};

/// Somebody who owns nothing here.
const SOMEBODY: u32 = 54_321;

/// A user's home, with the programs where that user may execute them.
struct Home {
    dir: TempDir,
    uid: Option<u32>,
}

impl Home {
    /// Of another user where this one is root; else of this one.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().is_root().then_some(SOMEBODY);
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        chown(dir.path(), uid, uid).unwrap();
        Self { dir, uid }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// One of our programs, as this user runs it.
    fn command(&self, program: &str) -> Command {
        let mut command = clean(program);
        command.env("HOME", self.path()).current_dir(self.path());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }
}

/// A program that everybody may execute: the original lies below directories that may be closed to others.
fn reachable(program: &str, beside: &Path) -> PathBuf {
    let copy = beside.join(Path::new(program).file_name().unwrap());
    if !copy.exists() {
        std::fs::copy(program, &copy).unwrap();
    }
    copy
}

#[test]
fn without_root_and_without_a_word_everything_lies_in_the_users_own_directories() {
    let home = Home::new();
    let tools = tempfile::tempdir().unwrap();
    std::fs::set_permissions(tools.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let usaged = reachable(env!("CARGO_BIN_EXE_usaged"), tools.path());
    let usagectl = reachable(env!("CARGO_BIN_EXE_usagectl"), tools.path());
    let daemon = Process::start(home.command(usaged.to_str().unwrap()).args(["run", "--sandbox"]));
    let status = until("usagectl finds it", || {
        let said = run(home.command(usagectl.to_str().unwrap()).args(["status", "-v"]));
        if said.code == 0 { Ok(said) } else { Err(format!("{said:?}\n{}", daemon.output())) }
    });
    assert!(status.err.starts_with("sandbox mode"), "where no real agent answers, that is said: {status:?}");
    let database = home.path().join(".local/state/usaged/sandbox/usage.db");
    assert!(status.out.contains(database.to_str().unwrap()), "{status:?}");
    let mode = database.parent().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else looks into it");
    let recorded = run(home.command(usagectl.to_str().unwrap()).args(["--sandbox", "record", "api_credits", "5"]));
    assert_eq!((recorded.code, &*recorded.err), (0, ""), "{recorded:?}");
    daemon.stop();
}

#[test]
fn a_user_who_may_not_is_told_what_is_lacking() {
    let home = Home::new();
    if home.uid.is_none() {
        eprintln!("SKIPPED: asking as another user; only root can");
        return;
    }
    let tools = tempfile::tempdir().unwrap();
    std::fs::set_permissions(tools.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let usagectl = reachable(env!("CARGO_BIN_EXE_usagectl"), tools.path());
    let vm = Vm::unbilled();
    std::fs::set_permissions(vm.dir(), PermissionsExt::from_mode(0o755)).unwrap();
    let _daemon = vm.start();
    for line in ["status", "record api_credits 1 --id a"] {
        let words = line.split(' ');
        let said = run(home.command(usagectl.to_str().unwrap()).arg("--socket").arg(vm.socket()).args(words));
        assert_eq!((said.code, &*said.out), (4, ""), "{said:?}");
        assert!(
            said.err.contains("members of the group usaged") && said.err.contains("usermod -aG usaged"),
            "{said:?}"
        );
    }
    assert_eq!(vm.query::<i64>("SELECT count(*) FROM credit"), 0);
}
