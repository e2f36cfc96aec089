use std::io::Write;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::args::CompletionShell;
use super::error::CliError;
use super::{Args, Exit, run};

/// Prints the script that completes `usagectl` in a shell.
pub(super) fn completion(shell: CompletionShell, out: &mut dyn Write) -> Result<Exit, CliError> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    // Into memory first: a reader that has gone would be a panic there.
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), "usagectl", &mut script);
    run::write(out, &script)?;
    Ok(Exit::Fine)
}
