//! The command line of `usaged`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::log::LogFormat;
use super::{Exit, run};
use crate::config::{self, Environment, Overrides, Paths};
use crate::store::StoreError;

/// Measures what this VM used and keeps the customer's metered billing items at exactly the overage.
#[derive(Debug, Parser)]
#[command(name = "usaged", version, about, disable_help_subcommand = true)]
pub struct Args {
    /// Configuration file [default: /etc/usaged/usaged.toml, or this user's]
    #[arg(long, global = true, value_name = "FILE", env = "USAGED_CONFIG")]
    config: Option<PathBuf>,
    /// Where usage.db lies [default: /var/lib/usaged, or this user's]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the socket lies [default: /run/usaged, or this user's]
    #[arg(long, global = true, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (also what usaged does without a command)
    Run {
        /// Bill to a strict Stripe sandbox inside this process, apart from any real state
        #[cfg(feature = "sandbox")]
        #[arg(long)]
        sandbox: bool,
        /// How the log is written
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
        log_format: LogFormat,
    },
    /// Say whether the configuration is good, or list everything that is wrong (exit 0 or 1)
    CheckConfig,
    /// Say what usage.db holds that is not sent, also while no daemon runs (exit 0: nothing, 1: something)
    Unsent,
    /// Say whether usage.db is sound, also while no daemon runs (exit 0 or 1)
    CheckDb {
        /// Compare every index with its table, too, which takes several times as long
        #[arg(long)]
        full: bool,
    },
    /// Recover what can be read of a damaged usage.db, and set that aside, while no daemon runs
    RecoverDb,
    /// Run a billing provider's sandbox alone, for any client of it
    #[cfg(feature = "sandbox")]
    Sandbox {
        /// Whose API it speaks
        #[arg(long, value_enum, default_value_t = Sandboxed::Stripe)]
        provider: Sandboxed,
        /// Loopback address to listen on; port 0 picks a free one
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
    },
}

/// What there is a sandbox of.
#[cfg(feature = "sandbox")]
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Sandboxed {
    Stripe,
    LemonSqueezy,
}

/// The command line, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

pub(super) fn dispatch(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are answers, on stdout; a closed pipe is nobody's fault.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Fine.into() };
        }
    };
    match args.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error:#}"));
            if is_for_good(&error) { Exit::Config.into() } else { Exit::Failed.into() }
        }
    }
}

/// Whether starting again would change nothing: a downgrade, or a stray file.
fn is_for_good(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Newer { .. } | StoreError::Foreign { .. }))
}

impl Args {
    fn run(self) -> anyhow::Result<Exit> {
        let env = Environment::of_process();
        let overrides = Overrides {
            config: self.config.clone(),
            state_dir: self.state_dir.clone(),
            runtime_dir: self.runtime_dir.clone(),
            socket: None,
        };
        let is_root = rustix::process::geteuid().is_root();
        match self.command {
            Some(Command::CheckConfig) => {
                let checked = config::check(&config::paths(&env, is_root, &overrides)?, &env);
                say(&mut std::io::stdout(), &checked.text);
                Ok(if checked.exit_code == 0 { Exit::Fine } else { Exit::Failed })
            }
            Some(Command::Unsent) => super::unsent::unsent(&config::paths(&env, is_root, &overrides)?.database()),
            Some(Command::CheckDb { full }) => {
                super::db::check(&config::paths(&env, is_root, &overrides)?.database(), full)
            }
            Some(Command::RecoverDb) => super::db::recover(&config::paths(&env, is_root, &overrides)?),
            #[cfg(feature = "sandbox")]
            Some(Command::Sandbox { provider, listen }) => {
                super::sandbox::run_alone(provider, listen, &config::sandbox_paths(&env, is_root, &overrides)?)
            }
            #[cfg(feature = "sandbox")]
            Some(Command::Run { sandbox: true, log_format }) => {
                super::sandbox::run(&config::sandbox_paths(&env, is_root, &overrides)?, &env, log_format)
            }
            Some(Command::Run { log_format, .. }) => {
                serve(&config::paths(&env, is_root, &overrides)?, &env, log_format)
            }
            None => serve(&config::paths(&env, is_root, &overrides)?, &env, LogFormat::default()),
        }
    }
}

fn serve(paths: &Paths, env: &Environment, log_format: LogFormat) -> anyhow::Result<Exit> {
    super::log::start(env, false, log_format);
    match config::load(paths, env) {
        Ok(loaded) => run::run(paths, env, loaded),
        Err(faults) => {
            say(&mut std::io::stderr(), &faults.to_string());
            Ok(Exit::Config)
        }
    }
}

/// One block of text for a person. A closed pipe is nobody's fault.
pub(super) fn say(out: &mut dyn Write, text: &str) {
    drop(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_later_version_is_not_tried_again_and_a_full_disk_is() {
        let newer = StoreError::Newer { path: "usage.db".into(), found: 9, known: 1 };
        assert!(is_for_good(&anyhow::Error::from(newer)));
        assert!(!is_for_good(&anyhow::Error::from(StoreError::Full)));
    }
}
