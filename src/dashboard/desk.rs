use std::pin::Pin;

use crate::wire::{AlertsReport, ExplainReport, PageReport, Status};

/// What the desk will say.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// Why something cannot be shown or done, in words for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The HTTP status that says the same.
    pub status: u16,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Where the page's questions go; the daemon implements it.
pub trait Desk: Send + Sync + 'static {
    /// The time, unix seconds: sessions end by it.
    fn now_s(&self) -> i64;

    /// How things stand.
    fn status(&self) -> Answer<'_, Status>;

    /// Usage over time, what was sent, and earlier periods.
    fn page(&self) -> Answer<'_, PageReport>;

    /// The newest alerts.
    fn alerts(&self) -> Answer<'_, AlertsReport>;

    /// Billed numbers, of the periods that are open or of the one that holds the month's last second.
    fn explain(&self, month: Option<String>) -> Answer<'_, ExplainReport>;

    /// Opens the customer's portal at the provider, and says where it is.
    fn open_portal(&self, return_url: String) -> Answer<'_, String>;
}
