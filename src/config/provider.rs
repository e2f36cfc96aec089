//! `[provider]`: which one, and how it is reached.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use toml::de::DeValue;

use super::section::{Findings, Section};
use super::values::{Read, choice, duration, refuse, text};
use super::{ApiKey, OnPaymentFailed, Periods, ProviderKind, secrets};

/// The section, without what comes from elsewhere.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) kind: ProviderKind,
    pub(super) base_url: String,
    pub(super) timeout: Duration,
    pub(super) periods: Periods,
    pub(super) draft_grace: Duration,
    pub(super) quiet_before_end: Duration,
    pub(super) key_file: Option<PathBuf>,
    pub(super) on_payment_failed: OnPaymentFailed,
}

pub(super) fn read(mut section: Section<'_>, findings: &mut Findings<'_>) -> Settings {
    let kinds = [
        ("none", ProviderKind::None),
        ("stripe-meters", ProviderKind::StripeMeters),
        ("stripe-usage-records", ProviderKind::StripeUsageRecords),
        ("lemon-squeezy", ProviderKind::LemonSqueezy),
    ];
    let periods = [("provider", Periods::Provider), ("utc-months", Periods::UtcMonths)];
    let reactions = [("alert", OnPaymentFailed::Alert), ("pause", OnPaymentFailed::Pause)];
    let bounds = Duration::from_secs(1)..=Duration::from_mins(2);
    let mut settings = Settings {
        kind: section.get("kind", choice(kinds), findings).unwrap_or_default(),
        base_url: section.get("base_url", base_url, findings).unwrap_or_default(),
        timeout: section.get("timeout", duration(bounds), findings).unwrap_or_default(),
        periods: section.get("periods", choice(periods), findings).unwrap_or_default(),
        draft_grace: section.get("draft_grace", duration(GRACES), findings).unwrap_or(Duration::from_hours(1)),
        quiet_before_end: section.get("quiet_before_end", duration(QUIETS), findings).unwrap_or(Duration::from_mins(5)),
        key_file: section.get("key_file", key_file, findings),
        on_payment_failed: section.get("on_payment_failed", choice(reactions), findings).unwrap_or_default(),
    };
    section.close(findings);
    if settings.kind == ProviderKind::LemonSqueezy && settings.base_url == STRIPE {
        LEMON_SQUEEZY.clone_into(&mut settings.base_url);
    }
    settings
}

/// The shipped default, which only means something for Stripe.
const STRIPE: &str = "https://api.stripe.com";
/// <https://docs.lemonsqueezy.com/api/getting-started/requests>
const LEMON_SQUEEZY: &str = "https://api.lemonsqueezy.com";

/// Stripe's own bounds for the time between a draft invoice and its finalization.
/// <https://docs.stripe.com/billing/subscriptions/usage-based/configure-grace-period>
const GRACES: std::ops::RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(72);
const QUIETS: std::ops::RangeInclusive<Duration> = Duration::from_mins(2)..=Duration::from_hours(1);

/// Whether anything is billed, said plainly where it is not.
pub(super) fn note(kind: ProviderKind, key: Option<&ApiKey>) -> Option<String> {
    match (kind, key) {
        (ProviderKind::None, Some(key)) => Some(format!(
            "Nothing is billed: there is a key ({}), but provider.kind is \"none\". Usage is measured. \
             To bill, write kind = \"stripe-meters\" under [provider].",
            key.from
        )),
        (ProviderKind::None, None) => Some(
            "Nothing is billed: provider.kind is \"none\". Usage is measured. \
             To bill, write kind = \"stripe-meters\" under [provider] and provide a key."
                .to_owned(),
        ),
        (_, Some(_)) => None,
        (kind, None) => Some(format!(
            "Nothing is billed: provider.kind is \"{}\", but there is no key. Usage is measured. \
             Provide the key as systemd credential {}, in the file that provider.key_file names, or as {}.",
            kind.word(),
            secrets::credential(kind),
            secrets::variable(kind)
        )),
    }
}

/// Without a slash at its end. The key travels there: in the clear only within this machine.
fn base_url(value: &DeValue<'_>) -> Read<String> {
    let hint = "write it as \"https://api.stripe.com\", or \"http://127.0.0.1:PORT\" for a sandbox";
    let text = text(value)?;
    let Ok(url) = Url::parse(&text) else { return refuse("is not a URL", hint) };
    let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return refuse("would send the key in the clear", hint);
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return refuse("holds more than scheme, host, port and path", hint);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Of a file that holds a secret.
pub(super) fn key_file(value: &DeValue<'_>) -> Read<PathBuf> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() {
        return Ok(path);
    }
    refuse(
        "is not an absolute path",
        "put the secret into a file of mode 0600 and write the file's path, as \"/etc/usaged/stripe_api_key\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::{faults_of, loaded};

    #[test]
    fn by_default_nothing_is_billed_and_that_is_said() {
        let loaded = loaded("");
        assert_eq!(loaded.config.provider.kind, ProviderKind::None);
        assert_eq!(loaded.config.provider.base_url, "https://api.stripe.com");
        assert_eq!(loaded.config.provider.timeout, Duration::from_secs(30));
        assert!(loaded.notes[0].starts_with("Nothing is billed"), "{:?}", loaded.notes);
    }

    #[test]
    fn r2_periods_are_the_providers_unless_utc_months_are_asked_for() {
        let periods = |text: &str| loaded(text).config.provider.periods;
        assert_eq!(periods(""), Periods::Provider);
        assert_eq!(periods("[provider]\nperiods = \"utc-months\""), Periods::UtcMonths);
        let faults = faults_of("[provider]\nperiods = \"monthly\"");
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, "provider.periods"));
    }

    #[test]
    fn the_key_travels_in_the_clear_only_to_this_machine() {
        let url = |url: &str| format!("[provider]\nbase_url = \"{url}\"");
        for (given, kept) in [
            ("https://relay.example/stripe/", "https://relay.example/stripe"),
            ("http://127.0.0.1:12111", "http://127.0.0.1:12111"),
            ("http://localhost:1", "http://localhost:1"),
            ("http://[::1]:1/", "http://[::1]:1"),
        ] {
            assert_eq!(loaded(&url(given)).config.provider.base_url, kept);
        }
        for bad in [
            "http://api.stripe.com",
            "http://127.0.0.1.evil.example",
            "ftp://127.0.0.1",
            "api.stripe.com",
            "https://u:p@x.example",
            "https://x.example/?q",
            "",
        ] {
            let faults = faults_of(&url(bad));
            assert_eq!((faults.len(), faults[0].key.as_str()), (1, "provider.base_url"), "{bad}");
        }
    }

    #[test]
    fn a_key_in_the_place_of_its_file_is_refused_without_being_shown() {
        for setting in ["key_file", "key"] {
            let faults = faults_of(&format!("[provider]\n{setting} = \"sk_live_hush\""));
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
        }
    }
}
