//! The desk while usage.db is damaged: it says so, and takes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::api::{Answer, ApiError, Caller, Desk, ExportRequest, Record};
use crate::clock::{Clock as _, SystemClock};
use crate::jobs;
use crate::model::{Problem, Timestamp, split_hint};
use crate::wire::{
    AlertTestReport, AlertsReport, AuditReport, AuditVerifyReport, Check, ClockStatus, CoverageStatus, DatabaseStatus,
    DbBackupReport, DbBackupRequest, DbCheckReport, DbCheckRequest, DbRecoverReport, DoctorReport, DrainReport,
    ExplainReport, ExplainRequest, ExportPage, IdentityReport, IdentityRequest, LinkReport, LinkRequest,
    PrepareImageReport, PrepareImageRequest, PushStatus, ReconcileReport, ReconcileRequest, RecordAnswer,
    ReleaseReport, ReleaseRequest, SCHEMA, Status, SyncReport, SyncRequest, UsageReport, UsageRequest, Verdict,
    VoidReport, VoidRequest,
};

pub(super) const DAMAGED: &str = "database_damaged";
const HINT: &str = "usaged recovers what can be read by itself; usagectl status shows what became of it";
/// A caller that is told to come again waits this long.
const RETRY_AFTER_S: u32 = 10;

/// Answers for a daemon whose ledger cannot be opened.
pub(super) struct SickDesk {
    path: PathBuf,
    sandbox: bool,
    since: Timestamp,
    what: Mutex<String>,
    recover_now: Notify,
}

impl SickDesk {
    pub(super) fn new(path: PathBuf, found: &[String], sandbox: bool) -> Self {
        let what = format!("{}; what can be read is being recovered", found.first().map_or("", String::as_str));
        let since = SystemClock.read().wall;
        Self { path, sandbox, since, what: Mutex::new(what), recover_now: Notify::new() }
    }

    /// Why it is not recovered.
    pub(super) fn say(&self, error: &str) {
        let (what, _) = split_hint(error);
        tracing::error!("usage.db is damaged and could not be recovered: {error}");
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) =
            format!("it could not be recovered and is tried again every minute: {what}");
    }

    /// Until somebody asks for it.
    pub(super) async fn asked_to_recover(&self) {
        self.recover_now.notified().await;
    }

    pub(super) fn what(&self) -> String {
        self.what.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse<T: Send>(&self) -> Answer<'_, T> {
        let error = refusal(&self.what());
        Box::pin(async { Err(error) })
    }
}

/// 503: nothing was stored, and the same request may work once the file is recovered.
pub(super) fn refusal(what: &str) -> ApiError {
    ApiError::damaged(DAMAGED, format!("usage.db is damaged: {what}; nothing of this was stored"), RETRY_AFTER_S)
        .hint(HINT)
}

/// What can be said without the ledger.
pub(super) fn status(path: &Path, what: &str, since: Timestamp, sandbox: bool) -> Status {
    let now = SystemClock.read().wall;
    let month = jobs::utc_month(now);
    Status {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        now: now.to_string(),
        since: since.to_string(),
        mode: if sandbox { "sandbox" } else { "unbilled" }.to_owned(),
        problems: vec![problem(what)],
        link: None,
        paused: None,
        period_from: month.from.to_string(),
        period_to: month.to.to_string(),
        meters: Vec::new(),
        sample_every_s: 0,
        last_sample: None,
        push: PushStatus {
            last_at: None,
            last_outcome: None,
            last_what: None,
            last_request_id: None,
            last_accepted_at: None,
            next_at: None,
        },
        unsent: Vec::new(),
        clock: ClockStatus { trusted_by: "nobody yet".to_owned(), ahead_s: None, set_by_timesync: None },
        coverage: CoverageStatus { observed_bp: 0, gaps: 0 },
        database: DatabaseStatus {
            path: path.display().to_string(),
            bytes: path.metadata().map_or(0, |found| found.len()),
            schema: 0,
        },
        jobs: Vec::new(),
        provider: None,
        identity: None,
        paths: None,
    }
}

