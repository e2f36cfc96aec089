//! Why the machine's service does not answer, as systemd tells it, and the command that changes it.

use std::process::{Command, Stdio};

/// Asks systemd.
pub(super) type Show = fn() -> Option<String>;

const ASK: [&str; 3] = ["show", "usaged.service", "--property=LoadState,ActiveState,Result,ExecMainStatus"];

/// Lines of `Property=value`; `None` where there is no systemd.
#[must_use]
pub fn show() -> Option<String> {
    let said = Command::new("systemctl").args(ASK).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}

/// What to do about it. `None` where starting it is all there is to do.
pub(super) fn hint(show: Show) -> Option<String> {
    let said = show()?;
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let hint = match (value("LoadState"), value("ActiveState"), value("ExecMainStatus")) {
        ("masked", ..) => "the service is masked: sudo systemctl unmask usaged && sudo systemctl start usaged",
        ("not-found", ..) => "there is no usaged.service on this machine; to try it: usaged run --sandbox",
        // Tried again and again, so it is most often found between two tries, for a moment of which it is inactive.
        (_, "failed" | "activating" | "inactive", "216") => {
            "the service's group is missing: sudo groupadd --system --gid $(id -g usaged) usaged && \
             sudo systemctl restart usaged"
        }
        (_, "failed" | "activating" | "inactive", "217") => {
            "the service's user is missing: sudo systemd-sysusers usaged.conf && sudo chown -R usaged: /var/lib/usaged && \
             sudo chgrp usaged /etc/usaged/usaged.toml && sudo systemctl restart usaged"
        }
        (_, "activating" | "reloading", _) => "it is just starting; what it waits for: systemctl status usaged",
        (_, "deactivating", _) => "it is just stopping; afterwards: sudo systemctl start usaged",
        (_, "active", _) => "the service runs and its socket is gone: sudo systemctl restart usaged",
        (_, "failed", "78") => {
            "the service gave up, since starting again would change nothing; what is wrong: journalctl -u usaged -n 20 \
             (for the configuration alone: sudo usaged check-config); then: sudo systemctl start usaged"
        }
        (_, "failed", _) => "the service failed: journalctl -u usaged -n 50; then: sudo systemctl start usaged",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_the_service_has_its_own_way_out() {
        let masked = || Some("LoadState=masked\nActiveState=inactive\nExecMainStatus=0\n".to_owned());
        assert!(hint(masked).unwrap().contains("unmask"));
        let faulty = || Some("LoadState=loaded\nActiveState=failed\nResult=exit-code\nExecMainStatus=78\n".to_owned());
        assert!(hint(faulty).unwrap().contains("check-config"));
        let no_group = || Some("LoadState=loaded\nActiveState=activating\nExecMainStatus=216\n".to_owned());
        assert!(hint(no_group).unwrap().contains("groupadd"));
        let between = || Some("LoadState=loaded\nActiveState=inactive\nExecMainStatus=216\n".to_owned());
        assert!(hint(between).unwrap().contains("groupadd"));
        let killed = || Some("LoadState=loaded\nActiveState=failed\nResult=oom-kill\nExecMainStatus=9\n".to_owned());
        assert!(hint(killed).unwrap().contains("journalctl"));
        let stopped = || Some("LoadState=loaded\nActiveState=inactive\nExecMainStatus=0\n".to_owned());
        assert_eq!(hint(stopped), None, "starting it is all there is to do");
        assert_eq!(hint(|| None), None);
    }
}
