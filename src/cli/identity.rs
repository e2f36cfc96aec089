use super::Exit;
use super::add::add;
use super::args::{IdentityArgs, ThisVmArg};
use super::client::PROVIDER;
use super::error::CliError;
use super::look::Look;
use super::run::Run;
use crate::wire::{IdentityReport, IdentityRequest, ThisVm};

pub(super) async fn identity(run: &mut Run<'_>, args: IdentityArgs) -> Result<Exit, CliError> {
    let this_vm = match args.this_vm {
        ThisVmArg::Same => ThisVm::Same,
        ThisVmArg::New => ThisVm::New,
    };
    let request = IdentityRequest { this_vm, because: args.because };
    let said = run.client.post("/v1/identity", &request, PROVIDER).await?;
    run.show(&said, screen).map(|_: IdentityReport| Exit::Fine)
}

/// The screen.
pub(super) fn screen(report: &IdentityReport, look: Look) -> String {
    let mut text = look.wrap(0, &report.what) + "\n";
    if let Some(path) = &report.set_aside {
        add(&mut text, format_args!("  {path}\n\nnext: usagectl link --customer cus_… --subscription sub_…\n"));
    }
    text
}
