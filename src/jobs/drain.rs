//! Drain: send everything, read it back, and certify what stands, before this VM is deleted (rule S13).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::certificate::{Certificate, Owed, owed, read_back};
use super::deliver::Which;
use super::intake::Draining;
use super::{Context, JobError, push};
use crate::account;
use crate::config::ProviderKind;
use crate::model::{Problem, Timestamp};
use crate::outbox;
use crate::provider::Provider;
use crate::store::audit;
use crate::wire::{DrainReport, SCHEMA};

/// Pushes get this long together: whoever asked is still there when it is read back.
const PUSHES: Duration = Duration::from_secs(100);

/// Closes the intake, pushes, reads back and reports. The intake stays closed only behind a certificate; however else
/// this ends, records are taken again.
pub async fn drain(context: &Arc<Context>, actor: &str) -> Result<DrainReport, JobError> {
    let _one_at_a_time = context.draining.lock().await;
    refuse_what_bills_nothing_by_mistake(context).await?;
    let draining = close_intake(context).await?;
    let deadline = Instant::now() + PUSHES;
    let (mut certificate, mut until) = attempt(context, deadline).await?;
    if !certificate.is_whole() {
        // The first answer may bring the time by which the second places what was waiting for it.
        (certificate, until) = attempt(context, deadline).await?;
    }
    note(context, &certificate, until, actor).await?;
    if certificate.is_whole() {
        context.intake.stay_closed();
        context.raise(drained(until));
    }
    drop(draining);
    Ok(report(context, certificate, until))
}

/// A VM that was to be billed and is not should not be deleted as if nothing were owed.
async fn refuse_what_bills_nothing_by_mistake(context: &Context) -> Result<(), JobError> {
    let settings = context.settings();
    if settings.config.provider.kind == ProviderKind::None {
        return Ok(());
    }
    if matches!(settings.provider, Provider::None) {
        let what = "a provider is configured and cannot be used, so nothing can be sent or read back";
        return Err(JobError::refused(
            "no_provider",
            what,
            "usagectl status says why; usagectl doctor looks at the key",
        ));
    }
    if context.store.read(account::in_force).await?.is_none() {
        let what = "a provider is configured and this VM is not linked, so nothing that it used is billed";
        let hint = "usagectl link --customer cus_… --subscription sub_…; or delete it, if nothing is to be billed";
        return Err(JobError::refused("not_linked", what, hint));
    }
    Ok(())
}

/// From here on nothing is acknowledged that a certificate would not hold, and what stands is read before the push.
pub(super) async fn close_intake(context: &Arc<Context>) -> Result<Draining, JobError> {
    let draining = Draining::default();
    let (job, mark) = (Arc::clone(context), draining.mark());
    let closed = context.store.write(move |tx| {
        job.intake.close_for(mark);
        outbox::read_again(tx)
    });
    closed.await?;
    Ok(draining)
}

/// One push and what stands after it, with the time until when all that was used is in it.
async fn attempt(context: &Arc<Context>, deadline: Instant) -> Result<(Certificate, Timestamp), JobError> {
    let begun = context.clock.read();
    let failed = match timeout_at(deadline, push::push(context, "drain", Which::Now)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("the push failed: {error}")),
        Err(_) => Some("the push came to no end in time".to_owned()),
    };
    let (settings, now) = (context.settings(), context.now());
    let mut owed: Owed = context.store.write(move |tx| owed(tx, &settings.config, now)).await?;
    owed.missing.extend(failed);
    owed.missing.extend(context.unmeasured(&owed));
    if context.identity_changed() {
        owed.missing.push("this ledger was made on another machine, so nothing is sent (rule S11)".to_owned());
    }
    let certificate = read_back(context, owed).await?;
    Ok((certificate, context.utc(begun)))
}

impl Context {
    /// What the totals cannot hold, since nobody could read it.
    fn unmeasured(&self, owed: &Owed) -> Vec<String> {
        let unreadable =
            |code: &str| owed.rows.iter().any(|row| code == format!("meter_unreadable_{}", row.record.meter));
        self.problems().into_iter().filter(|problem| unreadable(&problem.code)).map(|problem| problem.what).collect()
    }
}

async fn note(context: &Context, certificate: &Certificate, until: Timestamp, actor: &str) -> Result<(), JobError> {
    let lines = certificate.lines.iter();
    let stands: BTreeMap<_, _> =
        lines.map(|line| (format!("{} from {}", line.item, line.period_from), line.stands)).collect();
    let certified = certificate.is_whole();
    let missing = &certificate.missing;
    let detail = json!({"certified": certified, "until": until, "stands": stands, "missing": missing});
    let (actor, now) = (actor.to_owned(), context.now());
    let noted = context.store.write(move |tx| {
        let subscription = account::in_force(tx)?.map(|link| link.subscription.to_string());
        audit::append(tx, now, &actor, "drain", subscription.as_deref().unwrap_or("none"), &detail)?;
        Ok::<_, JobError>(())
    });
    noted.await
}

fn drained(until: Timestamp) -> Problem {
    let what = format!("this VM is drained: what was used until {until} stands, and no more records are taken");
    Problem::needs_someone("drained", what, "delete the VM; to go on instead: systemctl restart usaged")
}

fn report(context: &Context, certificate: Certificate, until: Timestamp) -> DrainReport {
    let bills_nothing = certificate.lines.is_empty() && matches!(context.settings().provider, Provider::None);
    let note = "nothing is billed here: no provider is configured";
    DrainReport {
        schema: SCHEMA,
        certified: certificate.is_whole(),
        until: until.to_string(),
        intake_open: context.intake.is_open().is_ok(),
        notes: bills_nothing.then(|| note.to_owned()).into_iter().collect(),
        lines: certificate.lines,
        missing: certificate.missing,
    }
}
