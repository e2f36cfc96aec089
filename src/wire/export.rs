use serde::{Deserialize, Serialize};

/// Rows of a page where nobody says how many, and at most.
pub const EXPORT_ROWS_MAX: u32 = 1_000;

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExportWhat {
    /// What each meter used, minute by minute; hour by hour in periods that are over.
    Usage,
    /// Recorded credits, those that were taken back among them.
    Credits,
    /// Requests that set totals at the provider.
    Deliveries,
}

impl ExportWhat {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Usage, Self::Credits, Self::Deliveries];

    /// As it is asked for.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Credits => "credits",
            Self::Deliveries => "deliveries",
        }
    }

    /// The fields of a row, in the order of a table's columns.
    #[must_use]
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Usage => &["meter", "from", "to", "used", "unit", "used_micros"],
            Self::Credits => {
                &["meter", "source", "id", "quantity", "at", "recorded_at", "uid", "voided_at", "voided_because"]
            }
            Self::Deliveries => &[
                "meter",
                "item",
                "customer",
                "subscription",
                "period_from",
                "period_to",
                "day",
                "quantity",
                "at",
                "outcome",
                "settled_at",
                "http_status",
                "request_id",
                "key",
                "error",
            ],
        }
    }
}

/// A page of `GET /v1/export`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExportPage {
    /// Grows when a field changes its meaning or goes away.
    pub schema: u32,
    /// What it is of.
    pub what: ExportWhat,
    /// Rows there are, on the first page.
    pub total: Option<u64>,
    /// Records that are not among them, since their time is not known yet (rule M5), on the first page.
    pub waiting: Option<u64>,
    /// The next ones.
    pub rows: Vec<ExportRow>,
    /// What `after` is for the next page; `null` on the last one.
    pub next: Option<String>,
}

/// One row, as `what` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ExportRow {
    /// Of `usage`.
    Usage(UsageRow),
    /// Of `credits`.
    Credit(CreditRow),
    /// Of `deliveries`.
    Delivery(DeliveryRow),
}

/// What a meter used in a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UsageRow {
    /// Which meter.
    pub meter: String,
    /// Start.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub from: String,
    /// End.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub to: String,
    /// In the unit; absent where the meter is not configured any more.
    pub used: Option<serde_json::Number>,
    /// Its unit, likewise.
    pub unit: Option<String>,
    /// Exact, in millionths of the base unit.
    pub used_micros: i64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CreditRow {
    /// Which meter.
    pub meter: String,
    /// Who recorded it.
    pub source: String,
    /// The caller's id.
    pub id: String,
    /// Exact, decimal, in the meter's base unit.
    pub quantity: String,
    /// When it was used.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: String,
    /// When it arrived.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub recorded_at: String,
    /// User id of the caller.
    pub uid: i64,
    /// When it was taken back, where it was.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub voided_at: Option<String>,
    /// Why.
    pub voided_because: Option<String>,
}

/// One request that set a total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeliveryRow {
    /// Which meter.
    pub meter: String,
    /// `si_…`.
    pub item: String,
    /// `cus_…`.
    pub customer: String,
    /// `sub_…`.
    pub subscription: String,
    /// Start of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_from: String,
    /// End of the period.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub period_to: String,
    /// The UTC day whose share it set, where it set one.
    #[cfg_attr(test, schemars(extend("format" = "date")))]
    pub day: Option<String>,
    /// To what.
    pub quantity: i64,
    /// When it left first.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub at: String,
    /// `sending`, `unknown`, `accepted`, `refused` or `abandoned`.
    pub outcome: String,
    /// When that was known.
    #[cfg_attr(test, schemars(extend("format" = "date-time")))]
    pub settled_at: Option<String>,
    /// HTTP status of the answer.
    pub http_status: Option<i64>,
    /// The provider's request id.
    pub request_id: Option<String>,
    /// The key it left under first.
    pub key: String,
    /// What the provider said against it.
    pub error: Option<String>,
}
