use super::Exit;
use super::args::ReleaseArgs;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::Look;
use super::run::Run;
use crate::wire::{ReleaseReport, ReleaseRequest};

pub(super) async fn release(run: &mut Run<'_>, args: ReleaseArgs) -> Result<Exit, CliError> {
    let request = ReleaseRequest { item: args.item, adopt: args.adopt, because: args.because };
    let said = run.client.post("/v1/release", &request, PROVIDER).await?;
    run.show(&said, screen).map(|_: ReleaseReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &ReleaseReport, look: Look) -> String {
    look.wrap(0, &format!("{}: {}", report.item, report.what)) + "\n"
}
