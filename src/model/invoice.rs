//! An invoice at the provider.

use super::{InvoiceId, SubscriptionId, Timestamp};

/// An invoice. Amounts are in the currency's smallest unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The provider's id.
    pub id: InvoiceId,
    /// On what it is.
    pub subscription: SubscriptionId,
    /// As it is printed on it.
    pub number: Option<String>,
    /// In Stripe's words, whoever says it: `draft`, `open`, `paid`, `uncollectible`, `void`.
    pub status: String,
    /// Lowercase ISO 4217.
    pub currency: String,
    /// What is asked for.
    pub due: i64,
    /// What is left to pay.
    pub remaining: i64,
    /// Payments that were tried.
    pub attempts: u32,
    /// When the provider tries again.
    pub next_attempt: Option<Timestamp>,
    /// The code of the last payment that failed, where the key may read it.
    pub declined: Option<String>,
    /// When it was made.
    pub created: Timestamp,
}

impl Invoice {
    /// Whether a payment of it failed, and it is still asked for.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.status == "open" && self.attempts > 0 && self.remaining > 0
    }

    /// By what people know it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.number.as_deref().unwrap_or(self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice(status: &str, attempts: u32, remaining: i64) -> Invoice {
        Invoice {
            id: InvoiceId::new("in_1").unwrap(),
            subscription: SubscriptionId::new("sub_1").unwrap(),
            number: None,
            status: status.to_owned(),
            currency: "eur".to_owned(),
            due: 100,
            remaining,
            attempts,
            next_attempt: None,
            declined: None,
            created: Timestamp::from_secs(0),
        }
    }

    #[test]
    fn an_invoice_is_failing_once_a_payment_of_it_failed_and_until_it_is_settled() {
        assert!(invoice("open", 1, 100).is_failing());
        for settled in [
            invoice("open", 0, 100),
            invoice("open", 1, 0),
            invoice("paid", 2, 0),
            invoice("void", 1, 100),
            invoice("uncollectible", 4, 100),
            invoice("draft", 0, 100),
        ] {
            assert!(!settled.is_failing(), "{settled:?}");
        }
    }
}
