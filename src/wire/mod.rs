//! JSON types that the daemon's API and `usagectl` share. Field names are the public interface: they only grow.
//!
//! Quantities travel twice: `used` as people read it, in the meter's unit, at most six places; `used_micros` exact, in
//! millionths of the base unit (microseconds for time meters).

mod alerts;
mod audit;
mod db;
mod doctor;
mod drain;
mod error;
mod explain;
mod export;
mod identity;
mod link;
mod page;
#[cfg(test)]
pub(crate) mod patterns;
mod reconcile;
mod record;
mod status;
mod sync;
mod usage;

pub use alerts::{AlertLine, AlertMessageLine, AlertTestLine, AlertTestReport, AlertTestRequest, AlertsReport};
pub use audit::{AuditEntry, AuditReport, AuditVerifyReport};
pub use db::{DbBackupReport, DbBackupRequest, DbCheckReport, DbCheckRequest, DbRecoverReport, DbRecoverRequest};
pub use doctor::{Check, DoctorReport, Verdict};
pub use drain::{DrainLine, DrainReport, DrainRequest};
pub use error::ErrorBody;
pub use explain::{
    Bill, BillTerm, CarryLine, DayLine, ExplainReport, ExplainRequest, PushLine, Recomputed, SourceLine,
};
pub use export::{CreditRow, DeliveryRow, EXPORT_ROWS_MAX, ExportPage, ExportRow, ExportWhat, UsageRow};
pub use identity::{IdentityReport, IdentityRequest, PrepareImageReport, PrepareImageRequest, ThisVm};
pub use link::{LinkReport, LinkRequest, LinkedItem, ReleaseReport, ReleaseRequest};
pub use page::{Bar, MeterChart, PageReport, PastPeriod, SentLine};
pub use reconcile::{Cause, ReconcileLine, ReconcileReport, ReconcileRequest};
pub use record::{RecordAnswer, RecordInput, RecordOutcome, RecordReport, VoidReport, VoidRequest};
pub use status::{
    ClockStatus, CoverageStatus, DatabaseStatus, IdentityStatus, JobStatus, LinkStatus, MeterStatus, PathsStatus,
    ProviderStatus, PushStatus, Status, UnsentStatus,
};
pub use sync::{ClosedSegment, SyncLine, SyncReport, SyncRequest};
pub use usage::{By, GapLine, MeterUsage, SliceUsage, UsageReport, UsageRequest, UsageSlice, is_month};

/// Members of this group may read and record. The socket lets in nobody else but root and the daemon's own user.
pub const RECORD_GROUP: &str = "usaged";

/// Grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;
