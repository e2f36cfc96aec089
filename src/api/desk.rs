use std::pin::Pin;

use super::{ApiError, Caller, ExportRequest, Record};
use crate::model::Timestamp;
use crate::wire::{
    AlertTestReport, AlertsReport, AuditReport, AuditVerifyReport, DbBackupReport, DbBackupRequest, DbCheckReport,
    DbCheckRequest, DbRecoverReport, DoctorReport, DrainReport, ExplainReport, ExplainRequest, ExportPage,
    IdentityReport, IdentityRequest, LinkReport, LinkRequest, PrepareImageReport, PrepareImageRequest, ReconcileReport,
    ReconcileRequest, RecordAnswer, ReleaseReport, ReleaseRequest, Status, SyncReport, SyncRequest, UsageReport,
    UsageRequest, VoidReport, VoidRequest,
};

/// What the desk will say.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// Where the API's questions go. The daemon implements it; the API knows nothing behind it.
///
/// Rights are checked before the desk is asked. A caller that hangs up does not cut an answer short, but the end of the
/// daemon's grace does: what must not stop in the middle belongs into a job that the desk nudges.
pub trait Desk: Send + Sync + 'static {
    /// How things stand.
    fn status(&self) -> Answer<'_, Status>;

    /// What was used, where and as finely as was asked; `month` is checked.
    fn usage(&self, request: UsageRequest) -> Answer<'_, UsageReport>;

    /// Stores well-formed records and says what became of each: one answer per record, in the same order, given only
    /// after the accepted ones are on disk. Where nothing can be stored now, the answer is [`ApiError::busy`] and
    /// nothing was stored.
    fn record(&self, caller: Caller, records: Vec<Record>) -> Answer<'_, Vec<RecordAnswer>>;

    /// Takes a record back (rule M9).
    fn void(&self, caller: Caller, request: VoidRequest) -> Answer<'_, VoidReport>;

    /// Binds this machine to a subscription; what a rule forbids is [`ApiError::refused`].
    fn link(&self, caller: Caller, request: LinkRequest) -> Answer<'_, LinkReport>;

    /// Shows what would be sent, and with `commit` sends it.
    fn sync(&self, caller: Caller, request: SyncRequest) -> Answer<'_, SyncReport>;

    /// Reads back what stands and compares it with the ledger; sends nothing.
    fn reconcile(&self, caller: Caller, request: ReconcileRequest) -> Answer<'_, ReconcileReport>;

    /// Settles what is held (rule S5).
    fn release(&self, caller: Caller, request: ReleaseRequest) -> Answer<'_, ReleaseReport>;

    /// Says what this VM is, whose ledger was made on another machine (rule S11).
    fn identity(&self, caller: Caller, request: IdentityRequest) -> Answer<'_, IdentityReport>;

    /// Unlinks this VM and sets its ledger aside, so that an image can be made of its disk (rule S11).
    fn prepare_image(&self, caller: Caller, request: PrepareImageRequest) -> Answer<'_, PrepareImageReport>;

    /// Sends everything, reads it back and certifies what stands, before this VM is deleted (rule S13).
    fn drain(&self, caller: Caller) -> Answer<'_, DrainReport>;

    /// Looks whether the ledger's file is what was written to it.
    fn db_check(&self, caller: Caller, request: DbCheckRequest) -> Answer<'_, DbCheckReport>;

    /// Copies the ledger while it is in use.
    fn db_backup(&self, caller: Caller, request: DbBackupRequest) -> Answer<'_, DbBackupReport>;

    /// Recovers a damaged ledger now.
    fn db_recover(&self, caller: Caller) -> Answer<'_, DbRecoverReport>;

    /// The last lines of the audit since a moment, at most `limit`.
    fn audit(&self, since: Option<Timestamp>, limit: u32) -> Answer<'_, AuditReport>;

    /// Looks whether every line of the audit is what was written.
    fn audit_verify(&self) -> Answer<'_, AuditVerifyReport>;

    /// Billed numbers, each from the top down.
    fn explain(&self, request: ExplainRequest) -> Answer<'_, ExplainReport>;

    /// A page of what the ledger and the outbox hold.
    fn export(&self, request: ExportRequest) -> Answer<'_, ExportPage>;

    /// The newest alerts, at most `most`, and what was told of them.
    fn alerts(&self, most: u32) -> Answer<'_, AlertsReport>;

    /// Tries whether an alert arrives, on every way.
    fn test_alert(&self, caller: Caller) -> Answer<'_, AlertTestReport>;

    /// Looks at everything that can be wrong.
    fn doctor(&self) -> Answer<'_, DoctorReport>;
}
