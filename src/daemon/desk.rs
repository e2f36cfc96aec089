//! The front desk: takes the API's questions to the jobs, and their answers back.

use std::sync::Arc;

use tokio::sync::watch;

use super::pusher::{Nudge, Nudges};
use super::{schedule, sick};
use crate::api::{Answer, ApiError, Caller, Desk, ExportRequest, Record};
use crate::config::{Paths, Reading};
use crate::jobs::{self, Context, JobError, Running};
use crate::ledger::LedgerError;
use crate::ledger::credits::{NewCredit, Verdict};
use crate::ledger::voids::Void;
use crate::model::{MeterName, SourceName, Timestamp, micros_of, split_hint};
use crate::outbox::OutboxError;
use crate::store::StoreError;
use crate::wire::{
    AlertTestReport, AlertsReport, AuditReport, AuditVerifyReport, DbBackupReport, DbBackupRequest, DbCheckReport,
    DbCheckRequest, DbRecoverReport, DoctorReport, DrainReport, ExplainReport, ExplainRequest, ExportPage,
    IdentityReport, IdentityRequest, LinkReport, LinkRequest, PathsStatus, PrepareImageReport, PrepareImageRequest,
    ReconcileReport, ReconcileRequest, RecordAnswer, RecordOutcome, ReleaseReport, ReleaseRequest, SCHEMA, Status,
    SyncReport, SyncRequest, UsageReport, UsageRequest, VoidReport, VoidRequest,
};

/// A caller that is told to come again waits this long.
const RETRY_AFTER_S: u32 = 2;

/// Answers for the daemon.
pub(super) struct FrontDesk {
    context: Arc<Context>,
    nudges: Nudges,
    set_aside: watch::Sender<Option<Afterwards>>,
    sandbox: bool,
    since: Timestamp,
    paths: Paths,
}

/// What the daemon does once the ledger is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Begins anew with an empty one.
    BeginAnew,
    /// Ends: an image is made of the disk.
    Rest,
    /// It is damaged: begins anew with what can be read of it.
    Recover,
}

impl FrontDesk {
    /// On `set_aside` it says that the ledger is marked, and what comes afterwards.
    pub(super) fn new(
        context: Arc<Context>,
        nudges: Nudges,
        set_aside: watch::Sender<Option<Afterwards>>,
        sandbox: bool,
        paths: Paths,
    ) -> Self {
        let since = context.now();
        Self { context, nudges, set_aside, sandbox, since, paths }
    }

    fn running(&self) -> Running {
        let schedule = &self.context.settings().config.schedule;
        let now = self.context.now();
        let offset = micros_of(self.context.steady_offset(schedule.spread));
        // The run whose turn has come but whose offset has not passed is still ahead, unless it came before the start.
        let turn_after = now.minus(offset).max(self.since);
        let after_offset = |cron| schedule::next(cron, turn_after).map(|at| at.plus(offset));
        Running {
            since: self.since,
            sandbox: self.sandbox,
            next_push: after_offset(&schedule.push),
            next_reconcile: after_offset(&schedule.reconcile),
            next_compact: schedule::next(&schedule.compact, now),
            next_look: after_offset(&schedule.look),
            paths: PathsStatus {
                config: (self.paths.reading != Reading::Never).then(|| self.paths.config.display().to_string()),
                socket: self.paths.socket().display().to_string(),
            },
        }
    }

    /// What is wrong with the ledger's file, once something is.
    fn damage(&self) -> Option<String> {
        self.context.store.damage().borrow().clone()
    }

    /// Something changed that should stand soon.
    fn nudge(&self, because: &'static str) {
        self.nudges.send(Nudge::Push(because));
    }
}

