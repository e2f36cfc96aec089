use serde::{Deserialize, Serialize};

/// `POST /v1/drain`: everything is sent and read back before this VM is deleted (rule S13).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {}

/// One item in one period that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DrainLine {
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
    /// `open` or `ending`.
    #[cfg_attr(test, schemars(extend("enum" = ["open", "ending"])))]
    pub state: String,
    /// What should stand.
    pub target: i64,
    /// What does, as the provider said just now; absent where it did not say.
    pub stands: Option<i64>,
    /// Whether that is all, and stays.
    pub certified: bool,
    /// What keeps it from being certified.
    pub why: Option<String>,
    /// Used beyond the last whole unit, decimal, in the meter's unit: not billed (rule R3).
    pub part_of_a_unit: Option<String>,
    /// The meter's unit.
    pub unit: String,
}

/// The answer of `POST /v1/drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DrainReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Whether everything that was used until then stands (otherwise `usagectl` exits 4).
    pub certified: bool,
    /// Until when it was looked at.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub until: String,
    /// Whether records are taken: not after a certificate.
    pub intake_open: bool,
    /// Each item.
    pub lines: Vec<DrainLine>,
    /// What else keeps it from being certified, a sentence each.
    pub missing: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}
