use serde::{Deserialize, Serialize};

use super::{ClosedSegment, GapLine};

/// The query of `GET /v1/explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// `YYYY-MM`: the period that holds the month's last second; default the periods that are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// Which meter; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
}

/// The answer of `GET /v1/explain`: billed numbers, each from the top down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExplainReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// When it was asked.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub now: String,
    /// One for each item and period.
    pub bills: Vec<Bill>,
}

/// A billed number, and how it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bill {
    /// Which meter.
    pub meter: String,
    /// Its unit.
    pub unit: String,
    /// Who pays.
    pub customer: String,
    /// On which subscription.
    pub subscription: String,
    /// On which item.
    pub item: String,
    /// Start of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// End of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// `open`, `ending` or `closed`.
    pub state: String,
    /// The plan that it was rated by.
    pub plan: String,
    /// Billed units that stand at the provider, as far as known.
    pub stands: Option<i64>,
    /// Billed units that should.
    pub target: i64,
    /// The invoice that was made at the period's end, as `A-2, paid`, where the key may read it.
    pub invoice: Option<String>,
    /// What that is the sum of, in billed units.
    pub terms: Vec<BillTerm>,
    /// Used, exact, in millionths of the meter's base unit.
    pub used_micros: i64,
    /// In the unit.
    pub used: serde_json::Number,
    /// In the unit; absent where everything is included.
    pub included: Option<serde_json::Number>,
    /// `overage`, or `gross` where the unreduced total is reported.
    pub report: String,
    /// `down`, `up` or `half_up`: how it became whole units.
    pub rounding: String,
    /// Whether the same comes of the ledger's minutes, added up anew.
    pub agrees: bool,
    /// What came of that, where it differs: millionths of the base unit, and billed units.
    pub recomputed: Option<Recomputed>,
    /// What is billed of the period on other items or at earlier prices (rule R5).
    pub segments: Vec<ClosedSegment>,
    /// Day by day, UTC.
    pub days: Vec<DayLine>,
    /// What was not watched.
    pub gaps: Vec<GapLine>,
    /// Who recorded it, for meters that applications record to.
    pub sources: Vec<SourceLine>,
    /// Units that came from earlier periods, or went to later ones (rule R6).
    pub carries: Vec<CarryLine>,
    /// The newest requests that set it, newest first.
    pub pushes: Vec<PushLine>,
    /// Why nothing is sent, where that is so.
    pub held: Option<String>,
}

/// One term of a sum of billed units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BillTerm {
    /// As `above what is included`.
    pub what: String,
    /// How many; below zero where it is taken off.
    pub units: i64,
}

/// What the ledger comes to, added up anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Recomputed {
    /// Exact.
    pub used_micros: i64,
    /// Billed units above what is included.
    pub overage: i64,
}

/// A day of a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DayLine {
    /// `YYYY-MM-DD`, UTC.
    #[cfg_attr(test, schemars(extend("format" = "date")))]
    pub day: String,
    /// In the unit.
    pub used: serde_json::Number,
    /// Exact.
    pub used_micros: i64,
    /// Share of it that was watched, parts in ten thousand.
    pub observed_bp: u32,
}

/// What one source recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SourceLine {
    /// Who.
    pub source: String,
    /// How many records.
    pub records: i64,
    /// In the unit.
    pub quantity: serde_json::Number,
}

/// Units that went from one period to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CarryLine {
    /// How many.
    pub units: i64,
    /// The period that was billed too little.
    pub from: String,
    /// The one they are billed in; absent while none has taken them.
    pub into: Option<String>,
}

/// A request that set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PushLine {
    /// When it left first.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: String,
    /// To what.
    pub quantity: i64,
    /// The UTC day whose share it set, where it set one.
    #[cfg_attr(test, schemars(extend("format" = "date")))]
    pub day: Option<String>,
    /// `sending`, `unknown`, `accepted`, `refused` or `abandoned`.
    pub outcome: String,
    /// The provider's request id.
    pub request_id: Option<String>,
    /// The key it left under.
    pub key: String,
}
