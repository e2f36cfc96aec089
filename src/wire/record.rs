use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One record of `POST /v1/usage`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordInput {
    /// Which meter.
    pub meter: String,
    /// A decimal string or a JSON number, above zero, up to six places. Kept as text, so that it is read exactly.
    #[cfg_attr(test, schemars(with = "serde_json::Value", extend("type" = ["string", "number"])))]
    pub quantity: Box<RawValue>,
    /// The caller's id, 1 to 200 bytes, unique per meter and source.
    #[cfg_attr(test, schemars(length(min = 1, max = 200)))]
    pub id: String,
    /// RFC 3339; default is arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: Option<String>,
    /// Who records; default is the caller's user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// On disk, and will be billed or listed.
    Accepted,
    /// The same record was accepted before; it counts once.
    Duplicate,
    /// Not counted; `code` and `reason` say why.
    Refused,
}

/// The answer for one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordAnswer {
    /// The caller's id.
    pub id: String,
    /// What became of it.
    pub outcome: RecordOutcome,
    /// As `unknown_meter`, `id_conflict`, `too_old`, `too_far_ahead`, `over_max_per_record`, `over_max_per_hour`,
    /// `bad_quantity`, `bad_id`, `bad_time`, `bad_source`, `not_a_push_meter`, `malformed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer of `POST /v1/usage`: one entry per record, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// How many were accepted.
    pub accepted: u32,
    /// How many were known already.
    pub duplicate: u32,
    /// How many were refused.
    pub refused: u32,
    /// Each record's answer.
    pub records: Vec<RecordAnswer>,
}

/// `POST /v1/void`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VoidRequest {
    /// Which meter.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::WORD)))]
    pub meter: String,
    /// The record's id.
    pub id: String,
    /// Who recorded it; default is the caller's user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::SOURCE)))]
    pub source: Option<String>,
    /// Why; kept in the audit.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::SAID)))]
    pub because: String,
}

/// The answer of `POST /v1/void`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VoidReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The record's id.
    pub id: String,
    /// False where it had been taken back before.
    pub voided: bool,
    /// What was taken back, a decimal of the meter's base unit.
    pub quantity: String,
    /// Where its usage stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: Option<String>,
}
