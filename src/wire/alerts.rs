use serde::{Deserialize, Serialize};

use crate::model::{AlertState, AlertWay, Severity};

/// The answer of `GET /v1/alerts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertsReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The newest first.
    pub alerts: Vec<AlertLine>,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertLine {
    /// `al_…`, as commands and addresses are told it.
    pub id: String,
    /// A stable word for programs.
    pub code: String,
    /// Which of several things it is about.
    pub about: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, as it was when it fired.
    pub what: String,
    /// The next command or setting.
    pub hint: String,
    /// When it began.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub fired_at: String,
    /// When it was over; absent while it stands.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub cleared_at: Option<String>,
    /// What was told of it, or is to be told.
    pub messages: Vec<AlertMessageLine>,
}

/// What is told of an alert, on one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertMessageLine {
    /// What happened to the alert.
    pub state: AlertState,
    /// On which way it is told.
    pub way: AlertWay,
    /// When it was told.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub told_at: Option<String>,
    /// When it is tried next; absent once it was told or given up.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub next_at: Option<String>,
    /// Failed attempts.
    pub attempts: i64,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// The body of `POST /v1/alerts/test`, which may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertTestRequest {}

/// The answer of `POST /v1/alerts/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertTestReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The id that was told.
    pub id: String,
    /// Each way.
    pub ways: Vec<AlertTestLine>,
}

/// What came of it on one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertTestLine {
    /// Which way.
    pub way: AlertWay,
    /// The command, or scheme and host of the address.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub to: String,
    /// Whether it got through.
    pub told: bool,
    /// Why not.
    pub error: Option<String>,
    /// How long it took, milliseconds.
    pub took_ms: i64,
}
