use serde::{Deserialize, Serialize};

/// `POST /v1/sync`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SyncRequest {
    /// `YYYY-MM`: the period that holds this month's last second (rule R2); default the current period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::MONTH)))]
    pub month: Option<String>,
    /// Only this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::ID)))]
    pub subscription_item: Option<String>,
    /// Send; otherwise only show.
    #[serde(default)]
    pub commit: bool,
}

/// One item in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SyncLine {
    /// Which meter.
    pub meter: String,
    /// `si_…`.
    pub item: String,
    /// Start of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// End of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// The record's timestamp, RFC 3339 (rule S3).
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub timestamp: String,
    /// `open`, `ending`, `closed` or `superseded`.
    pub state: String,
    /// In the meter's unit, decimal.
    pub used: String,
    /// In the meter's unit, decimal.
    pub included: String,
    /// The meter's unit.
    pub unit: String,
    /// Billed units above the included amount.
    pub overage: i64,
    /// Billed units brought from an earlier period.
    pub carried_in: i64,
    /// Billed units taken over from what stood already.
    pub adopted: i64,
    /// Billed units that stand on closed segments of the period, or are billed at an earlier price, and not here again
    /// (rule R5).
    pub closed_segments: i64,
    /// Each of those segments.
    pub segments: Vec<ClosedSegment>,
    /// What should stand.
    pub target: i64,
    /// What does stand, as far as known.
    pub stands: Option<i64>,
    /// Billed units moved to a later period.
    pub carried_out: i64,
    /// Billed units that stand above what is true.
    pub credit_due: i64,
    /// What happened, or would happen: `would set`, `set`, `unchanged`, `held`, `closed`, `waiting`, `refused`.
    pub action: String,
    /// Why, one sentence.
    pub why: String,
}

/// A part of a period that was billed on another item or at another price (rule R5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClosedSegment {
    /// `si_…`.
    pub item: String,
    /// `price_…`.
    pub price: String,
    /// Billed units.
    pub units: i64,
}

/// The answer of `POST /v1/sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SyncReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Whether it was allowed to send.
    pub committed: bool,
    /// Whether anything asked for could not be done (`usagectl` exits 4).
    pub refused: bool,
    /// Each item.
    pub lines: Vec<SyncLine>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}
