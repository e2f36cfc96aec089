//! The customer at the provider.

use std::collections::BTreeMap;

use super::CustomerId;

/// Who is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// The provider's id.
    pub id: CustomerId,
    /// As it stands on invoices.
    pub name: Option<String>,
    /// Where they are sent.
    pub email: Option<String>,
    /// The last invoice that was to be charged is not paid.
    pub delinquent: bool,
    /// It was deleted.
    pub deleted: bool,
    /// The vendor's own words about it. Not kept.
    pub metadata: BTreeMap<String, String>,
}

impl Customer {
    /// The fields in which it differs from what was read before.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> Vec<&'static str> {
        let fields = [
            ("name", self.name != before.name),
            ("email", self.email != before.email),
            ("delinquent", self.delinquent != before.delinquent),
            ("deleted", self.deleted != before.deleted),
        ];
        fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}
