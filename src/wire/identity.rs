use serde::{Deserialize, Serialize};

/// `POST /v1/identity`: the VM was moved, and this ledger is still its own (rule S11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    /// Why; kept in the audit.
    pub because: String,
}

/// The answer of `POST /v1/identity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityReport {
    /// See [`super::SCHEMA`].
    pub schema: u32,
    /// The machine id that is in the ledger now.
    pub machine: String,
    /// What was done, one sentence.
    pub what: String,
}
