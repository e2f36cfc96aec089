//! The body of `usaged check-config`.

use super::{Environment, Paths, load};

/// What to print, and how to exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Lines of text: `OK` and notes, or every fault.
    pub text: String,
    /// 0 where the configuration is good, else 1.
    pub exit_code: u8,
}

/// Reads the configuration exactly as the daemon would, and says what came of it.
#[must_use]
pub fn check(paths: &Paths, env: &Environment) -> Checked {
    match load(paths, env) {
        Ok(loaded) => {
            let notes = loaded.notes.iter().map(|note| format!("\nnote: {note}"));
            let problems = loaded.problems.iter().map(|p| format!("\nproblem: {}\n  hint: {}", p.what, p.hint));
            Checked { text: format!("OK{}", problems.chain(notes).collect::<String>()), exit_code: 0 }
        }
        Err(faults) => Checked { text: faults.to_string(), exit_code: 1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reading;

    fn checked(text: &str) -> Checked {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("usaged.toml");
        std::fs::write(&config, text).unwrap();
        let paths = Paths { state: "/s".into(), runtime: "/r".into(), config, reading: Reading::Named };
        check(&paths, &Environment::default())
    }

    #[test]
    fn a_good_configuration_is_ok_with_its_notes() {
        let Checked { text, exit_code } = checked("clock = \"trusted\"");
        assert_eq!(exit_code, 0);
        assert!(text.starts_with("OK\nnote: Nothing is billed"), "{text}");
    }

    #[test]
    fn a_faulty_one_is_answered_with_every_fault() {
        let Checked { text, exit_code } = checked("clok = \"auto\"\nplan = 7\n");
        assert_eq!(exit_code, 1);
        assert!(text.contains("usaged.toml:1: clok: is not a setting\n  hint: did you mean `clock`?\n"), "{text}");
        assert!(text.contains("usaged.toml:2: plan: is 7; expected text"), "{text}");
    }
}
