//! The provider's key: found in one of three places, checked, and never shown.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use secrecy::SecretString;

use super::{ApiKey, Environment, Fault, ProviderKind};

/// The credential that holds a provider's key.
pub(super) const fn credential(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::LemonSqueezy => "lemon_squeezy_api_key",
        _ => "stripe_api_key",
    }
}

/// The environment's variable for a provider's key.
pub(super) const fn variable(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::LemonSqueezy => "LEMONSQUEEZY_API_KEY",
        _ => "STRIPE_API_KEY",
    }
}

/// Longer than any key, so that a wrong file is not read to its end.
const LONGEST: u64 = 4_096;

/// The first that holds a key: the systemd credential, the file, the environment.
pub(super) fn find(
    env: &Environment,
    kind: ProviderKind,
    key_file: Option<&Path>,
    faults: &mut Vec<Fault>,
) -> Option<ApiKey> {
    let variable = variable(kind);
    let (key, from) = from_credential(env, credential(kind), faults)
        .or_else(|| from_file(key_file?, "provider.key_file", faults))
        .or_else(|| Some((env.text(variable, faults)?, format!("environment {variable}"))))?;
    let (trouble, hint) = if kind == ProviderKind::LemonSqueezy {
        (trouble_with_lemon_squeezy(&key), "make a key in Lemon Squeezy's settings, under API")
    } else {
        (trouble_with(&key), "copy the secret or restricted key from the Stripe dashboard")
    };
    if let Some(trouble) = trouble {
        faults.push(Fault::outside(&from, trouble, hint));
        return None;
    }
    Some(ApiKey { secret: SecretString::from(key), from })
}

/// Signing secrets of webhooks, found in the same three places. Two, apart by blanks, while one is rolled.
pub(super) fn webhook(
    env: &Environment,
    kind: ProviderKind,
    file: Option<&Path>,
    faults: &mut Vec<Fault>,
) -> Vec<SecretString> {
    let (credential, variable) = match kind {
        ProviderKind::LemonSqueezy => ("lemon_squeezy_webhook_secret", "LEMONSQUEEZY_WEBHOOK_SECRET"),
        _ => ("stripe_webhook_secret", "STRIPE_WEBHOOK_SECRET"),
    };
    let found = from_credential(env, credential, faults)
        .or_else(|| from_file(file?, "webhook.secret_file", faults))
        .or_else(|| Some((env.text(variable, faults)?, format!("environment {variable}"))));
    let Some((text, from)) = found else { return Vec::new() };
    let is_stripes = kind != ProviderKind::LemonSqueezy;
    let secrets: Vec<&str> = text.split_whitespace().collect();
    if is_stripes && secrets.iter().any(|secret| !secret.starts_with("whsec_")) {
        let what = "does not hold a signing secret: those begin with whsec_";
        faults.push(Fault::outside(from, what, "copy it from the endpoint's page in the Stripe dashboard"));
        return Vec::new();
    }
    secrets.into_iter().map(SecretString::from).collect()
}

/// What alerts are signed with: the credential, the file, the environment.
pub(super) fn alerts_secret(env: &Environment, file: Option<&Path>, faults: &mut Vec<Fault>) -> Option<SecretString> {
    let found = from_credential(env, "alerts_secret", faults)
        .or_else(|| from_file(file?, "alerts.secret_file", faults))
        .map(|(secret, _)| secret);
    found.or_else(|| env.text("USAGED_ALERTS_SECRET", faults)).map(SecretString::from)
}

/// A token that somebody could guess by trying is none.
const TOKEN_MIN: usize = 20;

/// What people log in to the usage page with: the credential, the file, the environment.
pub(super) fn dashboard_token(env: &Environment, file: Option<&Path>, faults: &mut Vec<Fault>) -> Option<SecretString> {
    let variable = "USAGED_DASHBOARD_TOKEN";
    let (token, from) = from_credential(env, "dashboard_token", faults)
        .or_else(|| from_file(file?, "dashboard.token_file", faults))
        .or_else(|| Some((env.text(variable, faults)?, format!("environment {variable}"))))?;
    if token.chars().count() < TOKEN_MIN {
        let what = format!("holds a token of fewer than {TOKEN_MIN} characters, which could be guessed");
        faults.push(Fault::outside(from, what, "put another one there: head -c 24 /dev/urandom | base64"));
        return None;
    }
    Some(SecretString::from(token))
}

