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
    Args, Exit, Sockets, alerts, audit, completion, db, doctor, drain, explain, export, identity, link, metrics,
    prepare_image, reconcile, record, release, status, sync, usage, void,
};
use crate::cli::client::Client;
use crate::clock::Reading;
use crate::config::Environment;
use crate::model::Timestamp;
use crate::operator::OperatorError;

/// What `usagectl` is told of the machine it runs on.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// `USAGED_SOCKET`: where to look for the daemon, unless the command line says.
    pub socket: Option<PathBuf>,
    /// Where to look for it otherwise.
    pub sockets: Sockets,
    /// Whether stdout is a terminal.
    pub terminal: bool,
    /// Whether it is one that wants colours.
    pub colour: bool,
    /// Whether somebody watches stderr, a terminal.
    pub watched: fn() -> bool,
    /// Whether more than ASCII can be shown.
    pub unicode: bool,
    /// How much room there is.
    pub size: fn() -> Size,
    /// A moment in this machine's own zone, as [`super::local`] tells it.
    pub local: fn(Timestamp) -> Option<String>,
    /// What the process was started with.
    pub environment: Environment,
    /// Reads the clocks.
    pub clock: fn() -> Reading,
    /// Asks systemd how the service is, as [`super::show_service`] does.
    pub show_service: fn() -> Option<String>,
}

/// How much a terminal shows at once.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Characters in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

impl Surroundings {
    fn look(&self) -> Look {
        let Self { colour, unicode, size, local, .. } = self;
        Look { colour: *colour, unicode: *unicode, width: size().width, local: *local }
    }
}

/// One run: everything a command needs.
pub(super) struct Run<'a> {
    pub(super) client: Client,
    pub(super) json: bool,
    pub(super) look: Look,
    pub(super) watched: bool,
    /// Whether stdout is a terminal, and how large it is now.
    pub(super) terminal: bool,
    pub(super) size: fn() -> Size,
    /// When the command was given: what counts from now counts from here.
    pub(super) now: Timestamp,
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
        Err(message) => return explain(&message, out, err, surroundings.look()),
    };
    let json = args.json;
    match start(args, out, err, surroundings) {
        Ok(exit) => exit,
        // Where stderr is gone too, the exit code is all that is left to say.
        Err(error) => tell(&error, err, json, surroundings.look()).map_or(error.exit(), |()| error.exit()),
    }
}

fn tell(error: &CliError, err: &mut dyn Write, json: bool, look: Look) -> io::Result<()> {
    let mut text = Vec::new();
    error.tell(&mut text, json)?;
    match std::str::from_utf8(&text) {
        Ok(text) if !json => err.write_all(look.plain(text).as_bytes()),
        _ => err.write_all(&text),
    }
}

/// Help and version are answers; anything else is bad usage.
fn explain(message: &clap::Error, out: &mut dyn Write, err: &mut dyn Write, look: Look) -> Exit {
    let text = message.render();
    let text = if look.colour { text.ansi().to_string() } else { text.to_string() };
    let text = look.plain(&text);
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
            let Surroundings { environment, clock, .. } = surroundings;
            let look = surroundings.look();
            return stripe::stripe(Session { environment, clock: *clock, json: args.json, look, out, err }, command)
                .await;
        }
        if let Command::Completion { shell } = args.command {
            return completion::completion(shell, out);
        }
        let client = client(&args, surroundings).await;
        if client.fell_back {
            writeln!(
                err,
                "sandbox mode: no ordinary usaged answers, asking the sandbox's on {}",
                client.path().display()
            )?;
        }
        let Surroundings { terminal, watched, size, clock, .. } = *surroundings;
        let (look, now) = (surroundings.look(), clock().wall);
        Run { client, json: args.json, look, watched: watched(), terminal, size, now, out, err }
            .command(args.command)
            .await
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
            Command::Status(args) => status::status(self, args).await,
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
            Command::Stripe(_) | Command::Completion { .. } => Ok(Exit::BadUsage),
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
        let text = screen(&answer, self.look);
        self.print(self.look.plain(&text).as_bytes())?;
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