impl Desk for FrontDesk {
    fn status(&self) -> Answer<'_, Status> {
        Box::pin(async {
            let said = jobs::status(&self.context, self.running()).await;
            match (said, self.damage()) {
                (Err(_), Some(what)) => Ok(sick::status(self.context.store.path(), &what, self.since, self.sandbox)),
                (said, _) => said.map_err(explain),
            }
        })
    }

    fn usage(&self, request: UsageRequest) -> Answer<'_, UsageReport> {
        Box::pin(async move { jobs::usage(&self.context, &request).await.map_err(explain) })
    }

    fn record(&self, caller: Caller, records: Vec<Record>) -> Answer<'_, Vec<RecordAnswer>> {
        Box::pin(async move {
            let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
            let credits = records.into_iter().map(|record| new_credit(record, caller)).collect();
            let verdicts = jobs::record(&self.context, credits).await.map_err(explain)?;
            Ok(ids.into_iter().zip(verdicts).map(|(id, verdict)| answer(id, verdict)).collect())
        })
    }

    fn void(&self, caller: Caller, request: VoidRequest) -> Answer<'_, VoidReport> {
        Box::pin(async move {
            let voided = jobs::void(&self.context, new_void(&request, caller)?).await.map_err(explain)?;
            if !voided.already {
                self.nudge("void");
            }
            Ok(VoidReport {
                schema: SCHEMA,
                id: request.id,
                voided: !voided.already,
                quantity: voided.quantity.to_string(),
                at: voided.at.map(|at| at.to_string()),
            })
        })
    }

    fn link(&self, caller: Caller, request: LinkRequest) -> Answer<'_, LinkReport> {
        Box::pin(async move {
            let linked = jobs::link(&self.context, &request, &actor(caller)).await.map_err(explain)?;
            self.nudge("link");
            Ok(linked)
        })
    }

    fn sync(&self, _caller: Caller, request: SyncRequest) -> Answer<'_, SyncReport> {
        Box::pin(async move { jobs::sync(&self.context, &request).await.map_err(explain) })
    }

    fn reconcile(&self, _caller: Caller, request: ReconcileRequest) -> Answer<'_, ReconcileReport> {
        Box::pin(async move { jobs::reconcile(&self.context, "command", &request).await.map_err(explain) })
    }

    fn release(&self, caller: Caller, request: ReleaseRequest) -> Answer<'_, ReleaseReport> {
        Box::pin(async move {
            let released = jobs::release(&self.context, &request, &actor(caller)).await.map_err(explain)?;
            self.nudge("release");
            Ok(released)
        })
    }

    fn identity(&self, caller: Caller, request: IdentityRequest) -> Answer<'_, IdentityReport> {
        Box::pin(async move {
            let said = jobs::identity(&self.context, &request, &actor(caller)).await.map_err(explain)?;
            if said.set_aside.is_some() {
                self.set_aside.send_replace(Some(Afterwards::BeginAnew));
            } else {
                self.nudge("identity");
            }
            Ok(said)
        })
    }

    fn prepare_image(&self, caller: Caller, request: PrepareImageRequest) -> Answer<'_, PrepareImageReport> {
        Box::pin(async move {
            let prepared = jobs::prepare_image(&self.context, &request, &actor(caller)).await.map_err(explain)?;
            self.set_aside.send_replace(Some(Afterwards::Rest));
            Ok(prepared)
        })
    }

    fn drain(&self, caller: Caller) -> Answer<'_, DrainReport> {
        Box::pin(async move { jobs::drain(&self.context, &actor(caller)).await.map_err(explain) })
    }

    fn db_check(&self, _caller: Caller, request: DbCheckRequest) -> Answer<'_, DbCheckReport> {
        Box::pin(async move { jobs::db_check(&self.context, &request).await.map_err(explain) })
    }

    fn db_backup(&self, _caller: Caller, request: DbBackupRequest) -> Answer<'_, DbBackupReport> {
        Box::pin(async move { jobs::db_backup(&self.context, &request).await.map_err(explain) })
    }

    fn db_recover(&self, _caller: Caller) -> Answer<'_, DbRecoverReport> {
        Box::pin(async move { jobs::db_recover(&self.context).await.map_err(explain) })
    }

    fn audit(&self, since: Option<Timestamp>, limit: u32) -> Answer<'_, AuditReport> {
        Box::pin(async move { jobs::audit(&self.context, since, limit).await.map_err(explain) })
    }

    fn audit_verify(&self) -> Answer<'_, AuditVerifyReport> {
        Box::pin(async move { jobs::audit_verify(&self.context).await.map_err(explain) })
    }

    fn explain(&self, request: ExplainRequest) -> Answer<'_, ExplainReport> {
        Box::pin(async move { jobs::explain(&self.context, &request).await.map_err(explain) })
    }

    fn export(&self, request: ExportRequest) -> Answer<'_, ExportPage> {
        let ExportRequest { what, span, meter, after, limit } = request;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        Box::pin(async move {
            jobs::export(&self.context, jobs::Export { what, span, meter, after, most }).await.map_err(explain)
        })
    }

    fn alerts(&self, most: u32) -> Answer<'_, AlertsReport> {
        Box::pin(async move { jobs::alerts(&self.context, most).await.map_err(explain) })
    }

    fn test_alert(&self, _caller: Caller) -> Answer<'_, AlertTestReport> {
        Box::pin(async move { jobs::test_alert(&self.context).await.map_err(explain) })
    }

    fn doctor(&self) -> Answer<'_, DoctorReport> {
        Box::pin(async {
            let said = jobs::doctor(&self.context).await;
            match (said, self.damage()) {
                (Err(_), Some(what)) => Ok(sick::doctor(&what)),
                (said, _) => said.map_err(explain),
            }
        })
    }
}

