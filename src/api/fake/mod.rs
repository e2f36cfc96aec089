//! A desk that answers from a script, and a server for it on a real socket. Tests only.

pub(crate) mod answers;
mod server;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

pub(crate) use server::Server;

use super::{Answer, ApiError, Caller, Desk, ExportRequest, Record};
use crate::model::Timestamp;
use crate::wire::{
    AlertTestReport, AlertsReport, AuditReport, AuditVerifyReport, DbBackupReport, DbBackupRequest, DbCheckReport,
    DbCheckRequest, DbRecoverReport, DoctorReport, DrainReport, ExplainReport, ExplainRequest, ExportPage,
    IdentityReport, IdentityRequest, LinkReport, LinkRequest, PrepareImageReport, PrepareImageRequest, ReconcileReport,
    ReconcileRequest, RecordAnswer, RecordOutcome, ReleaseReport, ReleaseRequest, Status, SyncReport, SyncRequest,
    UsageReport, UsageRequest, VoidReport, VoidRequest,
};

/// The desk of a test.
#[derive(Default)]
pub(crate) struct FakeDesk {
    /// What `status` says; default is [`answers::healthy`].
    pub(crate) status: Mutex<Option<Status>>,
    /// What was asked, one line each.
    pub(crate) asked: Mutex<Vec<String>>,
    /// Records that counted, by id.
    pub(crate) recorded: Mutex<BTreeSet<String>>,
    /// So many intakes are answered 503 first.
    pub(crate) busy: AtomicU32,
    /// Commands are refused by rule.
    pub(crate) refuses: AtomicBool,
    /// Where set, `doctor` waits for it.
    pub(crate) held: Mutex<Option<Arc<Notify>>>,
}

impl FakeDesk {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn by_rule<T>(&self, answer: T) -> Result<T, ApiError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(ApiError::refused("item_claimed", "si_compute is pushed to by another machine (rule S10)")
                .hint("give every VM an item of its own"));
        }
        Ok(answer)
    }

    fn judge(&self, record: &Record) -> RecordAnswer {
        let refused = (record.meter.as_str() != "api_credits").then(|| {
            ("unknown_meter", format!("there is no meter {:?}; did you mean \"api_credits\"?", record.meter.as_str()))
        });
        let outcome = match &refused {
            Some(_) => RecordOutcome::Refused,
            None if self.recorded.lock().unwrap().insert(record.id.clone()) => RecordOutcome::Accepted,
            None => RecordOutcome::Duplicate,
        };
        let (code, reason) = refused.map(|(code, reason)| (code.to_owned(), reason)).unzip();
        RecordAnswer { id: record.id.clone(), outcome, code, reason }
    }
}

