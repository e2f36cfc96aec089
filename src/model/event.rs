//! An event of the provider's.

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A subscription, with its items and their periods.
    Subscription,
    /// A subscription's invoices.
    Invoices,
    /// The customer.
    Customer,
    /// What stands: meter events were taken and could not be counted.
    Meter,
}

impl Subject {
    /// As it is kept.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Invoices => "invoices",
            Self::Customer => "customer",
            Self::Meter => "meter",
        }
    }
}

/// An event. What it says of its object is not kept: it may be older than what was read already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The provider's id; for Lemon Squeezy, which gives none, one made of the body.
    pub id: String,
    /// The provider's word, as `invoice.paid`.
    pub kind: String,
    /// What is read again; `None` for kinds that come to nothing.
    pub subject: Option<Subject>,
    /// The object that it is about.
    pub object: String,
    /// Whose that is.
    pub customer: Option<String>,
    /// On what.
    pub subscription: Option<String>,
}