fn actor(caller: Caller) -> String {
    SourceName::of_uid(caller.uid).to_string()
}

fn new_credit(record: Record, caller: Caller) -> NewCredit {
    NewCredit {
        meter: record.meter,
        source: record.source,
        id: record.id,
        quantity: record.quantity,
        at: record.at,
        uid: caller.uid,
    }
}

fn answer(id: String, verdict: Verdict) -> RecordAnswer {
    let (outcome, code, reason) = match verdict {
        Verdict::Accepted => (RecordOutcome::Accepted, None, None),
        Verdict::Duplicate => (RecordOutcome::Duplicate, None, None),
        Verdict::Refused { code, reason } => (RecordOutcome::Refused, Some(code.to_owned()), Some(reason)),
    };
    RecordAnswer { id, outcome, code, reason }
}

fn new_void(request: &VoidRequest, caller: Caller) -> Result<Void, ApiError> {
    let bad = |error: crate::model::NameError| ApiError::bad_request("bad_name", error.to_string());
    let source = match &request.source {
        Some(source) => SourceName::new(source.clone()).map_err(bad)?,
        None => SourceName::of_uid(caller.uid),
    };
    Ok(Void {
        meter: MeterName::new(request.meter.clone()).map_err(bad)?,
        source,
        id: request.id.clone(),
        because: request.because.clone(),
        uid: caller.uid,
    })
}

/// A job's failure as the caller reads it.
pub(super) fn explain(error: JobError) -> ApiError {
    if let Some(StoreError::Damaged { what }) = store_error(&error) {
        return sick::refusal(what);
    }
    if let Some(store) = store_error(&error)
        && store.is_passing()
    {
        let said = store.to_string();
        let (what, hint) = split_hint(&said);
        return ApiError::busy(what, RETRY_AFTER_S).hint(hint.unwrap_or("try again"));
    }
    let hint = error.hint();
    let said = match error {
        JobError::Refused { code, what, .. } if code.starts_with("bad_") => ApiError::bad_request(code, what),
        JobError::Refused { code: code @ "unknown_record", what, .. } => ApiError::not_found(code, what),
        JobError::Refused { code, what, .. } => ApiError::refused(code, what),
        // An answer that is usable: what was asked for is not there.
        error if error.is_missing() => ApiError::refused("unknown_at_provider", error.to_string()),
        JobError::Provider(_) => ApiError::provider("provider", error.to_string()),
        other => ApiError::internal(other.to_string()),
    };
    match hint {
        Some(hint) => said.hint(hint),
        None => said,
    }
}

fn store_error(error: &JobError) -> Option<&StoreError> {
    match error {
        JobError::Store(store)
        | JobError::Ledger(LedgerError::Store(store))
        | JobError::Outbox(OutboxError::Store(store)) => Some(store),
        _ => None,
    }
}
