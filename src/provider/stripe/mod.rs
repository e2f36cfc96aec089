//! Stripe.

/// Stripe's legacy usage records, by the pinned version `2025-02-24.acacia`.
#[derive(Debug, Clone)]
pub struct UsageRecords {}