/// systemd itself keeps others out of that directory, and shows an access list as group bits: the mode says nothing.
fn from_credential(env: &Environment, name: &str, faults: &mut Vec<Fault>) -> Option<(String, String)> {
    let path = env.path("CREDENTIALS_DIRECTORY")?.join(name);
    let from = format!("credential {name}");
    let file = match open(&path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => return None,
        Err(why) => {
            faults.push(unreadable(&from, &why.to_string()));
            return None;
        }
    };
    Some((contents(file, &from, faults)?, from))
}

fn from_file(path: &Path, setting: &str, faults: &mut Vec<Fault>) -> Option<(String, String)> {
    let from = format!("file {}", path.display());
    let opened = open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (about, file) = match opened {
        Ok(opened) => opened,
        Err(why) => {
            faults.push(unreadable(&from, &format!("{why} ({setting} names it)")));
            return None;
        }
    };
    if !about.is_file() {
        let hint = format!("let {setting} name a file that holds the secret and nothing else");
        faults.push(Fault::outside(from, "is not a regular file", hint));
        return None;
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&about) & 0o777;
    if mode & 0o077 != 0 {
        let what = format!("holds a secret and is open to others (mode {mode:04o})");
        faults.push(Fault::outside(from, what, format!("run: chmod 0600 {}", path.display())));
        return None;
    }
    Some((contents(file, &from, faults)?, from))
}

/// Without blocking: a pipe in its place must not hold up the start.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Trimmed; a file of nothing but blanks is as good as none.
fn contents(file: File, from: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let mut text = String::new();
    if let Err(why) = file.take(LONGEST).read_to_string(&mut text) {
        faults.push(unreadable(from, &why.to_string()));
        return None;
    }
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn unreadable(from: &str, why: &str) -> Fault {
    Fault::outside(from, format!("cannot be read: {why}"), "make it readable for the user that usaged runs as")
}

/// The provider looks closer; this tells another one's key, the most likely mistake, before the start.
fn trouble_with_lemon_squeezy(key: &str) -> Option<&'static str> {
    let is_stripes = ["sk_", "rk_", "pk_", "whsec_"].iter().any(|prefix| key.starts_with(prefix));
    is_stripes.then_some("holds one of Stripe's keys, and provider.kind is \"lemon-squeezy\"")
}

