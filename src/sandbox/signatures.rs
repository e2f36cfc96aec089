//! How a delivery proves who sent it. <https://docs.stripe.com/webhooks#verify-manually>

use ring::hmac;

/// HMAC-SHA256 over a text, in hexadecimal. The whole secret is the key, its prefix included.
pub(super) fn sign(secret: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, text.as_bytes());
    let digits = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// The signature of a body under one secret, as `v1` carries it.
pub(super) fn version_one(secret: &str, at: i64, body: &str) -> String {
    sign(secret, &format!("{at}.{body}"))
}

/// `Stripe-Signature`: the time, and one `v1` for each secret that is valid.
pub(super) fn header<'a>(secrets: impl IntoIterator<Item = &'a str>, at: i64, body: &str) -> String {
    let signed = secrets.into_iter().map(|secret| format!(",v1={}", version_one(secret, at, body)));
    format!("t={at}{}", signed.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_official_sdks_compute() {
        let wanted = "d8a286dd972656da1a0951761dca1f1da2a7fa5777155629d5a54583d66a009d";
        assert_eq!(header(["whsec_test_secret"], 12_345, "payload"), format!("t=12345,v1={wanted}"));
    }
}
