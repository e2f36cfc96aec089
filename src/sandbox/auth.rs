//! Who asks, and what that key may do.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use super::call::Call;
use super::errors::ApiError;

/// The account every key belongs to.
const ACCOUNT: &str = "acct_usagedsandbox";

/// A key that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    text: String,
    /// `None`: a secret key, which may do everything.
    permissions: Option<Vec<String>>,
}

/// Checks the `Authorization` header. Any well-formed `sk_test_` key is let in; a restricted one must be known.
pub(super) fn authenticate(books: &Connection, header: Option<&str>) -> Result<Key, ApiError> {
    let Some(text) = header.and_then(key_of) else {
        return Err(ApiError::unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using \
             Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication \
             for details, or we can help at https://support.stripe.com/.",
        ));
    };
    let refused = || ApiError::unauthorized(format!("Invalid API Key provided: {}", redact(&text)));
    let rest = |prefix| text.strip_prefix(prefix).filter(|rest: &&str| is_well_formed(rest));
    if rest("sk_test_").is_some() {
        return Ok(Key { text, permissions: None });
    }
    rest("rk_test_").ok_or_else(refused)?;
    let sql = "SELECT permissions FROM keys WHERE key = ?1";
    let stored: Option<String> = books.query_row(sql, [&text], |row| row.get(0)).optional()?;
    let stored = stored.ok_or_else(refused)?;
    let permissions = serde_json::from_str(&stored)?;
    Ok(Key { text, permissions: Some(permissions) })
}

/// Registers a restricted key, or changes what it may do.
pub(super) fn register(books: &Connection, key: &str, permissions: &[String]) -> Result<(), ApiError> {
    if !key.strip_prefix("rk_test_").is_some_and(is_well_formed) {
        return Err(ApiError::malformed("a restricted key is rk_test_ and letters and digits"));
    }
    let permissions = serde_json::to_string(permissions)?;
    books.execute("INSERT OR REPLACE INTO keys (key, permissions) VALUES (?1, ?2)", params![key, permissions])?;
    Ok(())
}

/// `GET /v1/account`.
pub(super) fn account(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(json!({
        "id": ACCOUNT,
        "object": "account",
        "charges_enabled": true,
        "country": "DE",
        "default_currency": "eur",
        "details_submitted": true,
        "payouts_enabled": true,
        "type": "standard",
    }))
}

impl Key {
    /// Refuses where the permission is missing. To be allowed to write is to be allowed to read.
    pub(super) fn require(&self, permission: &str) -> Result<(), ApiError> {
        let Some(held) = &self.permissions else { return Ok(()) };
        let write = permission.strip_suffix("_read").map(|noun| format!("{noun}_write"));
        if held.iter().any(|one| one == permission || Some(one) == write.as_ref()) {
            return Ok(());
        }
        Err(ApiError::forbidden(format!(
            "The provided key '{}' does not have the required permissions for this endpoint on account '{ACCOUNT}'. \
             Having the 'rak_{permission}' permission would allow this request to continue.",
            redact(&self.text)
        )))
    }

    /// As it may be shown.
    pub(super) fn shown(&self) -> String {
        redact(&self.text)
    }
}

fn key_of(header: &str) -> Option<String> {
    let (scheme, value) = header.trim().split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned()).filter(|key| !key.is_empty());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(base64(value)?).ok()?;
        let user = decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user);
        return Some(user.to_owned()).filter(|key| !key.is_empty());
    }
    None
}

fn is_well_formed(rest: &str) -> bool {
    !rest.is_empty() && rest.len() <= 248 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The kind of the key and its last four characters; never more than that.
fn redact(key: &str) -> String {
    let prefix = ["sk_test_", "sk_live_", "rk_test_", "rk_live_", "pk_test_", "pk_live_"];
    let prefix = prefix.into_iter().find(|prefix| key.starts_with(prefix)).unwrap_or("");
    let rest: Vec<char> = key.chars().skip(prefix.len()).collect();
    let hidden = rest.len().saturating_sub(4).min(40);
    let tail: String =
        if rest.len() > 8 { rest.iter().skip(rest.len().saturating_sub(4)).collect() } else { String::new() };
    format!("{prefix}{}{tail}", "*".repeat(hidden.max(4)))
}

/// Base64 of RFC 4648, as Basic credentials carry it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut bytes) = (0_u32, 0_u32, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        bits = (bits << 6) | u32::from(digit(byte)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::books::in_memory;
    use super::*;

    #[test]
    fn test_keys_are_let_in_as_bearer_and_as_basic_user() {
        let books = in_memory();
        assert!(authenticate(&books, Some("Bearer sk_test_abc")).is_ok());
        // sk_test_abc: with an empty password, as curl -u sends it.
        assert!(authenticate(&books, Some("Basic c2tfdGVzdF9hYmM6")).is_ok());
    }

    #[test]
    fn every_other_key_is_refused_and_never_shown() {
        let books = in_memory();
        for key in
            ["sk_live_abcdefgh1234", "pk_test_abcdefgh1234", "rk_test_unknown12345678", "secretsecret", "sk_test_a b"]
        {
            let error = authenticate(&books, Some(&format!("Bearer {key}"))).unwrap_err();
            assert_eq!(error.status, 401);
            assert!(error.message.starts_with("Invalid API Key provided: "), "{}", error.message);
            assert!(!error.message.contains(key), "{}", error.message);
        }
        for header in [None, Some("Bearer "), Some("sk_test_abc"), Some("Digest x")] {
            assert!(authenticate(&books, header).unwrap_err().message.starts_with("You did not provide an API key."));
        }
    }

    #[test]
    fn a_restricted_key_lacks_what_it_was_not_given_and_hears_its_name() {
        let books = in_memory();
        register(&books, "rk_test_vm", &["subscription_read".to_owned(), "usage_record_write".to_owned()]).unwrap();
        let key = authenticate(&books, Some("Bearer rk_test_vm")).unwrap();
        assert!(key.require("subscription_read").is_ok() && key.require("usage_record_read").is_ok());
        let error = key.require("subscription_write").unwrap_err();
        assert_eq!(error.status, 403);
        assert!(error.message.contains("'rak_subscription_write'"), "{}", error.message);
    }
}
