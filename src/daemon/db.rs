//! `usaged check-db` and `usaged recover-db`: the ledger's file while no daemon runs. A daemon does both by itself when it starts.

use std::path::Path;
use std::time::Duration;

use super::Exit;
use super::args::say;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Paths;
use crate::jobs;
use crate::store::{self, Depth, Recovered, Soundness, StateLock};

/// Whoever asks waits for the answer.
const PATIENCE: Duration = Duration::from_hours(1);

/// Says whether the file is sound, and exits 0 only if it is.
pub(super) fn check(database: &Path, full: bool) -> anyhow::Result<Exit> {
    let found = look(database, full)?;
    let out = &mut std::io::stdout();
    if found.is_empty() {
        say(out, &format!("{} is sound", database.display()));
        return Ok(Exit::Fine);
    }
    let hint = "hint: usaged recover-db, or start usaged, goes on with what can be read";
    say(out, &format!("{} is damaged:\n  {}\n{hint}", database.display(), found.join("\n  ")));
    Ok(Exit::Failed)
}

/// Recovers a damaged file, and exits 0 unless that cannot be done. A running daemon is asked by usagectl db recover.
pub(super) fn recover(paths: &Paths) -> anyhow::Result<Exit> {
    let database = paths.database();
    let _lock = StateLock::take(&paths.state)?;
    store::set_aside_if_marked(&database)?;
    let found = look(&database, true)?;
    let said = if found.is_empty() {
        format!("{} is sound: there is nothing to recover", database.display())
    } else {
        report(&jobs::recover(&database, found, SystemClock.read().wall)?)
    };
    say(&mut std::io::stdout(), &said);
    Ok(Exit::Fine)
}

fn look(database: &Path, full: bool) -> anyhow::Result<Vec<String>> {
    let depth = if full { Depth::Full } else { Depth::Quick };
    let mut found: Vec<String> = store::check_log(database)?.into_iter().collect();
    match store::check(database, depth, PATIENCE)? {
        Soundness::Damaged(lines) => found.extend(lines),
        Soundness::Unfinished => anyhow::bail!("{} could not be looked at within an hour", database.display()),
        Soundness::Sound => {}
    }
    Ok(found)
}

fn report(recovered: &Recovered) -> String {
    let tables = recovered.tables.iter().filter(|table| table.read > 0 || !table.is_whole()).map(|table| {
        let missing = table.missing.map_or_else(|| "some".to_owned(), |rows| rows.to_string());
        format!("\n  {}: {} rows read, {missing} missing", table.table, table.read)
    });
    format!("the damaged file was set aside as {}; the new one has{}", recovered.name, tables.collect::<String>())
}
