//! Something a person should know about, with what to do.

use serde::{Deserialize, Serialize};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know; nothing has to be done.
    Note,
    /// Needs someone: `usagectl status` exits 5 while one stands.
    Problem,
}

impl Severity {
    /// As it is written everywhere.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// A named state of affairs. Stands until what caused it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// A stable word for programs, as `provider_key_refused`.
    pub code: String,
    /// Which of several things it is about, as an item or a meter: two of one code are two states of affairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, on what, why: one sentence.
    pub what: String,
    /// The next command or setting.
    pub hint: String,
}

impl Problem {
    /// A state that needs someone.
    #[must_use]
    pub fn needs_someone(code: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(code, Severity::Problem, what.into(), hint.into())
    }

    /// A state that is good to know.
    #[must_use]
    pub fn note(code: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(code, Severity::Note, what.into(), hint.into())
    }

    fn new(code: &str, severity: Severity, what: String, hint: String) -> Self {
        Self { code: code.to_owned(), about: None, severity, what, hint }
    }

    /// The same, about one thing among several.
    #[must_use]
    pub fn about(self, about: impl Into<String>) -> Self {
        Self { about: Some(about.into()), ..self }
    }

    /// What it is about; empty where there is only one.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.about.as_deref().unwrap_or_default()
    }
}

/// Takes a message for people apart: what it says, and what it hints at on a line of its own.
#[must_use]
pub fn split_hint(said: &str) -> (&str, Option<&str>) {
    match said.split_once("\nhint: ") {
        Some((what, hint)) => (what.trim_end(), Some(hint.trim())),
        None => (said, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_falls_apart_into_what_is_wrong_and_what_to_do() {
        assert_eq!(split_hint("it is full\nhint: free space"), ("it is full", Some("free space")));
        assert_eq!(split_hint("no hint: none"), ("no hint: none", None));
    }
}
