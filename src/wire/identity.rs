use serde::{Deserialize, Serialize};

/// What a VM is, whose ledger was made on another machine (rule S11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ThisVm {
    /// The same VM as before, moved: its ledger goes on.
    Same,
    /// A clone: it starts unlinked with an empty ledger, and the old one is set aside.
    New,
}

/// `POST /v1/identity`: what this VM is (rule S11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    /// What it is.
    pub this_vm: ThisVm,
    /// Why; kept in the audit.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::SAID)))]
    pub because: String,
}

/// The answer of `POST /v1/identity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IdentityReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// This machine's id and product uuid, as the ledger knows it from now on.
    pub machine: String,
    /// What was done, one sentence.
    pub what: String,
    /// Where the ledger that came with the copy lies from now on.
    pub set_aside: Option<String>,
}

/// `POST /v1/prepare-image`: this disk becomes an image (rule S11).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PrepareImageRequest {
    /// Go on although something is unsent, and why; kept in the audit.
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::SAID)))]
    pub because: Option<String>,
}

/// The answer of `POST /v1/prepare-image`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PrepareImageReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The subscription this VM was linked to.
    pub unlinked: Option<String>,
    /// What was unsent and stays so, a line for each.
    pub unsent: Vec<String>,
    /// Items that still carry this VM's mark at the provider, and why.
    pub still_claimed: Vec<String>,
    /// Where the ledger lies from now on.
    pub set_aside: String,
}
