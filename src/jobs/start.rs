//! Start: what has to be settled before anything is measured or sent.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use super::{Context, JobError, Settings};
use crate::account::{self, Identity};
use crate::clock::Clock;
use crate::ledger;
use crate::model::Problem;
use crate::outbox::{self, Break};
use crate::sources::Machine;
use crate::store::Store;

/// What a context is made of.
pub struct Parts {
    /// The open database.
    pub store: Store,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The machine to be measured.
    pub machine: Machine,
    /// Where this boot's marks lie.
    pub runtime_dir: PathBuf,
    /// What the operator decided.
    pub settings: Settings,
    /// Where random numbers come from.
    pub dice: fastrand::Rng,
}

/// Judges the machine's identity (rule S11), draws a generation (rule S2), and knows the configured meters.
pub async fn start(mut parts: Parts) -> Result<Arc<Context>, JobError> {
    let incarnation = parts.machine.incarnation(&parts.runtime_dir)?;
    let machine = parts.machine.identity(&parts.runtime_dir);
    let random = parts.dice.u64(..);
    let now = parts.clock.read().wall;
    let (identity, generation) = parts
        .store
        .write(move |tx| {
            let identity = account::judge_identity(tx, &machine, now)?;
            let generation = outbox::draw(tx, random, because(tx)?, now)?;
            Ok::<_, JobError>((identity, generation))
        })
        .await?;
    let changed = matches!(identity, Identity::Changed { .. });
    let context = Arc::new(Context::new(parts, incarnation, generation, changed));
    if let Identity::Changed { stored } = identity {
        context.raise(Problem::needs_someone(
            "identity_changed",
            format!("this ledger was made on the machine {stored}, and this is another: nothing is sent (rule S11)"),
            "if this VM was moved: usagectl identity same --because …; if it is a clone: usagectl identity new --because …",
        ));
    }
    context.recall_date().await?;
    know_meters(&context).await?;
    Ok(context)
}

/// Whether the ledger says that it was left in order (rule S5: a restored copy does not).
fn because(connection: &Connection) -> Result<Break, JobError> {
    let stopped = ledger::coverage::was_stopped(connection)?;
    Ok(if stopped { Break::Start } else { Break::StartWithoutStop })
}

/// Makes the configured meters known to the ledger. Also after a reload.
pub async fn know_meters(context: &Context) -> Result<(), JobError> {
    let settings = context.settings();
    context
        .store
        .write(move |tx| {
            for meter in settings.config.meters.values() {
                ledger::meters::ensure(tx, meter)?;
            }
            Ok::<_, JobError>(())
        })
        .await
}