const NEXT: &str = "the kernel's counters go on, and are read once it is recovered: keep this machine up; no records are taken and \
                    nothing is sent meanwhile. usagectl db recover tries at once";

/// What needs someone.
pub(super) fn problem(what: &str) -> Problem {
    Problem::needs_someone(DAMAGED, format!("usage.db is damaged: {what}"), NEXT)
}

/// The doctor's one finding.
pub(super) fn doctor(what: &str) -> DoctorReport {
    let found = format!("usage.db is damaged: {what}");
    let check = Check { name: "database".to_owned(), verdict: Verdict::Fail, found, fix: NEXT.to_owned() };
    DoctorReport { schema: SCHEMA, checks: vec![check] }
}

impl Desk for SickDesk {
    fn status(&self) -> Answer<'_, Status> {
        let status = status(&self.path, &self.what(), self.since, self.sandbox);
        Box::pin(async { Ok(status) })
    }

    fn usage(&self, _request: UsageRequest) -> Answer<'_, UsageReport> {
        self.refuse()
    }

    fn record(&self, _caller: Caller, _records: Vec<Record>) -> Answer<'_, Vec<RecordAnswer>> {
        self.refuse()
    }

    fn void(&self, _caller: Caller, _request: VoidRequest) -> Answer<'_, VoidReport> {
        self.refuse()
    }

    fn link(&self, _caller: Caller, _request: LinkRequest) -> Answer<'_, LinkReport> {
        self.refuse()
    }

    fn sync(&self, _caller: Caller, _request: SyncRequest) -> Answer<'_, SyncReport> {
        self.refuse()
    }

    fn reconcile(&self, _caller: Caller, _request: ReconcileRequest) -> Answer<'_, ReconcileReport> {
        self.refuse()
    }

    fn release(&self, _caller: Caller, _request: ReleaseRequest) -> Answer<'_, ReleaseReport> {
        self.refuse()
    }

    fn identity(&self, _caller: Caller, _request: IdentityRequest) -> Answer<'_, IdentityReport> {
        self.refuse()
    }

    fn prepare_image(&self, _caller: Caller, _request: PrepareImageRequest) -> Answer<'_, PrepareImageReport> {
        self.refuse()
    }

    fn drain(&self, _caller: Caller) -> Answer<'_, DrainReport> {
        self.refuse()
    }

    fn audit(&self, _since: Option<Timestamp>, _limit: u32) -> Answer<'_, AuditReport> {
        self.refuse()
    }

    fn audit_verify(&self) -> Answer<'_, AuditVerifyReport> {
        self.refuse()
    }

    fn explain(&self, _request: ExplainRequest) -> Answer<'_, ExplainReport> {
        self.refuse()
    }

    fn export(&self, _request: ExportRequest) -> Answer<'_, ExportPage> {
        self.refuse()
    }

    fn alerts(&self, _most: u32) -> Answer<'_, AlertsReport> {
        self.refuse()
    }

    fn test_alert(&self, _caller: Caller) -> Answer<'_, AlertTestReport> {
        self.refuse()
    }

    fn doctor(&self) -> Answer<'_, DoctorReport> {
        let report = doctor(&self.what());
        Box::pin(async { Ok(report) })
    }

    fn db_check(&self, _caller: Caller, request: DbCheckRequest) -> Answer<'_, DbCheckReport> {
        let report = DbCheckReport {
            schema: SCHEMA,
            path: self.path.display().to_string(),
            full: request.full,
            verdict: jobs::DAMAGED.to_owned(),
            found: vec![self.what()],
            took_ms: 0,
        };
        Box::pin(async { Ok(report) })
    }

    fn db_backup(&self, _caller: Caller, _request: DbBackupRequest) -> Answer<'_, DbBackupReport> {
        self.refuse()
    }

    fn db_recover(&self, _caller: Caller) -> Answer<'_, DbRecoverReport> {
        self.recover_now.notify_one();
        let what = format!("usage.db is damaged, and its recovery is tried now: {}", self.what());
        Box::pin(async { Ok(DbRecoverReport { schema: SCHEMA, what }) })
    }
}
