//! From a configuration to settings a job can work with.

use crate::config::Config;
use crate::jobs::{Context, Settings};
use crate::model::Problem;
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
    let (what, hint) = said.split_once("hint:").unwrap_or((&said, "correct the provider's settings"));
    let what = format!("nothing is billed: {}", what.trim());
    Problem::needs_someone(PROVIDER_UNUSABLE, what, hint.trim())
}

const PROVIDER_UNUSABLE: &str = "provider_unusable";

/// Shows what building the provider said.
pub(super) fn report(context: &Context, problem: Option<Problem>) {
    match problem {
        Some(problem) => context.raise(problem),
        None => context.clear(PROVIDER_UNUSABLE),
    }
}
