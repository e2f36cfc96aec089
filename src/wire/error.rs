use serde::{Deserialize, Serialize};

/// Every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Error"))]
pub struct ErrorBody {
    /// A stable word for programs, as `unknown_meter`.
    pub code: String,
    /// What failed, on what, why.
    pub error: String,
    /// The next command or setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
