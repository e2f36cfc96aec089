//! Files beside the configuration that hold the key and that others may open. systemd reads them as root whatever their
//! mode, so nothing stops working; the key is just not secret.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{ApiKey, Paths};
use crate::model::Problem;

/// The code of the problem.
pub const KEY_EXPOSED: &str = "key_exposed";

/// Looks at the file that the key came from by way of systemd.
#[must_use]
pub fn exposed_key(key: Option<&ApiKey>, paths: &Paths) -> Option<Problem> {
    let name = match key?.from.split_once(' ')? {
        ("credential", name) => name,
        ("environment", _) => "usaged.env",
        _ => return None,
    };
    let path = paths.config.with_file_name(name);
    let mode = mode(&path)?;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        Problem::needs_someone(
            KEY_EXPOSED,
            format!("{path} holds the provider's key and is open to others (mode {mode:04o})"),
            format!("sudo chown root:root {path} && sudo chmod 0600 {path}; and replace the key if somebody may have read it"),
        )
    })
}

/// `None` where it is not there, or not to be seen.
fn mode(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reading;

    fn exposed(from: &str, file: &str, mode: u32) -> Option<Problem> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), "sk_test_x").unwrap();
        std::fs::set_permissions(dir.path().join(file), std::fs::Permissions::from_mode(mode)).unwrap();
        let config = dir.path().join("usaged.toml");
        let paths = Paths { state: "/s".into(), runtime: "/r".into(), config, reading: Reading::IfThere };
        exposed_key(Some(&ApiKey { secret: "sk_test_x".to_owned().into(), from: from.to_owned() }), &paths)
    }

    #[test]
    fn a_key_in_a_file_that_others_may_open_is_named_with_the_command_that_closes_it() {
        for (from, file) in
            [("credential stripe_api_key", "stripe_api_key"), ("environment STRIPE_API_KEY", "usaged.env")]
        {
            let problem = exposed(from, file, 0o644).unwrap();
            assert!(problem.what.contains("mode 0644") && problem.hint.contains("chmod 0600"), "{problem:?}");
            assert_eq!(exposed(from, file, 0o600), None);
            assert_eq!(exposed(from, "elsewhere", 0o644), None, "it came another way");
        }
    }

    #[test]
    fn without_a_key_nothing_is_exposed() {
        let paths = Paths { state: "/s".into(), runtime: "/r".into(), config: "/c".into(), reading: Reading::Never };
        assert_eq!(exposed_key(None, &paths), None);
    }
}
