//! A provider's key: shown by a label, sent in one header, taken out of whatever comes back.

use secrecy::{ExposeSecret, SecretString};

/// With fewer characters, the last four would give too much of it away.
const SHOWN_FROM_CHARS: usize = 12;

/// A key that was checked.
#[derive(Debug)]
pub(super) struct Secret {
    secret: SecretString,
    label: String,
}

impl Secret {
    /// Shown by `prefix`, which tells nobody anything, and its last four characters.
    pub(super) fn new(secret: SecretString, prefix: &str) -> Self {
        let rest = secret.expose_secret().strip_prefix(prefix).unwrap_or_default();
        let last_four = rest.len().checked_sub(4).and_then(|start| rest.get(start..)).unwrap_or_default();
        let shown = if rest.len() >= SHOWN_FROM_CHARS { last_four } else { "" };
        let label = format!("{prefix}…{shown}");
        Self { secret, label }
    }

    /// The key itself, for the one header it goes into.
    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The text with the key taken out, should a provider or proxy have echoed it.
    pub(super) fn redact(&self, body: Vec<u8>) -> Vec<u8> {
        let key = self.expose();
        if !body.windows(key.len()).any(|window| window == key.as_bytes()) {
            return body;
        }
        String::from_utf8_lossy(&body).replace(key, &self.label).into_bytes()
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_key_is_taken_out() {
        let key = Secret::new("rk_test_zebrazebra12".into(), "rk_test_");
        assert_eq!(key.redact(b"bad rk_test_zebrazebra12!".to_vec()), "bad rk_test_…ra12!".as_bytes());
        assert_eq!(key.redact(b"\xff untouched".to_vec()), b"\xff untouched");
    }

    #[test]
    fn a_short_key_shows_nothing_of_itself() {
        for (text, prefix, label) in [
            ("sk_test_12345678901", "sk_test_", "sk_test_…"),
            ("sk_test_123456789012", "sk_test_", "sk_test_…9012"),
            ("eyJ0.abc.defg", "", "…defg"),
            ("eyJ0.a.defg", "", "…"),
        ] {
            let key = Secret::new(text.into(), prefix);
            assert_eq!(key.label(), label);
            assert!(!format!("{key:?}").contains(text));
        }
    }
}
