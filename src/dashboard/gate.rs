use ring::hmac::{HMAC_SHA256, Key, sign};
use secrecy::{ExposeSecret as _, SecretString};

use crate::model::hex;

/// A session ends after so long, and the token is asked for again.
pub(super) const SESSION_S: i64 = 12 * 3_600;

/// Cookies know no ports, so the name must be nobody else's.
pub(super) const COOKIE: &str = "usaged_page";

/// Who is let in. With a token, whoever knows it; without one everybody who gets here, as behind a web server that has asked
/// already.
pub struct Gate {
    key: Key,
    token: Option<SecretString>,
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session(String);

impl Gate {
    /// `random` signs what is handed out where there is no token. With one it is the token that signs, so that a restart ends
    /// no session and another token ends all of them.
    #[must_use]
    pub fn new(token: Option<SecretString>, random: [u8; 32]) -> Self {
        let key = match &token {
            Some(token) => Key::new(HMAC_SHA256, token.expose_secret().as_bytes()),
            None => Key::new(HMAC_SHA256, &random),
        };
        Self { key, token }
    }

    pub(super) fn asks(&self) -> bool {
        self.token.is_some()
    }

    /// The cookie's value for whoever knows the token.
    pub(super) fn admit(&self, token: &str, now_s: i64) -> Option<String> {
        let wanted = self.token.as_ref()?;
        if !self.is_alike(token, wanted.expose_secret()) {
            return None;
        }
        let until = now_s.saturating_add(SESSION_S);
        Some(format!("{until}.{}", self.signed(&format!("session {until}"))))
    }

    /// By all that came as `Cookie`.
    pub(super) fn session<'a>(&self, mut cookies: impl Iterator<Item = &'a str>, now_s: i64) -> Option<Session> {
        if !self.asks() {
            return Some(Session(String::new()));
        }
        cookies.find_map(|line| line.split(';').find_map(|pair| self.known(pair.trim(), now_s)))
    }

    fn known(&self, pair: &str, now_s: i64) -> Option<Session> {
        let value = pair.strip_prefix(COOKIE)?.strip_prefix('=')?;
        let (until, signature) = value.split_once('.')?;
        let is_ours = self.is_alike(signature, &self.signed(&format!("session {until}")));
        (is_ours && until.parse::<i64>().ok()? > now_s).then(|| Session(value.to_owned()))
    }

    /// What a form of this session carries, which no other page can know.
    pub(super) fn form_token(&self, session: &Session) -> String {
        self.signed(&format!("form {}", session.0))
    }

    /// Whether a form is one of this session's.
    pub(super) fn is_form(&self, session: &Session, given: &str) -> bool {
        self.is_alike(given, &self.form_token(session))
    }

    fn signed(&self, what: &str) -> String {
        hex(sign(&self.key, what.as_bytes()).as_ref())
    }

    /// How long it takes tells nothing of either: what is compared is their hashes.
    fn is_alike(&self, a: &str, b: &str) -> bool {
        sign(&self.key, a.as_bytes()).as_ref() == sign(&self.key, b.as_bytes()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token that nobody guesses";
    const NOW: i64 = 1_800_000_000;

    fn gate() -> Gate {
        Gate::new(Some(TOKEN.into()), [0; 32])
    }

    fn session(gate: &Gate, cookie: &str, now_s: i64) -> Option<Session> {
        gate.session([cookie].into_iter(), now_s)
    }

    #[test]
    fn whoever_knows_the_token_is_let_in_until_the_session_ends() {
        let value = gate().admit(TOKEN, NOW).unwrap();
        assert!(!value.contains(TOKEN));
        let cookie = format!("other=1; {COOKIE}={value}; more=2");
        assert!(session(&gate(), &cookie, NOW + SESSION_S - 1).is_some(), "also after a restart");
        assert_eq!(session(&gate(), &cookie, NOW + SESSION_S), None);
        for wrong in ["", "a token", "a token that nobody guesses "] {
            assert_eq!(gate().admit(wrong, NOW), None, "{wrong}");
        }
    }

    #[test]
    fn a_cookie_that_was_not_handed_out_lets_nobody_in() {
        let value = gate().admit(TOKEN, NOW).unwrap();
        let (until, signature) = value.split_once('.').unwrap();
        let later = format!("{COOKIE}={}.{signature}", until.parse::<i64>().unwrap() + 1);
        for bad in
            [&*later, &format!("{COOKIE}={until}."), COOKIE, "", &format!("x{COOKIE}={value}"), &format!("{COOKIE}=.")]
        {
            assert_eq!(session(&gate(), bad, NOW), None, "{bad}");
        }
        let other = Gate::new(Some("another token that nobody guesses".into()), [0; 32]);
        assert_eq!(session(&other, &format!("{COOKIE}={value}"), NOW), None);
    }

    #[test]
    fn a_form_is_of_one_session_only() {
        let gate = gate();
        let at = |now_s| session(&gate, &format!("{COOKIE}={}", gate.admit(TOKEN, now_s).unwrap()), now_s).unwrap();
        let (one, other) = (at(NOW), at(NOW + 1));
        assert!(gate.is_form(&one, &gate.form_token(&one)) && !gate.is_form(&one, &gate.form_token(&other)));
        assert!(!gate.is_form(&one, "") && !gate.is_form(&one, &one.0));
    }

    #[test]
    fn without_a_token_everybody_is_let_in_and_forms_are_still_this_pages_own() {
        let gate = Gate::new(None, [7; 32]);
        assert_eq!(gate.admit("", NOW), None);
        let anybody = session(&gate, "", NOW).unwrap();
        let form = gate.form_token(&anybody);
        assert!(gate.is_form(&anybody, &form) && !Gate::new(None, [8; 32]).is_form(&anybody, &form));
    }
}
