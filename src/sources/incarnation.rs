//! By what a container knows itself again (rule M1).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Machine, SourceError};

/// In the runtime directory: our random mark, gone when the container is made anew.
const MARK: &str = "incarnation";
/// In the runtime directory: process 1's start time, left by the unit's root step where `/proc` is hidden.
const HANDED_IN: &str = "pid1-start";

/// The runtime directory's mark and process 1's start time. Both must match for two readings to be subtracted, since
/// boot id and monotonic clock are the host's. Where either cannot be read the mark is new, so that a baseline starts.
pub(super) fn container_mark(machine: &Machine, runtime_dir: &Path) -> Result<String, SourceError> {
    let fresh = fresh_mark()?;
    let start = pid1_start(machine).or_else(|| handed_in(runtime_dir));
    match (start, kept_mark(runtime_dir, &fresh)) {
        (Some(start), Ok(mark)) => Ok(format!("{mark}.{start}")),
        _ => Ok(fresh),
    }
}

/// The mark in the runtime directory, which becomes `fresh` if there is none or it is damaged.
fn kept_mark(runtime_dir: &Path, fresh: &str) -> io::Result<String> {
    let path = runtime_dir.join(MARK);
    match std::fs::read_to_string(&path) {
        Ok(mark) if is_mark(&mark) => return Ok(mark),
        Ok(_) => std::fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(fresh.as_bytes())?;
    Ok(fresh.to_owned())
}

fn is_mark(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn fresh_mark() -> Result<String, SourceError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| SourceError::NoRandom(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Field 22 of `/proc/1/stat`. The name before it may hold anything, so fields are counted from its closing bracket.
fn pid1_start(machine: &Machine) -> Option<u64> {
    let stat = machine.try_read("proc/1/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn handed_in(runtime_dir: &Path) -> Option<u64> {
    std::fs::read_to_string(runtime_dir.join(HANDED_IN)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::machine::tests::{machine, put};
    use super::*;

    const STAT: &str = "1 (a) b) S 0 0 0 0 -1 4194560 34 74 0 5 70 341 15 34 10 -10 13 0 242424 46292992 3699\n";

    fn container() -> (tempfile::TempDir, Machine) {
        machine(&[("proc/sys/kernel/random/boot_id", "b\n"), ("run/.containerenv", ""), ("proc/1/stat", STAT)])
    }

    #[test]
    fn m1_the_same_container_is_known_again() {
        let (_dir, machine) = container();
        let runtime = tempfile::tempdir().unwrap();
        let first = machine.incarnation(runtime.path()).unwrap();
        assert!(first.is_container && first.container_mark.ends_with(".242424"), "{first:?}");
        assert_eq!(machine.incarnation(runtime.path()).unwrap(), first);
        let mode = std::fs::metadata(runtime.path().join(MARK)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn m1_another_process_one_or_another_runtime_directory_is_another_incarnation() {
        let (_dir, machine) = container();
        let runtime = tempfile::tempdir().unwrap();
        let first = machine.incarnation(runtime.path()).unwrap();
        put(&machine, "proc/1/stat", &STAT.replace("242424", "242425"));
        assert_ne!(machine.incarnation(runtime.path()).unwrap(), first);
        put(&machine, "proc/1/stat", STAT);
        assert_ne!(machine.incarnation(tempfile::tempdir().unwrap().path()).unwrap(), first);
    }

    #[test]
    fn m1_where_either_cannot_be_read_every_start_is_a_new_incarnation() {
        let (_dir, machine) = container();
        let nowhere = Path::new("/nonexistent/usaged");
        assert_ne!(machine.incarnation(nowhere).unwrap(), machine.incarnation(nowhere).unwrap());
        let runtime = tempfile::tempdir().unwrap();
        std::fs::remove_file(machine.root.join("proc/1/stat")).unwrap();
        assert_ne!(machine.incarnation(runtime.path()).unwrap(), machine.incarnation(runtime.path()).unwrap());
    }

    #[test]
    fn m1_a_start_time_handed_in_stands_for_a_hidden_one() {
        let (_dir, machine) = container();
        std::fs::remove_file(machine.root.join("proc/1/stat")).unwrap();
        let runtime = tempfile::tempdir().unwrap();
        std::fs::write(runtime.path().join(HANDED_IN), "77\n").unwrap();
        let first = machine.incarnation(runtime.path()).unwrap();
        assert!(first.container_mark.ends_with(".77"));
        assert_eq!(machine.incarnation(runtime.path()).unwrap(), first);
    }

    #[test]
    fn a_damaged_mark_is_replaced() {
        let (_dir, machine) = container();
        let runtime = tempfile::tempdir().unwrap();
        std::fs::write(runtime.path().join(MARK), "half").unwrap();
        let first = machine.incarnation(runtime.path()).unwrap();
        assert_eq!(machine.incarnation(runtime.path()).unwrap(), first);
    }

    #[test]
    fn a_machine_has_no_container_mark() {
        let (_dir, machine) = machine(&[("proc/sys/kernel/random/boot_id", "b\n")]);
        let runtime = tempfile::tempdir().unwrap();
        let incarnation = machine.incarnation(runtime.path()).unwrap();
        assert_eq!((incarnation.container_mark.as_str(), incarnation.is_container), ("", false));
        assert!(!runtime.path().join(MARK).exists());
    }
}
