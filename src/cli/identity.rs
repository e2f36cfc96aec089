use super::Exit;
use super::args::IdentityArgs;
use super::client::PROVIDER;
use super::error::CliError;
use super::look::Look;
use super::run::Run;
use crate::wire::{IdentityReport, IdentityRequest};

pub(super) async fn identity(run: &mut Run<'_>, args: IdentityArgs) -> Result<Exit, CliError> {
    let request = IdentityRequest { because: args.because };
    let said = run.client.post("/v1/identity", &request, PROVIDER).await?;
    run.show(&said, screen).map(|_: IdentityReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &IdentityReport, look: Look) -> String {
    look.wrap(0, &format!("{}: {}", report.machine, report.what)) + "\n"
}
