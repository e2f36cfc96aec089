//! `usagectl export`: rows in pages, written as they come, so that neither side ever holds all of them.

mod bar;
mod sheet;
mod sink;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use self::bar::Bar;
use self::sink::Sink;
use super::Exit;
use super::args::{ExportArgs, ExportFormat, ExportWhatArg};
use super::error::CliError;
use super::run::Run;
use crate::wire::{ExportPage, ExportWhat};

pub(super) async fn export(run: &mut Run<'_>, args: ExportArgs) -> Result<Exit, CliError> {
    let enough = interruptions()?;
    let what = what(args.what);
    let format = args.format.unwrap_or(if run.json { ExportFormat::Jsonl } else { ExportFormat::Csv });
    let mut sink = Sink::open(args.output.as_deref())?;
    let mut bar = Bar::new(run.watched);
    let mut rows: u64 = 0;
    let mut waiting = 0;
    let mut next = None;
    let mut text = if format == ExportFormat::Csv { sheet::heading(what) } else { String::new() };
    loop {
        let left = sink.left();
        let page = match page(run, &args, what, next.as_deref()).await {
            _ if enough.load(Ordering::Relaxed) => Err(CliError::ExportInterrupted { rows, left }),
            Err(source) if rows > 0 => Err(CliError::ExportCut { rows, left, source: Box::new(source) }),
            page => page,
        };
        let page = page.inspect_err(|_| bar.clear(run.err))?;
        for row in &page.rows {
            text += &sheet::line(what, format, row);
        }
        if !sink.write(run.out, &text)? {
            // Whoever reads has seen enough.
            return Ok(Exit::Fine);
        }
        text.clear();
        rows = rows.saturating_add(u64::try_from(page.rows.len()).unwrap_or(0));
        waiting = page.waiting.unwrap_or(waiting);
        bar.draw(run.err, rows, page.total);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    bar.clear(run.err);
    if let Some(path) = sink.finish()? {
        run.print(format!("Written to {}: {rows} rows.\n", path.display()).as_bytes())?;
    }
    if waiting > 0 {
        writeln!(run.err, "note: {waiting} records wait for a trusted clock and are not among them")?;
    }
    Ok(Exit::Fine)
}

async fn page(run: &Run<'_>, args: &ExportArgs, what: ExportWhat, after: Option<&str>) -> Result<ExportPage, CliError> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("what", what.word());
    let from = args.from.as_ref().map(|from| from.start(run.now));
    let to = args.to.as_ref().map(|to| to.end(run.now));
    for (name, time) in [("from", from), ("to", to)] {
        query.extend_pairs(time.map(|time| (name, time.to_string())));
    }
    query.extend_pairs(args.meter.as_deref().map(|meter| ("meter", meter)));
    query.extend_pairs(after.map(|after| ("after", after)));
    run.client.get(&format!("/v1/export?{}", query.finish())).await?.read()
}

const fn what(what: ExportWhatArg) -> ExportWhat {
    match what {
        ExportWhatArg::Usage => ExportWhat::Usage,
        ExportWhatArg::Credits => ExportWhat::Credits,
        ExportWhatArg::Deliveries => ExportWhat::Deliveries,
    }
}

/// Set by the first signal that ends programs, so that no half of a file is left; the second one ends this as any other.
fn interruptions() -> io::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(asked)
}
