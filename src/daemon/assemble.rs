//! From a configuration to settings a job can work with.

use crate::api;
use crate::config::{Config, KEY_EXPOSED, Loaded};
use crate::jobs::{Context, Settings};
use crate::model::{Problem, split_hint};
use crate::provider::{Provider, ProviderError};

/// Builds the provider. One that cannot be built leaves this VM measuring, unbilled, and says so.
pub(super) fn settings(config: Config) -> (Settings, Option<Problem>) {
    match Provider::new(&config.provider) {
        Ok(provider) => (Settings { config, provider }, None),
        Err(error) => (Settings { config, provider: Provider::None }, Some(unusable(&error))),
    }
}

fn unusable(error: &ProviderError) -> Problem {
    let said = error.to_string();
    let (what, hint) = split_hint(&said);
    let hint = hint.unwrap_or("correct the provider's settings");
    Problem::needs_someone(PROVIDER_UNUSABLE, format!("nothing is billed: {what}"), hint)
}

const PROVIDER_UNUSABLE: &str = "provider_unusable";

/// Shows what building the provider said.
pub(super) fn report(context: &Context, problem: Option<Problem>) {
    match problem {
        Some(problem) => context.raise(problem),
        None => context.clear(PROVIDER_UNUSABLE),
    }
}

/// What the machine lacks for this configuration, or shows too much of.
pub(super) fn surroundings(loaded: &Loaded) -> Vec<Problem> {
    let group = loaded.config.command_group.as_deref().filter(|group| !api::has_group(group));
    let missing = group.map(|group| {
        Problem::needs_someone(
            GROUP_MISSING,
            format!("command_group names the group {group}, which this machine does not have: only root may command"),
            format!("sudo groupadd {group}, or name another in usaged.toml"),
        )
    });
    let webhook = &loaded.config.webhook;
    let unchecked = (webhook.listen.is_some() && webhook.secrets.is_empty()).then(|| {
        Problem::needs_someone(
            NO_SECRET,
            "webhooks are refused: there is no secret to check them by",
            "provide it as systemd credential stripe_webhook_secret, in webhook.secret_file, or as STRIPE_WEBHOOK_SECRET, then: \
             systemctl restart usaged",
        )
    });
    loaded.problems.iter().cloned().chain(missing).chain(unchecked).collect()
}

const GROUP_MISSING: &str = "command_group_missing";
const NO_SECRET: &str = "webhook_no_secret";

/// Shows it, and no longer what is over.
pub(super) fn report_surroundings(context: &Context, problems: Vec<Problem>) {
    for code in [KEY_EXPOSED, GROUP_MISSING, NO_SECRET] {
        if problems.iter().all(|problem| problem.code != code) {
            context.clear(code);
        }
    }
    for problem in problems {
        context.raise(problem);
    }
}
