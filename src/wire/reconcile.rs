use serde::{Deserialize, Serialize};

/// `POST /v1/reconcile`: what stands is read back and compared; nothing is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Only this item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = super::patterns::ID)))]
    pub item: Option<String>,
}

/// Where a difference most likely comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// There is none.
    Agrees,
    /// What was noted stands, and more should: the next push sends it.
    NotSentYet,
    /// The summaries of a meter are behind what was answered.
    Lags,
    /// A request of this VM's that was given up, or whose answer was lost.
    OwnLateRequest,
    /// More than this ledger caused, and it was kept without a break.
    AnotherWriter,
    /// More than this ledger caused, and it shows a break as a copy that was brought back does.
    OlderLedger,
    /// More than this ledger caused, and nothing tells which of the two it is.
    AnotherWriterOrOlderLedger,
    /// Events that were answered, and refused later.
    NotCounted,
    /// Less than was noted: somebody lowered or deleted it.
    Lowered,
    /// What stands cannot be read.
    Unreadable,
    /// Several VMs add to it, so there is nothing to compare.
    Shared,
}

impl Cause {
    /// As people read it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::NotSentYet => "not sent yet",
            Self::Lags => "the summaries lag behind",
            Self::OwnLateRequest => "a late request of our own",
            Self::AnotherWriter => "another writer",
            Self::OlderLedger => "a restored disk: this ledger is older than the provider",
            Self::AnotherWriterOrOlderLedger => "another writer, or a restored disk",
            Self::NotCounted => "accepted, and not counted",
            Self::Lowered => "lowered or deleted by somebody",
            Self::Unreadable => "cannot be read",
            Self::Shared => "shared, not compared",
        }
    }
}

/// One item in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReconcileLine {
    /// Which meter.
    pub meter: String,
    /// `si_…`.
    pub item: String,
    /// By what means totals are told, as `channel` of a link's item.
    pub channel: String,
    /// Start of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// End of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// `open`, `ending` or `closed`.
    #[cfg_attr(test, schemars(extend("enum" = ["open", "ending", "closed"])))]
    pub state: String,
    /// What should stand.
    pub target: i64,
    /// What this ledger had noted before.
    pub noted: Option<i64>,
    /// What does stand, as the provider said just now; absent where it did not say.
    pub stands: Option<i64>,
    /// The likely cause of a difference.
    pub cause: Cause,
    /// Why that one.
    pub why: String,
    /// Why nothing is sent for it, where it waits for a human.
    pub held: Option<String>,
    /// Whether it needs someone.
    pub needs_someone: bool,
    /// What to do, where anything is.
    pub hint: Option<String>,
}

/// The answer of `POST /v1/reconcile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReconcileReport {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// Whether any line needs someone (then `usagectl` exits 5).
    pub needs_someone: bool,
    /// Each item and period, those that need someone first.
    pub lines: Vec<ReconcileLine>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}
