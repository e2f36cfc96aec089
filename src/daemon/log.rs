//! The log: lines on stderr that journald files under their priority, or lines on stdout for a person at the sandbox.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{fmt, registry};

use crate::config::Environment;

/// Starts it. `USAGED_LOG` takes a filter such as `debug` or `usaged::flow=debug`.
pub(super) fn start(env: &Environment, sandbox: bool) {
    let default = if sandbox { "warn,usaged=info,usaged::flow=debug" } else { "warn,usaged=info" };
    let wanted = env.path("USAGED_LOG").map(|filter| filter.display().to_string());
    let log = registry().with(filter(wanted.as_deref(), default));
    let lines = fmt::layer().with_target(false).with_ansi(false);
    // A second start in one process, as tests do, keeps the first one's log.
    let started = if sandbox {
        log.with(lines.with_writer(io::stdout).compact()).try_init()
    } else if env.path("JOURNAL_STREAM").is_some() {
        log.with(lines.with_writer(Journal).without_time().with_level(false)).try_init()
    } else {
        log.with(lines.with_writer(io::stderr)).try_init()
    };
    drop(started);
}

/// By target and level only: filters that look into spans and fields would need regular expressions, in memory too.
fn filter(wanted: Option<&str>, default: &str) -> Targets {
    wanted.and_then(|wanted| wanted.parse().ok()).or_else(|| default.parse().ok()).unwrap_or_default()
}

/// Puts journald's priority before each line.
struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: "<6>", begun: false }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        let priority = match *meta.level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            _ => "<7>",
        };
        Line { priority, begun: false }
    }
}

struct Line {
    priority: &'static str,
    begun: bool,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if !self.begun {
            stderr.write_all(self.priority.as_bytes())?;
            self.begun = true;
        }
        stderr.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
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
