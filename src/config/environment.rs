//! What the process was started with: variables and the user's directories, read once at the edge.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::Fault;

/// The variables and directories everything else here is worked out from. Given in, so that a reload sees the same
/// world as the start did and tests need not touch the process.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    user: Option<UserDirectories>,
}

/// Where this user's programs keep things (XDG).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDirectories {
    /// As `~/.config/usaged`.
    pub config: PathBuf,
    /// As `~/.local/state/usaged`.
    pub state: PathBuf,
    /// As `/run/user/1000/usaged`; absent outside a login session.
    pub runtime: Option<PathBuf>,
}

impl UserDirectories {
    fn of_process() -> Option<Self> {
        let project = directories::ProjectDirs::from("", "", "usaged")?;
        Some(Self {
            config: project.config_dir().to_owned(),
            state: project.state_dir()?.to_owned(),
            runtime: project.runtime_dir().map(PathBuf::from),
        })
    }
}

impl Environment {
    /// This process's own.
    #[must_use]
    pub fn of_process() -> Self {
        Self { variables: std::env::vars_os().collect(), user: UserDirectories::of_process() }
    }

    /// A made-up one.
    #[must_use]
    pub fn of(variables: &[(&str, &str)], user: Option<UserDirectories>) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, user }
    }

    /// The same without anything that belongs to a real billing account: for the sandbox, which has keys and ids of
    /// its own and must never see those.
    #[must_use]
    pub fn without_billing(mut self) -> Self {
        self.variables.retain(|name, _| {
            name != "CREDENTIALS_DIRECTORY"
                && !name.to_str().is_some_and(|name| name.starts_with("STRIPE_") || name.starts_with("LEMONSQUEEZY_"))
        });
        self
    }

    /// The user's directories; absent where there is no home.
    #[must_use]
    pub fn user_directories(&self) -> Option<&UserDirectories> {
        self.user.as_ref()
    }

    /// A path in a variable. Empty is absent; of several, joined by colons as systemd does, the first.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.variables.get(OsStr::new(name))?;
        std::env::split_paths(value).next().filter(|path| !path.as_os_str().is_empty())
    }

    /// The trimmed text of a variable; absent where it is empty or no text.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        self.text(name, &mut Vec::new())
    }

    /// The trimmed text of a variable. Empty is absent, so that a template line `NAME=` may stay as it is.
    pub(super) fn text(&self, name: &str, faults: &mut Vec<Fault>) -> Option<String> {
        let value = self.variables.get(OsStr::new(name))?;
        let Some(value) = value.to_str() else {
            faults.push(Fault::outside(
                format!("environment {name}"),
                "is not valid text (UTF-8)",
                format!("set {name} again, copied from the provider's dashboard"),
            ));
            return None;
        };
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Environment").field("names", &names).field("user", &self.user).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn empty_variables_are_absent() {
        let env = Environment::of(&[("A", ""), ("B", "  "), ("C", " c \n")], None);
        let mut faults = Vec::new();
        let read: Vec<_> = ["A", "B", "C", "D"].map(|name| env.text(name, &mut faults)).into_iter().flatten().collect();
        assert_eq!(read, ["c"]);
        assert_eq!(env.path("A"), None);
        assert_eq!(faults, []);
    }

    #[test]
    fn without_billing_neither_key_nor_ids_are_left() {
        let env = Environment::of(
            &[("STRIPE_API_KEY", "k"), ("STRIPE_CUSTOMER_ID", "c"), ("CREDENTIALS_DIRECTORY", "/c"), ("HOME", "/h")],
            None,
        );
        let left: Vec<_> = env.without_billing().variables.into_keys().collect();
        assert_eq!(left, ["HOME"]);
    }

    #[test]
    fn of_several_directories_the_first_is_taken() {
        let env = Environment::of(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], None);
        assert_eq!(env.path("STATE_DIRECTORY"), Some("/var/lib/a".into()));
    }

    #[test]
    fn a_variable_that_is_not_text_is_a_fault_that_names_it() {
        let mut env = Environment::default();
        env.variables.insert("ID".into(), OsString::from_vec(vec![0xff]));
        let mut faults = Vec::new();
        assert_eq!(env.text("ID", &mut faults), None);
        assert_eq!(faults[0].key, "environment ID");
    }

    #[test]
    fn debug_output_never_holds_a_value() {
        let env = Environment::of(&[("STRIPE_API_KEY", "sk_live_abc")], None);
        let shown = format!("{env:?}");
        assert!(shown.contains("STRIPE_API_KEY") && !shown.contains("sk_live"), "{shown}");
    }
}
