use serde::{Deserialize, Serialize};

/// `POST /v1/link`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct LinkRequest {
    /// `cus_…`.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::ID)))]
    pub customer: String,
    /// `sub_…`.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::ID)))]
    pub subscription: String,
    /// Default: the plan whose price names the items carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::WORD)))]
    pub plan: Option<String>,
    /// Start of billing, RFC 3339; default now, not before the period's start (rule R1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub from: Option<String>,
    /// Items by meter, for prices whose lookup key says nothing: `compute_hours` -> `si_…`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(extend("propertyNames" = { "pattern": super::patterns::WORD })))]
    #[cfg_attr(test, schemars(extend("additionalProperties" = { "type": "string", "pattern": super::patterns::ID })))]
    pub items: std::collections::BTreeMap<String, String>,
    /// What stands already is somebody's and stays; ours goes on top of it (rule S4).
    #[serde(default)]
    pub on_top: bool,
    /// Leave this period alone and start with the next (rule S4).
    #[serde(default)]
    pub from_next_period: bool,
    /// Nobody but this VM writes to these items: more than this ledger knows of is its own, forgotten usage (rule S5).
    #[serde(default)]
    pub single_writer: bool,
    /// Several VMs add to the same customer and meter (rule S10).
    #[serde(default)]
    pub shared: bool,
}

/// One item of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LinkedItem {
    /// Which meter.
    pub meter: String,
    /// `si_…`.
    pub item: String,
    /// `price_…`.
    pub price: String,
    /// The price's lookup key.
    pub lookup_key: Option<String>,
    /// By what means totals are told: `usage records`, `meter, last`, `meter, sum of days`, `meter, sum`, `current usage`.
    pub channel: String,
    /// What stood on it when it was linked.
    pub stands: u64,
}

/// The answer of `POST /v1/link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LinkReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// `cus_…`.
    pub customer: String,
    /// `sub_…`.
    pub subscription: String,
    /// The plan.
    pub plan: String,
    /// Start of billing.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub from: String,
    /// The current period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// Its end.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// The items.
    pub items: Vec<LinkedItem>,
    /// Meters that are measured and not billed, with the reason.
    pub not_billed: Vec<String>,
}

/// `POST /v1/release`: settles what is held (rule S5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// `si_…`.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::ID)))]
    pub item: String,
    /// Keep what stands and go on top of it (true), or set our own total over it (false).
    pub adopt: bool,
    /// Why; kept in the audit.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::SAID)))]
    pub because: String,
}

/// The answer of `POST /v1/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReleaseReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// `si_…`.
    pub item: String,
    /// What was done, one sentence.
    pub what: String,
}
