use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Whether a text is a month, `YYYY-MM`.
#[must_use]
pub fn is_month(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('-').is_some_and(|(year, month)| {
        year.len() == 4
            && month.len() == 2
            && digits(year)
            && digits(month)
            && month.parse().is_ok_and(|month: u8| (1..=12).contains(&month))
    })
}

/// How finely usage is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// By hours.
    Hour,
    /// By days of UTC.
    Day,
    /// By calendar months of UTC.
    Month,
}

impl By {
    /// Every one, the finest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// The word used in queries and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// The query of `GET /v1/usage`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageRequest {
    /// The period that holds this month's last second, `YYYY-MM`. Not beside `from` and `to`.
    pub month: Option<String>,
    /// From then on; the beginning of the ledger where only `to` is given.
    pub from: Option<Timestamp>,
    /// Until then; now where only `from` is given.
    pub to: Option<Timestamp>,
    /// How finely; without it only the whole is told.
    pub by: Option<By>,
    /// Only this meter.
    pub meter: Option<String>,
}

/// One stretch that was not watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GapLine {
    /// Start.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub from: String,
    /// End.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub to: String,
    /// `vm_off`, `suspended`, `agent_stopped_bridged`, `agent_stopped_lost`, `clock_untrusted`, `database_unavailable`.
    pub reason: String,
}

/// One meter in one period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MeterUsage {
    /// Which meter.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// In the unit.
    pub used: serde_json::Number,
    /// Exact.
    pub used_micros: i64,
    /// In the unit; absent where no plan applies or it is unlimited.
    pub included: Option<serde_json::Number>,
    /// Whether the plan includes everything.
    pub unlimited: bool,
    /// Billed units above the included amount.
    pub overage: Option<i64>,
    /// Usage whose wall time is not known yet, in the unit (rule M5).
    pub waiting_for_clock: serde_json::Number,
    /// Usage in this period that belongs to no link and is not billed, in the unit (rule R1).
    pub unlinked: serde_json::Number,
    /// Used at the period's end, if it goes on like this, in the unit. This and the three below are told of a period
    /// that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<serde_json::Number>,
    /// Overage units at the period's end, if it goes on like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_overage: Option<i64>,
    /// What that costs, decimal, in `currency`; absent where no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_cost: Option<String>,
    /// ISO 4217.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// An hour, a day or a month of what was asked for; the first and the last may be a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UsageSlice {
    /// Start.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub from: String,
    /// End; of the last one it may lie ahead.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub to: String,
    /// Share of it so far that was observed, parts in ten thousand.
    pub observed_bp: u32,
    /// Each meter, in the order of `meters`.
    pub meters: Vec<SliceUsage>,
}

/// One meter in one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SliceUsage {
    /// Which meter.
    pub name: String,
    /// In its unit.
    pub used: serde_json::Number,
    /// Exact.
    pub used_micros: i64,
    /// Used at the slice's end, if it goes on like this; only while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<serde_json::Number>,
}

/// The answer of `GET /v1/usage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UsageReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Start of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// End of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// `provider`, `calendar month`, or `range` where `from` or `to` was given: no amount is included in one.
    pub period_kind: String,
    /// Each meter.
    pub meters: Vec<MeterUsage>,
    /// Share of the period so far that was observed, parts in ten thousand.
    pub observed_bp: u32,
    /// What was not watched; the newest thousand.
    pub gaps: Vec<GapLine>,
    /// How finely `slices` are cut, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// What was asked for piece by piece, from the first that anything is known of to the one that goes on now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<UsageSlice>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_written_in_one_way_only() {
        assert!(is_month("2026-11"));
        for bad in ["", "2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "+026-11", "2026/11"] {
            assert!(!is_month(bad), "{bad:?} was taken");
        }
    }
}
