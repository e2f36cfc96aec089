use super::Exit;
use super::args::VoidArgs;
use super::client::LOCAL;
use super::error::CliError;
use super::look::Look;
use super::run::Run;
use super::words::moment;
use crate::wire::{VoidReport, VoidRequest};

pub(super) async fn void(run: &mut Run<'_>, args: VoidArgs) -> Result<Exit, CliError> {
    let VoidArgs { meter, id, because, source } = args;
    let said = run.client.post("/v1/void", &VoidRequest { meter, id, source, because }, LOCAL).await?;
    run.show(&said, screen).map(|_: VoidReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &VoidReport, _: Look) -> String {
    let at = report.at.as_deref().map(|at| format!(" of {}", moment(at))).unwrap_or_default();
    let (id, quantity) = (&report.id, &report.quantity);
    if report.voided {
        format!("taken back  {quantity}{at}  id {id}\n")
    } else {
        format!("unchanged  {quantity}{at}  id {id}: taken back before\n")
    }
}
