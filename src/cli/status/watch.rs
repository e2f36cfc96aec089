//! `usagectl status --watch`: the screen again and again, in place, until somebody has seen enough.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Exit, exit, screen};
use crate::cli::error::CliError;
use crate::cli::look::Look;
use crate::cli::run::Run;
use crate::cli::words::duration;
use crate::wire::Status;

/// Another screen than the shell's, without a cursor; and back.
const BEGIN: &str = "\u{1b}[?1049h\u{1b}[?25l";
const END: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// Shows it until Ctrl-C, and exits as the last look did. A daemon that is away is waited for.
pub(super) async fn watch(run: &mut Run<'_>, verbose: bool, every: Duration) -> Result<Exit, CliError> {
    let mut stopped = stopped().map_err(CliError::Start)?;
    let in_place = run.terminal && !run.json;
    if in_place {
        run.print(BEGIN.as_bytes())?;
    }
    let ended = loop {
        let (text, exit) = match look(run, verbose).await {
            Ok(seen) => seen,
            Err(error) => (told(&error), error.exit()),
        };
        let shown =
            if in_place { run.out.write_all(framed(run, &text, every).as_bytes()) } else { plainly(run, &text) };
        match shown.and_then(|()| run.out.flush()) {
            // Nobody looks any more.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(exit),
            Err(error) => break Err(CliError::Output(error)),
            Ok(()) => {}
        }
        if timeout(every, &mut stopped).await.is_ok() {
            break Ok((text, exit));
        }
    };
    if in_place {
        run.print(END.as_bytes())?;
    }
    let (text, exit) = ended?;
    if in_place {
        // The last of it stays where the next command is typed.
        run.print(text.as_bytes())?;
    }
    Ok(exit)
}

async fn look(run: &Run<'_>, verbose: bool) -> Result<(String, Exit), CliError> {
    let said = run.client.get("/v1/status").await?;
    let status: Status = said.read()?;
    let text = if run.json {
        String::from_utf8_lossy(&said.bytes).into_owned()
    } else {
        // The window may have got another size.
        let look = Look { width: (run.size)().width, ..run.look };
        look.plain(&screen(&status, look, verbose)).into_owned()
    };
    Ok((text, exit(&status)))
}

fn told(error: &CliError) -> String {
    let mut text = Vec::new();
    // Into memory, which takes everything.
    _ = error.tell(&mut text, false).is_ok();
    String::from_utf8_lossy(&text).into_owned()
}

/// One after another, as for a file or a pipe.
fn plainly(run: &mut Run<'_>, text: &str) -> io::Result<()> {
    run.out.write_all(text.as_bytes())?;
    if run.json { Ok(()) } else { run.out.write_all(b"\n") }
}

/// The text over what stood there, as much of it as there is room for, with how it ends in the last line.
fn framed(run: &Run<'_>, text: &str, every: Duration) -> String {
    let height = (run.size)().height;
    let seconds = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
    let mut framed = String::from("\u{1b}[H");
    for line in text.lines().take(height.saturating_sub(1)) {
        framed += line;
        framed += "\u{1b}[K\n";
    }
    framed + &format!("every {}, Ctrl-C ends it\u{1b}[K\u{1b}[J", duration(seconds))
}

/// Ends with the first SIGINT or SIGTERM.
fn stopped() -> io::Result<oneshot::Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (tell, stopped) = oneshot::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        signals.forever().next();
        // The watch may have ended by itself.
        _ = tell.send(()).is_ok();
    })?;
    Ok(stopped)
}