/// What is wrong with the key, without a character of it.
fn trouble_with(key: &str) -> Option<&'static str> {
    let rest = ["sk_test_", "sk_live_", "rk_test_", "rk_live_"].iter().find_map(|prefix| key.strip_prefix(prefix));
    match rest {
        Some(rest) if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => None,
        Some(_) => Some("holds a key with characters that no key has, or an empty one"),
        None if key.starts_with("pk_") => Some("holds a publishable key, which may not report usage"),
        None if key.starts_with("whsec_") => Some("holds a webhook secret, not an API key"),
        None => Some("does not hold a Stripe API key: those begin with sk_test_, sk_live_, rk_test_ or rk_live_"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    fn write(dir: &TempDir, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn found(env: &Environment, file: Option<&Path>) -> Result<Option<(String, String)>, Vec<Fault>> {
        let mut faults = Vec::new();
        let key = find(env, ProviderKind::StripeMeters, file, &mut faults);
        let key = key.map(|key| (key.secret.expose_secret().to_owned(), key.from));
        if faults.is_empty() { Ok(key) } else { Err(faults) }
    }

    #[test]
    fn the_credential_wins_over_the_file_and_the_file_over_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(&dir, "key", "sk_test_file\n", 0o600);
        let home = dir.path().to_str().unwrap();
        let env = Environment::of(&[("CREDENTIALS_DIRECTORY", home), ("STRIPE_API_KEY", "sk_test_env")], None);
        let from = |key: &str, from: &str| Ok(Some((key.to_owned(), from.to_owned())));

        assert_eq!(found(&env, None), from("sk_test_env", "environment STRIPE_API_KEY"));
        assert_eq!(found(&env, Some(&file)), from("sk_test_file", &format!("file {}", file.display())));
        write(&dir, "stripe_api_key", "  rk_live_cred \n", 0o440);
        assert_eq!(found(&env, Some(&file)), from("rk_live_cred", "credential stripe_api_key"));
        write(&dir, "stripe_api_key", "\n", 0o440);
        assert_eq!(found(&env, Some(&file)), from("sk_test_file", &format!("file {}", file.display())));
    }

    #[test]
    fn each_provider_has_a_place_of_its_own_and_refuses_the_others_key() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let env = Environment::of(&[("CREDENTIALS_DIRECTORY", home), ("LEMONSQUEEZY_API_KEY", "a.b.c")], None);
        let find = |faults: &mut Vec<Fault>| find(&env, ProviderKind::LemonSqueezy, None, faults);
        write(&dir, "stripe_api_key", "sk_test_1", 0o440);
        assert_eq!(find(&mut Vec::new()).unwrap().from, "environment LEMONSQUEEZY_API_KEY");
        write(&dir, "lemon_squeezy_api_key", "sk_test_1", 0o440);
        let mut faults = Vec::new();
        assert!(find(&mut faults).is_none());
        assert!(faults[0].what.contains("one of Stripe's keys"), "{faults:?}");
    }

    #[test]
    fn an_empty_key_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(&dir, "key", " \n", 0o600);
        let env = Environment::of(&[("STRIPE_API_KEY", "")], None);
        assert_eq!(found(&env, Some(&file)), Ok(None));
        assert_eq!(found(&Environment::default(), None), Ok(None));
    }

    #[test]
    fn a_key_file_that_others_may_open_is_refused_with_the_command_that_closes_it() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let file = write(&dir, "key", "sk_live_secret", mode);
            let faults = found(&Environment::default(), Some(&file)).unwrap_err();
            assert_eq!(faults[0].hint, Some(format!("run: chmod 0600 {}", file.display())), "{mode:o}");
        }
    }

    #[test]
    fn a_key_file_that_is_missing_or_no_file_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let missing = found(&Environment::default(), Some(&dir.path().join("none"))).unwrap_err();
        assert!(missing[0].what.contains("cannot be read"), "{missing:?}");
        let directory = found(&Environment::default(), Some(dir.path())).unwrap_err();
        assert_eq!(directory[0].what, "is not a regular file");
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        assert_eq!(found(&Environment::default(), Some(&pipe)).unwrap_err()[0].what, "is not a regular file");
    }

    #[test]
    fn what_is_not_a_secret_key_is_refused_without_being_shown() {
        for bad in ["pk_live_hush", "whsec_hush", "hush", "sk_live_", "sk_live_hush\r\nX-Evil: 1", "sk_live_hush hush"]
        {
            let faults = found(&Environment::of(&[("STRIPE_API_KEY", bad)], None), None).unwrap_err();
            assert_eq!((faults.len(), faults[0].key.as_str()), (1, "environment STRIPE_API_KEY"), "{bad}");
            assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
        }
    }

    #[test]
    fn several_signing_secrets_are_found_while_one_is_rolled() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = |env: &Environment, kind, file: Option<&Path>| {
            let mut faults = Vec::new();
            let found = webhook(env, kind, file, &mut faults);
            (found.iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>(), faults)
        };
        let file = write(&dir, "secrets", "whsec_new\nwhsec_old\n", 0o600);
        let (found, faults) = secrets(&Environment::default(), ProviderKind::StripeMeters, Some(&file));
        assert_eq!((found.as_slice(), faults.len()), (["whsec_new".to_owned(), "whsec_old".to_owned()].as_slice(), 0));
        let env = Environment::of(&[("STRIPE_WEBHOOK_SECRET", "hush"), ("LEMONSQUEEZY_WEBHOOK_SECRET", "any")], None);
        let (found, faults) = secrets(&env, ProviderKind::StripeMeters, None);
        assert!(found.is_empty() && faults.len() == 1 && !format!("{faults:?}").contains("hush"), "{faults:?}");
        assert_eq!(secrets(&env, ProviderKind::LemonSqueezy, None).0, ["any"]);
        let open = write(&dir, "open", "whsec_1", 0o644);
        assert!(secrets(&Environment::default(), ProviderKind::StripeMeters, Some(&open)).1.len() == 1);
    }

    #[test]
    fn a_token_that_could_be_guessed_is_refused_without_being_shown() {
        let token = |token: &str| {
            let mut faults = Vec::new();
            let env = Environment::of(&[("USAGED_DASHBOARD_TOKEN", token)], None);
            (dashboard_token(&env, None, &mut faults).map(|token| token.expose_secret().to_owned()), faults)
        };
        assert_eq!(token("twenty characters is enough").0.unwrap(), "twenty characters is enough");
        assert_eq!(token(""), (None, vec![]));
        let (none, faults) = token("hush");
        assert!(none.is_none() && faults.len() == 1 && !format!("{faults:?}").contains("hush"), "{faults:?}");
    }

    #[test]
    fn debug_output_never_holds_the_key() {
        let env = Environment::of(&[("STRIPE_API_KEY", "sk_live_hush")], None);
        let key = find(&env, ProviderKind::StripeMeters, None, &mut Vec::new()).unwrap();
        assert!(!format!("{key:?}").contains("hush"));
    }
}
