//! `[alerts]`: what somebody is told of, and how.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use rust_decimal::Decimal;
use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;

use super::section::{Findings, Section};
use super::values::{Read, duration, list, money, refuse, text, whole};
use crate::model::AlertWay;

/// What somebody is told of, and how.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// Percent of an included amount at which somebody is told, each once a period.
    pub allowance_at: Vec<u32>,
    /// What the overage of a period may cost, in the plan's currency.
    pub budget: Option<Decimal>,
    /// A program and its arguments; empty where there is none.
    pub command: Vec<String>,
    /// The command is ended after so long.
    pub time_limit: Duration,
    /// Where alerts are sent.
    pub url: Option<Address>,
    /// What they are signed with.
    pub secret: Option<SecretString>,
    /// What is asked for while all is well.
    pub heartbeat: Option<Address>,
    /// At most so often.
    pub heartbeat_every: Duration,
}

impl Alerts {
    /// The ways on which alerts go out.
    #[must_use]
    pub fn ways(&self) -> Vec<AlertWay> {
        let command = (!self.command.is_empty()).then_some(AlertWay::Command);
        command.into_iter().chain(self.url.is_some().then_some(AlertWay::Url)).collect()
    }
}

/// A web address. Those of chat rooms and of monitors are secrets by themselves, so only scheme and host are ever shown.
#[derive(Clone)]
pub struct Address {
    whole: SecretString,
    shown: String,
    plain: bool,
}

impl Address {
    /// All of it, for the request.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }

    /// Plain http, and so a loopback address.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.plain
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

/// The section, and the file that holds the secret.
pub(super) fn read(mut section: Section<'_>, findings: &mut Findings<'_>) -> (Alerts, Option<PathBuf>) {
    let limits = Duration::from_secs(1)..=Duration::from_mins(2);
    let beats = Duration::from_secs(10)..=Duration::from_hours(24);
    let alerts = Alerts {
        allowance_at: section.get("allowance_at", list(whole(1..=1_000)), findings).unwrap_or_default(),
        budget: section.get("budget", money, findings),
        command: section.get("command", command, findings).unwrap_or_default(),
        time_limit: section.get("time_limit", duration(limits), findings).unwrap_or_default(),
        url: section.get("url", address, findings),
        secret: None,
        heartbeat: section.get("heartbeat", address, findings),
        heartbeat_every: section.get("heartbeat_every", duration(beats), findings).unwrap_or_default(),
    };
    let secret_file = section.get("secret_file", secret_file, findings);
    if secret_file.is_some() && alerts.url.is_none() {
        section.complain("secret_file", "signs nothing: there is no url", "write alerts.url too", findings);
    }
    section.close(findings);
    let secret_file = secret_file.filter(|_| alerts.url.is_some());
    (alerts, secret_file)
}

fn command(value: &DeValue<'_>) -> Read<Vec<String>> {
    let words = list(text)(value)?;
    let hint = "write it as [\"/usr/local/bin/on-alert\", \"argument\"]; no shell reads it";
    match words.first() {
        Some(program) if program.starts_with('/') => Ok(words),
        Some(_) => refuse("begins with a program that is not an absolute path", hint),
        None => refuse("is empty", hint),
    }
}

fn address(value: &DeValue<'_>) -> Read<Address> {
    let hint = "write it as \"https://…\"; plain http is for this machine only, as \"http://127.0.0.1:PORT/…\"";
    // What is refused is not repeated: it may be a secret.
    let Some(Ok(url)) = value.as_str().map(Url::parse) else { return refuse("is not a URL", hint) };
    let Some(host) = url.host_str() else { return refuse("names no host", hint) };
    let plain = url.scheme() == "http";
    if url.scheme() != "https" && !(plain && matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
        return refuse("would send what is wrong with this machine in the clear", hint);
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let shown = format!("{}://{host}{port}", url.scheme());
    Ok(Address { whole: SecretString::from(url.as_str()), shown, plain })
}

fn secret_file(value: &DeValue<'_>) -> Read<PathBuf> {
    let path = PathBuf::from(text(value)?);
    if path.is_absolute() {
        return Ok(path);
    }
    refuse(
        "is not an absolute path",
        "put the secret into a file of mode 0600 and write the file's path, as \"/etc/usaged/alerts_secret\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::{faults_of, loaded};

    fn alerts(text: &str) -> Alerts {
        loaded(&format!("[alerts]\n{text}")).config.alerts
    }

    #[test]
    fn without_a_word_marks_are_looked_at_and_nobody_is_told() {
        let alerts = loaded("").config.alerts;
        assert_eq!(alerts.allowance_at, [50, 75, 100]);
        assert_eq!((alerts.time_limit, alerts.heartbeat_every), (Duration::from_secs(30), Duration::from_mins(5)));
        assert!(alerts.ways().is_empty() && alerts.budget.is_none() && alerts.heartbeat.is_none());
    }

    #[test]
    fn marks_a_budget_and_ways_are_the_operators_to_state() {
        let told = alerts(
            "allowance_at = [80]\nbudget = \"50.00\"\ncommand = [\"/bin/mail\", \"a b\"]\nurl = \"https://h.example/x\"",
        );
        assert_eq!((told.allowance_at.as_slice(), told.budget), (&[80][..], Some("50.00".parse().unwrap())));
        assert_eq!(told.command, ["/bin/mail", "a b"]);
        assert_eq!(told.ways(), [AlertWay::Command, AlertWay::Url]);
        assert_eq!(alerts("allowance_at = []").allowance_at, Vec::<u32>::new(), "none at all");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        for (text, key) in [
            ("allowance_at = [0]", "allowance_at"),
            ("allowance_at = 50", "allowance_at"),
            ("allowance_at = [\"50\"]", "allowance_at"),
            ("budget = 50.0", "budget"),
            ("budget = \"-1\"", "budget"),
            ("command = \"/bin/mail\"", "command"),
            ("command = []", "command"),
            ("command = [\"mail\"]", "command"),
            ("command = [\"/bin/mail\", 1]", "command"),
            ("url = \"ftp://h\"", "url"),
            ("url = \"http://h.example\"", "url"),
            ("url = 1", "url"),
            ("heartbeat_every = \"1s\"", "heartbeat_every"),
            ("secret_file = \"/etc/usaged/alerts_secret\"", "secret_file"),
            ("secret_file = \"hush\"\nurl = \"https://h\"", "secret_file"),
        ] {
            let faults = faults_of(&format!("[alerts]\n{text}"));
            assert_eq!((faults.len(), &*faults[0].key), (1, &*format!("alerts.{key}")), "{text}: {faults:?}");
        }
    }

    #[test]
    fn of_an_address_no_more_than_scheme_and_host_is_shown() {
        let alerts =
            alerts("url = \"https://h.example:8443/hush?hush\"\nheartbeat = \"https://u:hush@h.example/hush\"");
        let (url, heartbeat) = (alerts.url.as_ref().unwrap(), alerts.heartbeat.as_ref().unwrap());
        assert_eq!(
            (url.to_string(), heartbeat.to_string()),
            ("https://h.example:8443".into(), "https://h.example".into())
        );
        assert!(url.expose().ends_with("/hush?hush"));
        assert!(!format!("{alerts:?}").contains("hush"));
        let faults = faults_of("[alerts]\nurl = \"http://h.example/hush\"");
        assert!(!format!("{faults:?}").contains("hush"), "{faults:?}");
    }
}
