use serde::{Deserialize, Serialize};

use crate::config::ProviderKind;

/// How usage reaches Stripe, in the words of the agent's `provider.kind`. It decides the API version that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Metered prices on meters, in the newest version.
    #[default]
    StripeMeters,
    /// Metered prices without a meter, in the last version that has usage records.
    StripeUsageRecords,
}

impl Kind {
    /// The agent's word for it.
    #[must_use]
    pub const fn provider(self) -> ProviderKind {
        match self {
            Self::StripeMeters => ProviderKind::StripeMeters,
            Self::StripeUsageRecords => ProviderKind::StripeUsageRecords,
        }
    }
}
