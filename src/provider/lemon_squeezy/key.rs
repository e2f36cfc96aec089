//! The API key: checked once, shown by its last four characters, never otherwise.
//!
//! It is a JSON Web Token, so nothing in it tells people apart what it may do, or test from live mode.

use secrecy::ExposeSecret;

use crate::config::ApiKey;
use crate::provider::ProviderError;
use crate::provider::secret::Secret;

/// Longer than any key that was seen.
const BYTES_MAX: usize = 4_096;

/// What the keys of another provider begin with: the most likely mistake.
const STRIPE: [&str; 4] = ["sk_", "rk_", "pk_", "whsec_"];

/// Refuses what cannot be a key, in words that do not repeat it.
pub(super) fn check(key: &ApiKey) -> Result<Secret, ProviderError> {
    let unusable = |why| ProviderError::LemonSqueezyKeyUnusable { from: key.from.clone(), why };
    let text = key.secret.expose_secret();
    if text.is_empty() {
        return Err(unusable("it is empty"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(unusable("it contains a space, a line break or a control character"));
    }
    if STRIPE.iter().any(|prefix| text.starts_with(prefix)) {
        return Err(unusable("it is one of Stripe's"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.len() > BYTES_MAX || !text.chars().all(fits) || text.split('.').filter(|part| !part.is_empty()).count() != 3
    {
        return Err(unusable("it is not three parts of letters, digits, - and _ with dots between them"));
    }
    Ok(Secret::new(key.secret.clone(), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Secret, ProviderError> {
        check(&ApiKey { secret: text.into(), from: "environment LEMONSQUEEZY_API_KEY".into() })
    }

    #[test]
    fn a_key_is_shown_by_its_last_four_characters() {
        let key = checked("eyJ0eXAi.eyJhdWQi.c2lnbmF0-dXJl_1234").unwrap();
        assert_eq!(key.label(), "…1234");
        assert!(!format!("{key:?}").contains("eyJ0"));
        assert!(checked(&format!("a.b.{}", "z".repeat(BYTES_MAX - 4))).is_ok());
    }

    #[test]
    fn a_refused_key_is_named_by_its_place_and_never_repeated() {
        for text in [
            "",
            "zebra",
            "zebra.zebra",
            "zebra.zebra.zebra.zebra",
            "zebra..zebra",
            "zebra.zebra.ze bra",
            "zebra.zebra.zebra\n",
            "zebra.zebra.zebrä",
            "sk_live_zebra",
            "rk_test_zebra.zebra.zebra",
            &format!("zebra.zebra.{}", "z".repeat(BYTES_MAX)),
        ] {
            let error = checked(text).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("environment LEMONSQUEEZY_API_KEY"), "{said}");
            assert!(!said.contains("zebr"), "{said}");
        }
    }
}
