//! What is wrong with a configuration, all of it at once.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, and how it is put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line in the configuration file, from 1; absent where the fault is not in that file.
    pub line: Option<usize>,
    /// The setting, as `schedule.sample_every`, or the variable or file it concerns. Empty for a syntax error.
    pub key: String,
    /// What is wrong with it, never quoting a secret.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault outside the configuration file: in a variable, or another file.
    pub(super) fn outside(key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line: None, key: key.into(), what: what.into(), hint: Some(hint.into()) }
    }
}

/// Every fault of one attempt to read the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults {
    /// The configuration file.
    pub file: PathBuf,
    /// At least one, in the order of the file, then those outside it.
    pub faults: Vec<Fault>,
}

impl ConfigFaults {
    pub(super) fn new(file: PathBuf, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        Self { file, faults }
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some(line) = fault.line {
                write!(f, "{}:{line}: ", self.file.display())?;
            }
            if !fault.key.is_empty() {
                write!(f, "{}: ", fault.key)?;
            }
            f.write_str(&fault.what)?;
            if let Some(hint) = &fault.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_listed_by_line_with_their_hints_and_those_outside_the_file_last() {
        let at =
            |line, key: &str| Fault { line, key: key.into(), what: "is wrong".into(), hint: Some("mend it".into()) };
        let faults = ConfigFaults::new(
            "/etc/u.toml".into(),
            vec![at(None, "environment X"), at(Some(9), ""), at(Some(2), "a.b")],
        );
        assert_eq!(
            faults.to_string(),
            "/etc/u.toml:2: a.b: is wrong\n  hint: mend it\n\
             /etc/u.toml:9: is wrong\n  hint: mend it\n\
             environment X: is wrong\n  hint: mend it"
        );
    }
}