fn now<'a, T: Send + 'a>(answer: Result<T, ApiError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Desk for FakeDesk {
    fn status(&self) -> Answer<'_, Status> {
        now(Ok(self.status.lock().unwrap().clone().unwrap_or_else(answers::healthy)))
    }

    fn usage(&self, request: UsageRequest) -> Answer<'_, UsageReport> {
        self.note(format!("usage {request:?}"));
        now(Ok(if request.by.is_some() { answers::usage_by_day() } else { answers::usage() }))
    }

    fn record(&self, caller: Caller, records: Vec<Record>) -> Answer<'_, Vec<RecordAnswer>> {
        self.note(format!("record {} by uid {}", records.len(), caller.uid));
        let busy = |left: u32| left.checked_sub(1);
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, busy).is_ok() {
            return now(Err(ApiError::busy("usage.db is busy: too many writes are waiting", 1)));
        }
        now(Ok(records.iter().map(|record| self.judge(record)).collect()))
    }

    fn void(&self, _: Caller, request: VoidRequest) -> Answer<'_, VoidReport> {
        self.note(format!("void {request:?}"));
        now(self.by_rule(answers::void(&request.id)))
    }

    fn link(&self, _: Caller, request: LinkRequest) -> Answer<'_, LinkReport> {
        self.note(format!("link {request:?}"));
        now(self.by_rule(answers::link()))
    }

    fn sync(&self, _: Caller, request: SyncRequest) -> Answer<'_, SyncReport> {
        self.note(format!("sync {request:?}"));
        let refused = self.refuses.load(Ordering::SeqCst);
        now(Ok(SyncReport { committed: request.commit, refused, ..answers::sync() }))
    }

    fn reconcile(&self, _: Caller, request: ReconcileRequest) -> Answer<'_, ReconcileReport> {
        self.note(format!("reconcile {request:?}"));
        let differs = self.refuses.load(Ordering::SeqCst);
        now(Ok(if differs { answers::drifted() } else { answers::reconciled() }))
    }

    fn identity(&self, _: Caller, request: IdentityRequest) -> Answer<'_, IdentityReport> {
        self.note(format!("identity {request:?}"));
        now(self.by_rule(answers::identity()))
    }

    fn prepare_image(&self, _: Caller, request: PrepareImageRequest) -> Answer<'_, PrepareImageReport> {
        self.note(format!("prepare_image {request:?}"));
        now(self.by_rule(answers::prepare_image()))
    }

    fn drain(&self, _: Caller) -> Answer<'_, DrainReport> {
        self.note("drain".to_owned());
        now(Ok(if self.refuses.load(Ordering::SeqCst) { answers::not_drained() } else { answers::drained() }))
    }

    fn release(&self, _: Caller, request: ReleaseRequest) -> Answer<'_, ReleaseReport> {
        self.note(format!("release {request:?}"));
        now(self.by_rule(answers::release()))
    }

    fn db_check(&self, _caller: Caller, request: DbCheckRequest) -> Answer<'_, DbCheckReport> {
        self.note(format!("db check {request:?}"));
        now(Ok(answers::db_check(request.full)))
    }

    fn db_backup(&self, _caller: Caller, request: DbBackupRequest) -> Answer<'_, DbBackupReport> {
        self.note(format!("db backup {request:?}"));
        now(self.by_rule(answers::db_backup(request.path)))
    }

    fn db_recover(&self, caller: Caller) -> Answer<'_, DbRecoverReport> {
        self.note(format!("db recover by uid {}", caller.uid));
        now(self.by_rule(answers::db_recover()))
    }

    fn audit(&self, since: Option<Timestamp>, limit: u32) -> Answer<'_, AuditReport> {
        self.note(format!("audit since {since:?}, {limit}"));
        now(Ok(answers::audit()))
    }

    fn audit_verify(&self) -> Answer<'_, AuditVerifyReport> {
        self.note("audit verify".to_owned());
        now(Ok(if self.refuses.load(Ordering::SeqCst) { answers::audit_broken() } else { answers::audit_verified() }))
    }

    fn explain(&self, request: ExplainRequest) -> Answer<'_, ExplainReport> {
        self.note(format!("explain {:?} {:?}", request.month, request.meter));
        now(Ok(answers::explained()))
    }

    fn export(&self, request: ExportRequest) -> Answer<'_, ExportPage> {
        let place = request.after;
        self.note(format!("export {} {:?} {place:?}", request.what.word(), request.meter.map(String::from)));
        let goes_away = place.is_some() && self.refuses.load(Ordering::SeqCst);
        now(if goes_away { Err(ApiError::busy("busy", 1)) } else { Ok(answers::export(request.what, place)) })
    }

    fn alerts(&self, most: u32) -> Answer<'_, AlertsReport> {
        self.note(format!("alerts {most}"));
        now(Ok(answers::alerts()))
    }

    fn test_alert(&self, _: Caller) -> Answer<'_, AlertTestReport> {
        self.note("test alert".to_owned());
        let failing = self.refuses.load(Ordering::SeqCst);
        now(Ok(if failing { answers::alert_not_told() } else { answers::alert_told() }))
    }

    fn doctor(&self) -> Answer<'_, DoctorReport> {
        self.note("doctor".to_owned());
        let held = self.held.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(held) = held {
                held.notified().await;
            }
            self.note("doctor is done".to_owned());
            Ok(answers::doctor())
        })
    }
}
