//! The log: lines on stderr that journald files under their priority, or lines on stdout for a person at the sandbox.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Environment;

/// Starts it. `USAGED_LOG` takes a filter such as `debug` or `usaged::flow=debug`.
pub(super) fn start(env: &Environment, sandbox: bool) {
    let default = if sandbox { "warn,usaged=info,usaged::flow=debug" } else { "warn,usaged=info" };
    let wanted = env.path("USAGED_LOG").map_or_else(|| default.to_owned(), |filter| filter.display().to_string());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // A second start in one process, as tests do, keeps the first one's log.
    let started = if sandbox {
        lines.with_writer(io::stdout).with_ansi(false).compact().try_init()
    } else if env.path("JOURNAL_STREAM").is_some() {
        lines.with_writer(Journal).with_ansi(false).without_time().with_level(false).try_init()
    } else {
        lines.with_writer(io::stderr).with_ansi(false).try_init()
    };
    drop(started);
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
