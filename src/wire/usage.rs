use serde::{Deserialize, Serialize};

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
    /// `provider` or `calendar month`.
    pub period_kind: String,
    /// Each meter.
    pub meters: Vec<MeterUsage>,
    /// Share of the period so far that was observed, parts in ten thousand.
    pub observed_bp: u32,
    /// What was not watched.
    pub gaps: Vec<GapLine>,
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
