use super::{GapLine, PushLine, UsageReport};

/// What the usage page shows beside status and alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct PageReport {
    /// Each meter's usage over time.
    pub charts: Vec<MeterChart>,
    /// What was not watched in this period.
    pub gaps: Vec<GapLine>,
    /// The newest requests that set a total, newest first.
    pub sent: Vec<SentLine>,
    /// Periods that are over, by the month that they are asked for by, newest first.
    pub past: Vec<PastPeriod>,
    /// Why the customer's portal cannot be opened from here, where it cannot.
    pub no_portal: Option<String>,
}

/// A meter's usage over time.
#[derive(Debug, Clone, PartialEq)]
pub struct MeterChart {
    /// Which meter.
    pub meter: String,
    /// Its unit.
    pub unit: String,
    /// The days of this period that have begun, UTC.
    pub days: Vec<Bar>,
    /// The last 24 hours, UTC, the one that is going on among them.
    pub hours: Vec<Bar>,
}

/// One bar of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// When it begins.
    pub from: String,
    /// In the unit.
    pub used: serde_json::Number,
    /// Exact.
    pub used_micros: i64,
    /// Share of it that was watched, parts in ten thousand.
    pub observed_bp: u32,
}

/// A request that set a total.
#[derive(Debug, Clone, PartialEq)]
pub struct SentLine {
    /// Of which meter.
    pub meter: String,
    /// What became of it.
    pub push: PushLine,
}

/// A period that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct PastPeriod {
    /// `YYYY-MM`.
    pub month: String,
    /// What was used in it.
    pub usage: UsageReport,
}
