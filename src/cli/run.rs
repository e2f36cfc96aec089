use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Parser as _;
use serde::de::DeserializeOwned;

use super::args::Command;
use super::client::Said;
use super::error::CliError;
use super::look::Look;
use super::stripe::{self, Session};
use super::{
    Args, Exit, Sockets, alerts, audit, db, doctor, drain, explain, export, identity, link, metrics, prepare_image,
    reconcile, record, release, status, sync, usage, void,
};
use crate::cli::client::Client;
use crate::clock::Reading;
use crate::config::Environment;
use crate::operator::OperatorError;

/// What `usagectl` is told of the machine it runs on.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// `USAGED_SOCKET`: where to look for the daemon, unless the command line says.
    pub socket: Option<PathBuf>,
    /// Where to look for it otherwise.
    pub sockets: Sockets,
    /// Whether stdout is a terminal that wants colours.
    pub colour: bool,
    /// Characters in a line.
    pub width: usize,
    /// Whether somebody watches stderr, a terminal.
    pub watched: bool,
    /// What the process was started with.
    pub environment: Environment,
    /// Reads the clocks.
    pub clock: fn() -> Reading,
    /// Asks systemd how the service is, as [`super::show_service`] does.
    pub show_service: fn() -> Option<String>,
}

/// One run: everything a command needs.
pub(super) struct Run<'a> {
    pub(super) client: Client,
    pub(super) json: bool,
    pub(super) look: Look,
    pub(super) watched: bool,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
}

/// Runs one command line, program name first. Panics on nothing, and takes a closed stdout for a satisfied reader.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    surroundings: &Surroundings,
) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.iter().any(|arg| stripe::names_a_key(arg)) {
        return CliError::KeyInArguments.tell(err, false).map_or(Exit::BadUsage, |()| Exit::BadUsage);
    }
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(message) => return explain(&message, out, err, surroundings.colour),
    };
    let json = args.json;
    match start(args, out, err, surroundings) {
        Ok(exit) => exit,
        // Where stderr is gone too, the exit code is all that is left to say.
        Err(error) => error.tell(err, json).map_or(error.exit(), |()| error.exit()),
    }
}

/// Help and version are answers; anything else is bad usage.
fn explain(message: &clap::Error, out: &mut dyn Write, err: &mut dyn Write, colour: bool) -> Exit {
    let text = message.render();
    let text = if colour { text.ansi().to_string() } else { text.to_string() };
    let exit = if message.use_stderr() { Exit::BadUsage } else { Exit::Fine };
    let written = if message.use_stderr() { err.write_all(text.as_bytes()) } else { out.write_all(text.as_bytes()) };
    written.map_or(exit, |()| exit)
}

fn start(args: Args, out: &mut dyn Write, err: &mut dyn Write, surroundings: &Surroundings) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Start)?;
    runtime.block_on(async {
        if let Command::Stripe(command) = args.command {
            if args.sandbox || args.socket.is_some() {
                return Err(OperatorError::no_daemon().into());
            }
            let Surroundings { environment, clock, colour, width, .. } = surroundings;
            let look = Look { colour: *colour, width: *width };
            return stripe::stripe(Session { environment, clock: *clock, json: args.json, look, out, err }, command)
                .await;
        }
        let client = client(&args, surroundings).await;
        if client.fell_back {
            writeln!(
                err,
                "sandbox mode: no ordinary usaged answers, asking the sandbox's on {}",
                client.path().display()
            )?;
        }
        let look = Look { colour: surroundings.colour, width: surroundings.width };
        Run { client, json: args.json, look, watched: surroundings.watched, out, err }.command(args.command).await
    })
}

async fn client(args: &Args, surroundings: &Surroundings) -> Client {
    if let Some(path) = &args.socket {
        return Client::at(path.clone());
    }
    if args.sandbox {
        return Client::at(surroundings.sockets.sandbox.clone());
    }
    match &surroundings.socket {
        Some(path) => Client::at(path.clone()),
        None => Client::find(&surroundings.sockets, surroundings.show_service).await,
    }
}

impl Run<'_> {
    async fn command(&mut self, command: Command) -> Result<Exit, CliError> {
        match command {
            Command::Status => status::status(self).await,
            Command::Usage(args) => usage::usage(self, args).await,
            Command::Record(args) => record::record(self, args).await,
            Command::Void(args) => void::void(self, args).await,
            Command::Link(args) => link::link(self, args).await,
            Command::Sync(args) => sync::sync(self, args).await,
            Command::Reconcile(args) => reconcile::reconcile(self, args).await,
            Command::Release(args) => release::release(self, args).await,
            Command::Identity(args) => identity::identity(self, args).await,
            Command::PrepareImage(args) => prepare_image::prepare_image(self, args).await,
            Command::Drain => drain::drain(self).await,
            Command::Db { command } => db::db(self, command).await,
            Command::Explain(args) => explain::explain(self, args).await,
            Command::Export(args) => export::export(self, args).await,
            Command::Audit(args) => audit::audit(self, args).await,
            Command::Alerts(args) => alerts::alerts(self, args).await,
            Command::Doctor => doctor::doctor(self).await,
            Command::Metrics(args) => metrics::metrics(self, args).await,
            // Asked without a daemon, before there is a run.
            Command::Stripe(_) => Ok(Exit::BadUsage),
        }
    }

    /// Shows an answer: as it came, or as a screen. Returns it read, for the exit code.
    pub(super) fn show<T: DeserializeOwned>(
        &mut self,
        said: &Said,
        screen: impl FnOnce(&T, Look) -> String,
    ) -> Result<T, CliError> {
        if self.json {
            self.print(&said.bytes)?;
            return said.read();
        }
        let answer: T = said.read()?;
        self.print(screen(&answer, self.look).as_bytes())?;
        Ok(answer)
    }

    /// As [`write()`].
    pub(super) fn print(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        write(self.out, bytes)
    }
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no fault, and changes no exit code.
pub(super) fn write(out: &mut dyn Write, bytes: &[u8]) -> Result<(), CliError> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}
