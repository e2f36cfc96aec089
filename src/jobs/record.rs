//! Record: credits that applications push (rules M8, M9). The answer comes after the data is on disk.

use std::sync::Arc;

use super::{Context, JobError};
use crate::ledger::credits::{self, Limits, NewCredit, Verdict};
use crate::ledger::voids::{self, Void, Voided};
use crate::ledger::{LedgerError, placement};
use crate::model::{Source, split_hint};
use crate::store::Tx;

/// Stores records in one transaction, and says what became of each, in their order.
pub async fn record(context: &Arc<Context>, records: Vec<NewCredit>) -> Result<Vec<Verdict>, JobError> {
    let reading = context.clock.read();
    let job = Arc::clone(context);
    context
        .store
        .write(move |tx| {
            job.intake.is_open()?;
            let boot_id = &job.incarnation.boot_id;
            let waiting = placement::waiting_since(tx, boot_id)?;
            let place = job.placement(reading, waiting);
            let settings = job.settings();
            records
                .iter()
                .map(|record| match refusal(&settings.config, record) {
                    Err(refused) => Ok(refused),
                    Ok(limits) => Ok(credits::accept(tx, record, reading, &place, boot_id, &limits)?),
                })
                .collect()
        })
        .await
}

/// What the configuration says against it.
fn refusal(config: &crate::config::Config, record: &NewCredit) -> Result<Limits, Verdict> {
    let refused = |code, reason: String| Verdict::Refused { code, reason };
    let Some(meter) = config.meters.get(&record.meter) else {
        let known: Vec<&str> = config
            .meters
            .values()
            .filter(|meter| meter.source == Source::Push)
            .map(|meter| meter.name.as_str())
            .collect();
        let reason = format!("there is no meter {}; records go to {}", record.meter, known.join(", "));
        return Err(refused("unknown_meter", reason));
    };
    if meter.source != Source::Push {
        let reason = format!("the meter {} is measured by {}, it takes no records", meter.name, meter.source.word());
        return Err(refused("not_a_push_meter", reason));
    }
    Ok(Limits::of(meter, config.intake.dedupe_days))
}

/// Takes a record back.
pub async fn void(context: &Arc<Context>, void: Void) -> Result<Voided, JobError> {
    let now = context.now();
    let job = Arc::clone(context);
    let voided = context
        .store
        .write(move |tx: &Tx<'_>| {
            job.intake.is_open()?;
            voids::void(tx, &void, now)
        })
        .await;
    voided.map_err(|error| match error {
        LedgerError::NoCredit { .. } | LedgerError::NoMeter { .. } => {
            let text = error.to_string();
            let (what, hint) = split_hint(&text);
            JobError::refused("unknown_record", what, hint.unwrap_or("check meter, id and source"))
        }
        other => other.into(),
    })
}
