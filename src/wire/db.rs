use serde::{Deserialize, Serialize};

/// `POST /v1/db/check`: whether the ledger's file is what was written to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DbCheckRequest {
    /// Also whether every index has what its table has.
    #[serde(default)]
    pub full: bool,
}

/// The answer of `POST /v1/db/check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DbCheckReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Which file.
    pub path: String,
    /// Whether indexes were compared with their tables.
    pub full: bool,
    /// `sound`, `damaged` (`usagectl` exits 5), or `unfinished` where it took too long (exit 1).
    #[cfg_attr(test, schemars(extend("enum" = ["sound", "damaged", "unfinished"])))]
    pub verdict: String,
    /// What is wrong with it, a line for each.
    pub found: Vec<String>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// `POST /v1/db/backup`: a copy of the ledger, made while it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DbBackupRequest {
    /// The new file, absolute. One that is there is not overwritten.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::PATH)))]
    pub path: String,
}

/// The answer of `POST /v1/db/backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DbBackupReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The copy.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// `POST /v1/db/recover`: a damaged ledger is recovered now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DbRecoverRequest {}

/// The answer of `POST /v1/db/recover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DbRecoverReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// What is done, one sentence.
    pub what: String,
}
