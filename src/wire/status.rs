use serde::{Deserialize, Serialize};

use super::ClosedSegment;
use crate::model::Problem;

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// When it was asked.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub now: String,
    /// When the daemon started.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub since: String,
    /// `sandbox`, `test`, `live`, `billed` (Lemon Squeezy, whose key does not tell) or `unbilled`.
    pub mode: String,
    /// What needs someone, worst first.
    pub problems: Vec<Problem>,
    /// What is billed to whom; absent while unlinked.
    pub link: Option<LinkStatus>,
    /// Why the applications should pause, where a payment failed and they are to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Start of the current period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// End of the current period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// Each meter.
    pub meters: Vec<MeterStatus>,
    /// Seconds between two samples, as configured.
    pub sample_every_s: u64,
    /// The last sample, RFC 3339.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub last_sample: Option<String>,
    /// The last and the next push.
    pub push: PushStatus,
    /// What is not sent yet.
    pub unsent: Vec<UnsentStatus>,
    /// The clock.
    pub clock: ClockStatus,
    /// How much was observed.
    pub coverage: CoverageStatus,
    /// The file.
    pub database: DatabaseStatus,
    /// The schedules.
    pub jobs: Vec<JobStatus>,
    /// Who is told the totals; absent while the ledger cannot be opened, as the three below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderStatus>,
    /// By what this machine is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// Where its files lie, besides the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<PathsStatus>,
}

/// Who is told the totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProviderStatus {
    /// `none`, `stripe-meters`, `stripe-usage-records` or `lemon-squeezy`.
    pub kind: String,
    /// The kind of the key and its last four characters, `rk_live_…a1b2`; absent without one.
    pub key: Option<String>,
}

/// By what this machine is known (rule S11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IdentityStatus {
    /// As in `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// Of its hardware.
    pub product_uuid: Option<String>,
    /// Of this boot.
    pub boot_id: String,
}

/// Where its files lie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PathsStatus {
    /// `usaged.toml`, whether it is there or not; absent where none is read.
    pub config: Option<String>,
    /// Where it answers.
    pub socket: String,
}

/// What is billed to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LinkStatus {
    /// `cus_…`.
    pub customer: String,
    /// As it stands on their invoices, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_name: Option<String>,
    /// `sub_…`.
    pub subscription: String,
    /// The plan.
    pub plan: String,
    /// Start of billing.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub from: String,
}

/// One meter in the current period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeterStatus {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// In the unit.
    pub used: serde_json::Number,
    /// Exact, millionths of the base unit.
    pub used_micros: i64,
    /// In the unit; absent where no plan applies or it is unlimited.
    pub included: Option<serde_json::Number>,
    /// Whether the plan includes everything.
    pub unlimited: bool,
    /// Billed units above the included amount.
    pub overage: Option<i64>,
    /// What of it belongs to no link and is not billed, in the unit (rule R1); absent where that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlinked: Option<serde_json::Number>,
    /// Used at the period's end, if it goes on like this, in the unit.
    pub estimate: Option<serde_json::Number>,
    /// Overage units at the period's end, if it goes on like this.
    pub estimate_overage: Option<i64>,
    /// What that costs, decimal, in `currency`.
    pub estimate_cost: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The item it is billed on.
    pub item: Option<String>,
    /// What stands at the provider, as far as known.
    pub stands: Option<i64>,
    /// What is billed of the period on other items or at earlier prices (rule R5).
    pub segments: Vec<ClosedSegment>,
    /// Why it is not billed, where it is not.
    pub not_billed_because: Option<String>,
}

/// The last and the next push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PushStatus {
    /// When the last request left.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub last_at: Option<String>,
    /// `accepted`, `refused`, `unknown`, `sending`.
    pub last_outcome: Option<String>,
    /// What it set, `si_… to N`.
    pub last_what: Option<String>,
    /// The provider's request id.
    pub last_request_id: Option<String>,
    /// When the provider last accepted a total.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub last_accepted_at: Option<String>,
    /// When the next is due.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub next_at: Option<String>,
}

/// A record that is not where it should be yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnsentStatus {
    /// Which meter.
    pub meter: String,
    /// `si_…`.
    pub item: String,
    /// What should stand.
    pub target: i64,
    /// What does.
    pub stands: Option<i64>,
    /// Seconds since it first differed.
    pub age_s: i64,
    /// The moment after which it can no longer be billed in its period (rule S12).
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub deadline: String,
    /// Attempts so far.
    pub attempts: i64,
    /// When it is tried next.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub next_attempt: Option<String>,
    /// `waiting`, `retrying` or `held`.
    pub state: String,
    /// Why.
    pub why: Option<String>,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClockStatus {
    /// `operator`, `provider`, `timesync`, `waited` or `nobody`.
    pub trusted_by: String,
    /// Seconds the wall clock is ahead of the provider's, where known.
    pub ahead_s: Option<i64>,
    /// Whether timesyncd says that it has set the clock in this boot; absent where nobody could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by_timesync: Option<bool>,
}

/// How much was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CoverageStatus {
    /// Share of the period so far, parts in ten thousand.
    pub observed_bp: u32,
    /// Gaps in this period.
    pub gaps: u32,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DatabaseStatus {
    /// Where it lies.
    pub path: String,
    /// With its WAL, bytes.
    pub bytes: u64,
    /// Its schema.
    pub schema: i64,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// Last start.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub last_at: Option<String>,
    /// Why it ran.
    pub last_because: Option<String>,
    /// What came of it.
    pub last_result: Option<String>,
    /// Next start.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub next_at: Option<String>,
    /// When it is due, as configured: a cron expression with seconds, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}
