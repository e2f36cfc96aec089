//! Whether this is a container.

use super::Machine;

/// Says yes if any of the usual marks is there. A container that carries none of them, and whose process 1 cannot be
/// looked at, is taken for a machine.
pub(super) fn is_one(machine: &Machine) -> bool {
    const MARKS: [&str; 3] = ["run/systemd/container", ".dockerenv", "run/.containerenv"];
    let environment = machine.try_read("proc/1/environ").unwrap_or_default();
    let told = environment.split('\0').any(|variable| {
        variable.strip_prefix("container=").is_some_and(|kind| !kind.is_empty())
            || variable.starts_with("KUBERNETES_SERVICE_HOST=")
    });
    told || MARKS.iter().any(|mark| machine.root.join(mark).exists())
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::machine;
    use super::*;

    #[test]
    fn each_mark_alone_is_enough() {
        for mark in [
            ("run/systemd/container", "lxc"),
            (".dockerenv", ""),
            ("run/.containerenv", ""),
            ("proc/1/environ", "PATH=/bin\0container=podman\0"),
            ("proc/1/environ", "KUBERNETES_SERVICE_HOST=10.0.0.1\0"),
        ] {
            let (_dir, container) = machine(&[mark]);
            assert!(is_one(&container), "{mark:?}");
        }
    }

    #[test]
    fn a_machine_is_no_container() {
        let (_dir, plain) = machine(&[("proc/1/environ", "HOME=/\0my_container=x\0container=\0")]);
        assert!(!is_one(&plain));
    }
}
