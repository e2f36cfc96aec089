use std::path::PathBuf;

/// The machine's own account files. Directory services (LDAP and the like) are not asked: that would take a C library's
/// resolver into the process; their users are known by their primary group alone.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    passwd: PathBuf,
    group: PathBuf,
}

impl Accounts {
    /// `/etc/passwd` and `/etc/group`.
    pub(super) fn of_this_machine() -> Self {
        Self { passwd: PathBuf::from("/etc/passwd"), group: PathBuf::from("/etc/group") }
    }

    /// The login name of a user id.
    pub(super) fn name_of(&self, uid: u32) -> Option<String> {
        let text = std::fs::read_to_string(&self.passwd).ok()?;
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id = fields.nth(1)?;
            (id.parse() == Ok(uid)).then(|| name.to_owned())
        })
    }

    fn gid_of(&self, group: &str) -> Option<u32> {
        let text = std::fs::read_to_string(&self.group).ok()?;
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == group).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    }

    /// Whether a user belongs to a group, by its primary group id or by name.
    pub(super) fn belongs(&self, group: &str, gid: u32, name: Option<&str>) -> bool {
        let Ok(text) = std::fs::read_to_string(&self.group) else { return false };
        text.lines().any(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [found, _, id, members] = fields.as_slice() else { return false };
            *found == group
                && (id.parse() == Ok(gid)
                    || name.is_some_and(|name| members.split(',').any(|member| member.trim() == name)))
        })
    }
}

/// The id of a group of this machine.
pub(super) fn gid_of(group: &str) -> Option<u32> {
    Accounts::of_this_machine().gid_of(group)
}

/// Whether this machine has a group.
#[must_use]
pub fn has_group(group: &str) -> bool {
    gid_of(group).is_some()
}

#[cfg(test)]
impl Accounts {
    /// Account files of a test.
    pub(super) fn at(passwd: PathBuf, group: PathBuf) -> Self {
        Self { passwd, group }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(dir: &tempfile::TempDir) -> Accounts {
        let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
        std::fs::write(&passwd, "root:x:0:0::/root:/bin/sh\napp:x:1001:1001::/:/bin/false\n").unwrap();
        std::fs::write(&group, "root:x:0:\nusaged:x:990:app,web\nbroken line\nother:x:991:\n").unwrap();
        Accounts::at(passwd, group)
    }

    #[test]
    fn members_are_found_by_name_and_by_primary_group() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = accounts(&dir);
        assert_eq!(accounts.name_of(1001).as_deref(), Some("app"));
        assert!(accounts.belongs("usaged", 1001, Some("app")));
        assert!(accounts.belongs("usaged", 990, None));
        assert!(!accounts.belongs("usaged", 1001, Some("ap")));
        assert!(!accounts.belongs("other", 1001, Some("app")));
        assert!(!accounts.belongs("nosuch", 1001, Some("app")));
        assert_eq!((accounts.gid_of("usaged"), accounts.gid_of("usage")), (Some(990), None));
    }

    #[test]
    fn unreadable_account_files_let_nobody_in() {
        let accounts = Accounts::at("/nonexistent/passwd".into(), "/nonexistent/group".into());
        assert_eq!(accounts.name_of(0), None);
        assert!(!accounts.belongs("usaged", 0, Some("root")));
    }
}
