//! The API key: checked once, shown by its prefix and last four characters, never otherwise.

use secrecy::{ExposeSecret, SecretString};

use crate::config::ApiKey;
use crate::provider::ProviderError;

const PREFIXES: [&str; 4] = ["rk_test_", "rk_live_", "sk_test_", "sk_live_"];

/// With fewer characters after the prefix, the last four would give too much of it away.
const SHOWN_FROM_CHARS: usize = 12;

/// A key that has the shape of one.
#[derive(Debug)]
pub(super) struct Key {
    secret: SecretString,
    label: String,
    live: bool,
}

impl Key {
    /// Refuses what cannot be a key, in words that do not repeat it.
    pub(super) fn check(key: &ApiKey) -> Result<Self, ProviderError> {
        let unusable = |why| ProviderError::KeyUnusable { from: key.from.clone(), why };
        let text = key.secret.expose_secret();
        if text.is_empty() {
            return Err(unusable("it is empty"));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(unusable("it contains a space, a line break or a control character"));
        }
        if text.starts_with("pk_") {
            return Err(unusable("it is a publishable key, which cannot write usage"));
        }
        if text.starts_with("whsec_") {
            return Err(unusable("it is a webhook signing secret"));
        }
        let Some(prefix) = PREFIXES.into_iter().find(|prefix| text.starts_with(prefix)) else {
            return Err(unusable("it does not start like a secret or restricted key"));
        };
        let rest = text.strip_prefix(prefix).unwrap_or_default();
        if rest.is_empty() || rest.len() > 500 || !rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(unusable("what follows its prefix is empty, too long, or not letters and digits"));
        }
        let last_four = rest.len().checked_sub(4).and_then(|start| rest.get(start..)).unwrap_or_default();
        let shown = if rest.len() >= SHOWN_FROM_CHARS { last_four } else { "" };
        Ok(Self { secret: key.secret.clone(), label: format!("{prefix}…{shown}"), live: prefix.ends_with("live_") })
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

    pub(super) fn livemode(&self) -> bool {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Key, ProviderError> {
        Key::check(&ApiKey { secret: text.into(), from: "environment STRIPE_API_KEY".into() })
    }

    #[test]
    fn a_key_is_shown_by_its_prefix_and_last_four_characters() {
        for (text, label, live) in [
            ("rk_test_abcdefgh1234", "rk_test_…1234", false),
            ("sk_live_abcdefgh9876", "sk_live_…9876", true),
            ("sk_test_123", "sk_test_…", false),
        ] {
            let key = check(text).unwrap();
            assert_eq!((key.label(), key.livemode()), (label, live));
        }
    }

    #[test]
    fn a_refused_key_is_named_by_its_place_and_never_repeated() {
        for text in [
            "",
            "secret-zebra",
            "pk_test_zebra",
            "whsec_zebra",
            "rk_test_zebra zebra",
            "rk_test_zebra\n",
            "sk_live_",
            "rk_test_zebrä",
        ] {
            let error = check(text).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("environment STRIPE_API_KEY"), "{said}");
            assert!(!said.contains("zebr"), "{said}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert!(!format!("{:?}", check("rk_test_zebrazebra12").unwrap()).contains("zebra"));
    }

    #[test]
    fn an_echoed_key_is_taken_out() {
        let key = check("rk_test_zebrazebra12").unwrap();
        assert_eq!(key.redact(b"bad rk_test_zebrazebra12!".to_vec()), "bad rk_test_…ra12!".as_bytes());
        assert_eq!(key.redact(b"\xff untouched".to_vec()), b"\xff untouched");
    }
}
