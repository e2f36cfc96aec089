//! From a configuration to settings a job can work with.

use crate::config::Config;
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
