use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /v1/audit?since=TIME&limit=N`: the last lines of the audit, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// What was done.
    pub entries: Vec<AuditEntry>,
    /// Whether there are older ones that were not told.
    pub more: bool,
}

/// A line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Numbered through.
    pub id: i64,
    /// When, RFC 3339.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: String,
    /// `usaged`, or `uid:N`.
    pub actor: String,
    /// What was done, as `push.sent`.
    pub action: String,
    /// What it happened to, as `si_123`.
    pub subject: String,
    /// More of it, by action: keys, quantities, reasons, the provider's request id.
    #[cfg_attr(test, schemars(extend("type" = ["object", "string"])))]
    pub detail: Value,
    /// SHA-256 of the line before it and of this one, 64 hexadecimal digits.
    pub hash: String,
}

/// `GET /v1/audit/verify`: whether every line is what was written, and follows the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditVerifyReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Whether nothing is missing or changed (`usagectl` exits 5 else).
    pub holds: bool,
    /// Lines there are.
    pub entries: u64,
    /// Number of the last one; `null` where there is none.
    pub head_id: Option<i64>,
    /// Its hash. Kept elsewhere, it shows later whether the lines up to it are still the same.
    pub head: Option<String>,
    /// Where the chain does not hold, a sentence each; the first twenty.
    pub breaks: Vec<String>,
}
