//! The log: lines for a person, JSON for a collector, or entries of the journal with a field for each value. What is wrong
//! and said again within a minute is counted, and the count is said.

mod journal;
mod line;
mod repeats;

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, registry};

use self::journal::Journal;
use self::line::Line;
use self::repeats::Repeats;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Environment;

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For people; in the journal with a field for each value
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// One for the process, as the log itself: a second start, as tests do, keeps the first one's.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    way: Way,
    repeats: Mutex<Repeats>,
    /// Woken when the first of something is held back.
    holds_back: Notify,
}

/// Where lines go, and how they look there.
enum Way {
    Journal(Journal),
    /// The journal reads this stream line by line, and a priority before each.
    Prefixed(LogFormat),
    Stderr(LogFormat),
    Stdout(LogFormat),
}

/// Starts it. `USAGED_LOG` takes a filter such as `debug` or `usaged::flow=debug`.
pub(super) fn start(env: &Environment, sandbox: bool, format: LogFormat) {
    let default = if sandbox { "warn,usaged=info,usaged::flow=debug" } else { "warn,usaged=info" };
    let wanted = env.path("USAGED_LOG").map(|filter| filter.display().to_string());
    let way = if sandbox { Way::Stdout(format) } else { way(env, format) };
    LOG.get_or_init(|| Log { way, repeats: Mutex::default(), holds_back: Notify::new() });
    drop(registry().with(filter(wanted.as_deref(), default)).with(Listener).try_init());
}

fn way(env: &Environment, format: LogFormat) -> Way {
    let stream = env.variable("JOURNAL_STREAM");
    if !stream.is_some_and(|stream| journal::is(&stream, io::stderr())) {
        return Way::Stderr(format);
    }
    match (format, Journal::connect(journal::SOCKET.as_ref())) {
        (LogFormat::Human, Ok(journal)) => Way::Journal(journal),
        _ => Way::Prefixed(format),
    }
}

/// Says what was held back, a minute after it was said first. Never ends.
pub(super) async fn tell_repeats() -> Infallible {
    let Some(log) = LOG.get() else { return std::future::pending().await };
    loop {
        log.holds_back.notified().await;
        loop {
            let next = log.repeats.lock().unwrap_or_else(PoisonError::into_inner).next_due();
            let Some(next) = next else { break };
            sleep(next.saturating_duration_since(Instant::now())).await;
            log.tell(Repeats::due);
        }
    }
}

/// Says what is held back now: nothing is said after this.
pub(super) fn finish() {
    if let Some(log) = LOG.get() {
        log.tell(Repeats::all);
    }
}

impl Log {
    fn hear(&self, line: Line) {
        self.tell(Repeats::due);
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        match repeats.take(line, Instant::now()) {
            Some(line) => self.write(&line),
            None => self.holds_back.notify_one(),
        }
    }

    fn tell(&self, which: fn(&mut Repeats, Instant) -> Vec<Line>) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        for line in which(&mut repeats, Instant::now()) {
            self.write(&line);
        }
    }

    /// A log that cannot be written is nobody's fault, and there is nobody to be told.
    fn write(&self, line: &Line) {
        let at = SystemClock.read().wall;
        let text = |format| match format {
            LogFormat::Human => format!("{at} {:>5} {line}\n", line.level),
            LogFormat::Json => format!("{}\n", line.json(at)),
        };
        match &self.way {
            Way::Journal(journal) => {
                if journal.send(line).is_err() {
                    drop(io::stderr().write_all(format!("{}{line}\n", line.priority()).as_bytes()));
                }
            }
            Way::Prefixed(LogFormat::Human) => {
                drop(io::stderr().write_all(format!("{}{line}\n", line.priority()).as_bytes()));
            }
            Way::Prefixed(LogFormat::Json) => {
                drop(io::stderr().write_all(format!("{}{}", line.priority(), text(LogFormat::Json)).as_bytes()));
            }
            Way::Stderr(format) => drop(io::stderr().write_all(text(*format).as_bytes())),
            Way::Stdout(format) => drop(io::stdout().write_all(text(*format).as_bytes())),
        }
    }
}

/// Hands events on.
struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(log) = LOG.get() {
            log.hear(Line::of(event));
        }
    }
}

/// By target and level only: filters that look into spans and fields would need regular expressions, in memory too.
fn filter(wanted: Option<&str>, default: &str) -> Targets {
    wanted.and_then(|wanted| wanted.parse().ok()).or_else(|| default.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_wanted_outweighs_the_default_and_nonsense_does_not() {
        let shows = |wanted, target, level| filter(wanted, "warn,usaged=info").would_enable(target, &level);
        assert!(shows(None, "usaged::jobs", Level::INFO) && !shows(None, "usaged::jobs", Level::DEBUG));
        assert!(shows(None, "hyper", Level::WARN) && !shows(None, "hyper", Level::INFO));
        let flow = Some("warn,usaged::flow=debug");
        assert!(shows(flow, "usaged::flow", Level::DEBUG) && !shows(flow, "usaged::jobs", Level::INFO));
        assert!(shows(Some("usaged=loud"), "usaged::jobs", Level::INFO));
    }
}
