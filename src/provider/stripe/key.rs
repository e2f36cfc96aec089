//! The API key: checked once, shown by its prefix and last four characters, never otherwise.

use secrecy::ExposeSecret;

use crate::config::ApiKey;
use crate::provider::ProviderError;
use crate::provider::secret::Secret;

const PREFIXES: [&str; 4] = ["rk_test_", "rk_live_", "sk_test_", "sk_live_"];

/// A key that has the shape of one.
#[derive(Debug)]
pub(super) struct Key {
    secret: Secret,
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
        Ok(Self { secret: Secret::new(key.secret.clone(), prefix), live: prefix.ends_with("live_") })
    }

    /// What is left to know of it once it is checked.
    pub(super) fn into_secret(self) -> Secret {
        self.secret
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
            assert_eq!((key.livemode(), key.into_secret().label()), (live, label));
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
            &format!("rk_test_zebra{}", "z".repeat(496)),
        ] {
            let error = check(text).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("environment STRIPE_API_KEY"), "{said}");
            assert!(!said.contains("zebr"), "{said}");
        }
    }

    #[test]
    fn a_key_may_be_long_and_have_lines_below_its_letters() {
        for rest in ["z".repeat(500), "a_b".to_owned()] {
            assert!(check(&format!("rk_test_{rest}")).is_ok());
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert!(!format!("{:?}", check("rk_test_zebrazebra12").unwrap()).contains("zebra"));
    }
}
