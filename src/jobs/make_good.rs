//! Make good: what the rooms can tell together of rows that were lost with a damaged database.

use super::{JobError, roll_up};
use std::path::Path;

use crate::model::{Micros, Problem, Timestamp};
use crate::store::{self, Recovered, Salvaged, Tx};
use crate::{account, ledger, outbox};

/// Recovers what can be read of a damaged ledger into a new one, and sets the damaged one aside. Nobody may have it open.
pub fn recover(path: &Path, found: Vec<String>, now: Timestamp) -> Result<Recovered, JobError> {
    store::recover(path, found, now, make_good)
}

/// Runs within the recovery, before anything else reads what was recovered.
fn make_good(tx: &Tx<'_>, recovered: &Recovered) -> Result<(), JobError> {
    ledger::lost::make_good(tx, recovered.at)?;
    account::make_good(tx, recovered)?;
    outbox::make_good(tx, recovered)?;
    if recovered.torn().next().is_some() {
        note_boundaries(tx)?;
        remember_usage(tx)?;
    }
    Ok(())
}

/// Rule M7: no bucket spans them, whether or not they are still among the boundaries.
fn note_boundaries(tx: &Tx<'_>) -> Result<(), JobError> {
    for record in outbox::all(tx)? {
        ledger::boundaries::note(tx, record.period.from, "period")?;
        ledger::boundaries::note(tx, record.period.to, "period")?;
    }
    for link in account::all(tx)? {
        ledger::boundaries::note(tx, link.from, "link")?;
        if let Some(to) = link.to {
            ledger::boundaries::note(tx, to, "link")?;
        }
    }
    Ok(())
}

/// What a period was rated with last, with every round of samples, is more than its buckets have now by what was lost of
/// them: that much is not to be lowered. What was taken back since that rating was no loss.
fn remember_usage(tx: &Tx<'_>) -> Result<(), JobError> {
    let links = roll_up::linked_items(tx)?;
    for record in outbox::all(tx)?.into_iter().filter(|record| record.segment_of.is_none()) {
        let found = roll_up::used_now(tx, &links, &record)?.get();
        let taken_back = ledger::voids::since(tx, &record.meter, outbox::rated_at(tx, record.id)?)?.get();
        let lost = record.used.saturating_sub(found).saturating_sub(taken_back);
        if lost > 0 {
            outbox::remember(tx, record.id, Micros::new(lost))?;
        }
    }
    Ok(())
}

/// What happened, as long as the damaged file lies there.
pub(super) fn problem(recovered: &Recovered) -> Problem {
    let Recovered { at, name, found, .. } = recovered;
    let why = found.first().map_or("no reason is known", String::as_str);
    let what =
        format!("usage.db was damaged ({why}); at {at} it was set aside as {name}, and what could be read goes on");
    let mut missing: Vec<String> = recovered.torn().map(missing).collect();
    missing.extend(recovered.log.clone());
    if missing.is_empty() {
        let hint = "nothing is missing; delete the damaged file once nobody needs it any more";
        return Problem::note("ledger_recovered", what, hint);
    }
    let hint = if recovered.is_whole(&["link", "item"]) {
        "usagectl sync shows what is sent; keep the damaged file until that is settled, then delete it"
    } else {
        "usagectl link …: what this VM is billed on was lost; keep the damaged file until that is settled"
    };
    Problem::needs_someone("ledger_recovered", format!("{what}; missing: {}", missing.join(", ")), hint)
}

fn missing(table: &Salvaged) -> String {
    let name = &table.table;
    match table.missing {
        Some(rows) => format!("{rows} of {name} ({} read)", table.read),
        None => format!("some of {name} ({} read)", table.read),
    }
}
