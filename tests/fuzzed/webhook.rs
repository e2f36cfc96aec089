//! Webhooks: a header and a body, as anybody may send them.

use secrecy::SecretString;
use usaged::webhook::{lemon_squeezy, of_lemon_squeezy, of_stripe, stripe};

/// The first line is the header, the rest the body. What was not signed by the secret is never let in; what was is an event
/// or is named.
pub(crate) fn take(bytes: &[u8]) {
    let (header, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b""[..]),
    };
    let header = std::str::from_utf8(header).ok();
    let secrets = [SecretString::from("whsec_whichNoInputKnows")];
    assert!(stripe(&secrets, header, body, 1_793_880_000).is_err());
    assert!(lemon_squeezy(&secrets, header, body).is_err());
    assert!(stripe(&[], header, body, 1_793_880_000).is_err());
    for event in [of_stripe(body), of_lemon_squeezy(body)].into_iter().flatten() {
        assert!(!event.id.is_empty() && event.id.len() <= 255, "{event:?}");
    }
}
