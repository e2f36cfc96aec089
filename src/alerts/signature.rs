//! By what a receiver knows that a request is from here.

use ring::hmac;

/// As `t=1764000000,v1=…`: HMAC-SHA-256 of the time, a dot and the body, in hexadecimal digits. The time is the
/// sender's, so that a receiver can refuse what somebody else kept and sends again later.
#[must_use]
pub fn sign(secret: &[u8], at_s: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{at_s}.").as_bytes());
    context.update(body);
    let digits = context.sign().as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    format!("t={at_s},v1={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By another program: printf '1764000000.{"a":1}' | openssl dgst -sha256 -hmac hush
    #[test]
    fn a_signature_is_what_openssl_makes_of_the_same() {
        let signed = sign(b"hush", 1_764_000_000, b"{\"a\":1}");
        assert_eq!(signed, "t=1764000000,v1=6d6f6abeeb0c0f514ede45d7171212d2704fe557f0f5f12ba79d34677194281d");
        assert_ne!(sign(b"hush", 1_764_000_001, b"{\"a\":1}"), signed);
    }
}
