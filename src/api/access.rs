use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiError;
use super::accounts::Accounts;
use crate::wire::RECORD_GROUP;

/// Who asks, as the kernel says (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Nothing.
    Stranger,
    /// Read and record.
    Recorder,
    /// Everything.
    Commander,
}

/// Who may do what, by the caller's peer credentials. The socket's mode keeps most others out already, but it says
/// nothing of who may command, and a group can lose a member that still has a process in it.
#[derive(Debug, Clone)]
pub struct Access {
    owners: Vec<u32>,
    command_group: Option<String>,
    accounts: Accounts,
}

impl Access {
    /// Root and the daemon's own user may do everything, as may members of `command_group`; members of
    /// [`RECORD_GROUP`] may read and record; others nothing.
    #[must_use]
    pub fn new(own_uid: u32, command_group: Option<String>) -> Self {
        Self { owners: vec![0, own_uid], command_group, accounts: Accounts::of_this_machine() }
    }

    /// What this caller may do, now.
    #[must_use]
    pub fn rank(&self, caller: Caller) -> Rank {
        self.guest(caller).rank
    }

    pub(super) fn guest(&self, caller: Caller) -> Guest {
        let mut guest = Guest { caller, rank: Rank::Commander, name: None, command_group: self.command_group.clone() };
        if self.owners.contains(&caller.uid) {
            return guest;
        }
        guest.name = self.accounts.name_of(caller.uid);
        let belongs = |group: &str| self.accounts.belongs(group, caller.gid, guest.name.as_deref());
        guest.rank = if self.command_group.as_deref().is_some_and(belongs) {
            Rank::Commander
        } else if belongs(RECORD_GROUP) {
            Rank::Recorder
        } else {
            Rank::Stranger
        };
        guest
    }
}

/// A caller with its rank, carried by every request of a connection.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) caller: Caller,
    pub(super) rank: Rank,
    name: Option<String>,
    command_group: Option<String>,
}

impl Guest {
    /// Lets a caller read and record, or says what it lacks.
    pub(super) fn may_use(&self) -> Result<(), ApiError> {
        if self.rank >= Rank::Recorder {
            return Ok(());
        }
        let error = format!("{self} is not in the group {RECORD_GROUP}");
        let name = self.name.as_deref().unwrap_or("USER");
        let hint = format!("sudo usermod -aG {RECORD_GROUP} {name}, or run it with sudo");
        Err(ApiError::forbidden(error).hint(hint))
    }

    /// Lets a caller command, or says what it lacks.
    pub(super) fn may_command(&self, what: &str) -> Result<(), ApiError> {
        self.may_use()?;
        if self.rank >= Rank::Commander {
            return Ok(());
        }
        let error = format!("{self} may read and record, but not {what}");
        Err(ApiError::forbidden(error).hint(match &self.command_group {
            Some(group) => format!("run it with sudo, or join the group {group} (command_group)"),
            None => "run it with sudo, or name a group of commanders: command_group in usaged.toml".to_owned(),
        }))
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "user {name} (uid {})", self.caller.uid),
            None => write!(f, "the user with uid {}", self.caller.uid),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Guest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("the caller's credentials are missing"))
    }
}

#[cfg(test)]
impl Access {
    /// Access where nobody is trusted for being root or the daemon's own user.
    pub(super) fn without_owners(
        command_group: Option<String>,
        passwd: &std::path::Path,
        group: &std::path::Path,
    ) -> Self {
        Self { owners: Vec::new(), command_group, accounts: Accounts::at(passwd.into(), group.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(dir: &tempfile::TempDir, command_group: Option<&str>) -> Access {
        let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
        std::fs::write(&passwd, "app:x:1001:1001::/:\nops:x:1002:1002::/:\nweb:x:1003:1003::/:\n").unwrap();
        std::fs::write(&group, "usaged:x:990:app\nbilling:x:991:ops\n").unwrap();
        Access::without_owners(command_group.map(str::to_owned), &passwd, &group)
    }

    #[test]
    fn groups_decide_who_records_and_who_commands() {
        let dir = tempfile::tempdir().unwrap();
        let access = access(&dir, Some("billing"));
        let rank = |uid| access.rank(Caller { uid, gid: uid });
        assert_eq!((rank(1001), rank(1002), rank(1003)), (Rank::Recorder, Rank::Commander, Rank::Stranger));
    }

    #[test]
    fn root_and_the_daemons_own_user_may_do_everything() {
        let access = Access::new(4_000_000_001, None);
        for uid in [0, 4_000_000_001] {
            assert_eq!(access.rank(Caller { uid, gid: 4_000_000_009 }), Rank::Commander);
        }
        assert_eq!(access.rank(Caller { uid: 4_000_000_002, gid: 4_000_000_009 }), Rank::Stranger);
    }

    #[test]
    fn a_refusal_names_the_group_that_would_help() {
        let dir = tempfile::tempdir().unwrap();
        let guest = access(&dir, Some("billing")).guest(Caller { uid: 1003, gid: 1003 });
        let refused = guest.may_use().unwrap_err();
        assert!(refused.body.error.contains("group usaged"), "{refused:?}");
        let guest = access(&dir, Some("billing")).guest(Caller { uid: 1001, gid: 1001 });
        guest.may_use().unwrap();
        let refused = guest.may_command("link").unwrap_err();
        assert!(refused.body.hint.unwrap().contains("group billing"));
    }
}
