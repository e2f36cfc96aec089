//! What somebody is told of a state that needs someone.

use serde::{Deserialize, Serialize};

use super::Severity;

/// Whether it begins or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It has begun.
    Fired,
    /// It is over.
    Cleared,
    /// Neither: somebody tries whether alerts arrive.
    Test,
}

impl AlertState {
    /// As it is written everywhere.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Cleared => "cleared",
            Self::Test => "test",
        }
    }
}

/// A way on which alerts go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertWay {
    /// A command of the operator's.
    Command,
    /// A request to an address.
    Url,
}

impl AlertWay {
    /// As it is written everywhere.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Url => "url",
        }
    }
}

/// From when to when a billing period goes, RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPeriod {
    /// Its first moment.
    pub from: String,
    /// The first moment after it.
    pub to: String,
}

/// The JSON that a command reads on its stdin, and an address is sent. It may come more than once: whoever must not act
/// twice remembers `id` and `state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertNotice {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// The same in `fired` and `cleared` of one alert, and in every repetition; no other alert has it.
    pub id: String,
    /// What happened to it.
    pub state: AlertState,
    /// A stable word for programs, as `push_refused`.
    pub code: String,
    /// Which of several things it is about, as an item or a meter.
    pub about: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, as it was when the alert fired.
    pub what: String,
    /// The next command or setting.
    pub hint: String,
    /// When that happened, RFC 3339.
    pub at: String,
    /// The billing period in which it fired, where one was known.
    pub period: Option<AlertPeriod>,
    /// This machine's host name.
    pub host: String,
    /// This machine's id, as in `/etc/machine-id`.
    pub machine: Option<String>,
    /// `cus_…`, while the machine is linked.
    pub customer: Option<String>,
    /// `sub_…`, while the machine is linked.
    pub subscription: Option<String>,
}
