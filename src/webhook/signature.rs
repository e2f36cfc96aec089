//! Whether the provider signed a body.
//!
//! Stripe: <https://docs.stripe.com/webhooks#verify-manually>; Lemon Squeezy:
//! <https://docs.lemonsqueezy.com/help/webhooks/signing-requests>.

use ring::hmac::{HMAC_SHA256, Key, verify};
use secrecy::{ExposeSecret, SecretString};

/// A signature from longer ago may be a replay. As in Stripe's own libraries.
pub const TOLERANCE_S: i64 = 300;

/// So many signatures are looked at: Stripe sends one for each secret in force, two while one is rolled.
const SIGNATURES_MAX: usize = 8;

/// Why a body is not let in. Says nothing of the secret, nor of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing to check it by.
    #[error("no signing secret is configured")]
    NoSecret,
    /// There is no such header, or it has no time or no signature of a scheme we know.
    #[error("the signature's header is missing or not understood")]
    Unsigned,
    /// It was signed with something else, or is not what was signed.
    #[error("the signature does not fit the body")]
    Forged,
    /// It was signed too long ago.
    #[error("the signature is older than 5 minutes")]
    Old,
}

/// Checks a `Stripe-Signature`, as `t=1700000000,v1=…`. Any of its `v1` may fit any of the secrets, so that a secret can be
/// rolled; other schemes are ignored.
///
/// # Errors
/// Whatever does not fit.
pub fn stripe(secrets: &[SecretString], header: Option<&str>, body: &[u8], now_s: i64) -> Result<(), Refused> {
    if secrets.is_empty() {
        return Err(Refused::NoSecret);
    }
    let (signed_at, signatures) = parse(header.ok_or(Refused::Unsigned)?).ok_or(Refused::Unsigned)?;
    let signed = [signed_at.to_string().as_bytes(), b".", body].concat();
    if !any_fits(secrets, &signatures, &signed) {
        return Err(Refused::Forged);
    }
    // Only what was signed is believed about its time.
    if now_s.saturating_sub(signed_at) > TOLERANCE_S { Err(Refused::Old) } else { Ok(()) }
}

/// Checks an `X-Signature`: the whole body's, in hexadecimal digits. It has no time.
///
/// # Errors
/// Whatever does not fit.
pub fn lemon_squeezy(secrets: &[SecretString], header: Option<&str>, body: &[u8]) -> Result<(), Refused> {
    if secrets.is_empty() {
        return Err(Refused::NoSecret);
    }
    let signature = header.and_then(unhex).ok_or(Refused::Unsigned)?;
    if any_fits(secrets, &[signature], body) { Ok(()) } else { Err(Refused::Forged) }
}

/// In constant time for each pair.
fn any_fits(secrets: &[SecretString], signatures: &[[u8; 32]], signed: &[u8]) -> bool {
    secrets.iter().any(|secret| {
        let key = Key::new(HMAC_SHA256, secret.expose_secret().as_bytes());
        signatures.iter().any(|signature| verify(&key, signed, signature).is_ok())
    })
}

/// The time and the signatures; `None` without either. Stripe's libraries take the last `t` of several; there is one.
fn parse(header: &str) -> Option<(i64, Vec<[u8; 32]>)> {
    let fields = || header.split(',').filter_map(|field| field.trim().split_once('='));
    let signed_at = fields().find(|(name, _)| *name == "t")?.1.parse().ok()?;
    let signatures: Vec<_> =
        fields().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| unhex(hex)).take(SIGNATURES_MAX).collect();
    (!signatures.is_empty()).then_some((signed_at, signatures))
}

/// 64 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hex;

    const V1: &str = "d8a286dd972656da1a0951761dca1f1da2a7fa5777155629d5a54583d66a009d";
    const BODY: &[u8] = b"payload";
    const NOW: i64 = 12_345;

    fn secrets(of: &[&str]) -> Vec<SecretString> {
        of.iter().map(|secret| SecretString::from(*secret)).collect()
    }

    fn checked(header: &str) -> Result<(), Refused> {
        stripe(&secrets(&["whsec_test_secret"]), Some(header), BODY, NOW)
    }

    #[test]
    fn a_known_signature_is_found_good_among_others() {
        for header in [
            format!("t=12345,v1={V1}"),
            format!("v1={V1},t=12345"),
            format!("t=12345, v1={V1}"),
            format!("t=12345,v1={V1},v1=potato"),
            format!("t=12345,v1=potato,v1={V1}"),
            format!("t=12345,v1={},v1={V1}", "0".repeat(64)),
            format!("t=12345,v0={},v1={V1}", "0".repeat(64)),
            format!("t=12345,v1={}", V1.to_ascii_uppercase()),
            format!("t=12345,nonsense,v1={V1},=,x="),
        ] {
            assert_eq!(checked(&header), Ok(()), "{header}");
        }
    }

    #[test]
    fn a_header_without_a_time_or_a_signature_is_refused() {
        for header in [
            String::new(),
            "t=".to_owned(),
            "t=12345".to_owned(),
            "v1,t=1".to_owned(),
            "t=12345,v1".to_owned(),
            "t=12345,v1=potato".to_owned(),
            format!("t=12345,v0={V1}"),
            format!("v1={V1}"),
            format!("t=,v1={V1}"),
            format!("t=twelve,v1={V1}"),
            format!("t=99999999999999999999,v1={V1}"),
            format!("t=12345,v1=+{}", &V1[1..]),
            format!("t=12345,v1={}ä", &V1[2..]),
        ] {
            assert_eq!(checked(&header), Err(Refused::Unsigned), "{header}");
        }
        assert_eq!(stripe(&secrets(&["whsec_test_secret"]), None, BODY, NOW), Err(Refused::Unsigned));
    }

    #[test]
    fn what_was_not_signed_so_is_refused() {
        let header = format!("t=12345,v1={V1}");
        let secret = secrets(&["whsec_test_secret"]);
        assert_eq!(stripe(&secret, Some(&header), b"payload ", NOW), Err(Refused::Forged));
        assert_eq!(stripe(&secret, Some(&format!("t=12346,v1={V1}")), BODY, NOW), Err(Refused::Forged));
        assert_eq!(stripe(&secrets(&["whsec_other"]), Some(&header), BODY, NOW), Err(Refused::Forged));
        // The whole secret is the key, its prefix included.
        assert_eq!(stripe(&secrets(&["test_secret"]), Some(&header), BODY, NOW), Err(Refused::Forged));
        let many = format!("t=12345{},v1={V1}", format!(",v1={}", "0".repeat(64)).repeat(SIGNATURES_MAX));
        assert_eq!(checked(&many), Err(Refused::Forged), "who sends hundreds has them not all looked at");
    }

    #[test]
    fn a_signature_is_good_for_five_minutes() {
        let header = format!("t=12345,v1={V1}");
        let secret = secrets(&["whsec_test_secret"]);
        for (now_s, expected) in [
            (NOW + 300, Ok(())),
            (NOW + 301, Err(Refused::Old)),
            (i64::MAX, Err(Refused::Old)),
            (NOW - 3_600, Ok(())),
            (i64::MIN, Ok(())),
        ] {
            assert_eq!(stripe(&secret, Some(&header), BODY, now_s), expected, "{now_s}");
        }
    }

    #[test]
    fn while_a_secret_is_rolled_either_will_do() {
        let header = format!("t=12345,v1={V1}");
        for both in [["whsec_new", "whsec_test_secret"], ["whsec_test_secret", "whsec_new"]] {
            assert_eq!(stripe(&secrets(&both), Some(&header), BODY, NOW), Ok(()));
        }
    }

    #[test]
    fn without_a_secret_nothing_is_let_in() {
        let empty = ring::hmac::sign(&Key::new(HMAC_SHA256, b""), b"12345.payload");
        let hex = hex(empty.as_ref());
        assert_eq!(stripe(&[], Some(&format!("t=12345,v1={hex}")), BODY, NOW), Err(Refused::NoSecret));
        assert_eq!(lemon_squeezy(&[], Some(&hex), BODY), Err(Refused::NoSecret));
    }

    #[test]
    fn lemon_squeezy_signs_the_body_alone() {
        let secret = secrets(&["a-secret"]);
        let tag = ring::hmac::sign(&Key::new(HMAC_SHA256, b"a-secret"), BODY);
        let hex = hex(tag.as_ref());
        assert_eq!(lemon_squeezy(&secret, Some(&hex), BODY), Ok(()));
        assert_eq!(lemon_squeezy(&secret, Some(&hex), b"other"), Err(Refused::Forged));
        for header in [None, Some(""), Some("potato"), Some(&hex[1..])] {
            assert_eq!(lemon_squeezy(&secret, header, BODY), Err(Refused::Unsigned), "{header:?}");
        }
    }
}
