//! Identifiers. Each is its own type, so that a customer never stands where an item is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct NameError {
    /// Which kind of name it should have been.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub value: String,
    /// What a valid one looks like.
    pub rule: &'static str,
}

fn refuse(what: &'static str, value: &str, rule: &'static str) -> NameError {
    NameError { what, value: value.chars().take(80).collect(), rule }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it follows the rule of this kind of name.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) { Ok(Self(value)) } else { Err(refuse($what, &value, $rule)) }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

fn word(value: &str) -> bool {
    let mut chars = value.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && value.len() <= 64
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Provider ids go into URLs and form bodies; anything but these characters has no business there.
fn provider_id(value: &str) -> bool {
    !value.is_empty() && value.len() <= 255 && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

name!(
    /// A meter's name, as in `compute_hours`.
    MeterName, "meter", "1 to 64 of a-z, 0-9 and _, starting with a letter", word
);
name!(
    /// A plan's name, as in `pro`.
    PlanName, "plan", "1 to 64 of a-z, 0-9 and _, starting with a letter", word
);
name!(
    /// Who recorded a credit: a name the caller gives, or `uid:N` from its peer credentials.
    /// The colon is kept for the latter, so that a named source never poses as a user.
    SourceName, "source", "1 to 64 of letters, digits and . _ - /", |value| {
        let named = !value.is_empty()
            && value.len() <= 64
            && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        named || value.strip_prefix("uid:").is_some_and(|uid| uid.parse::<u32>().is_ok())
    }
);
name!(
    /// Stripe's meter, `mtr_…`.
    BillingMeterId, "billing meter id", "1 to 255 letters, digits, _ and -", provider_id
);
name!(
    /// The provider's customer, `cus_…`.
    CustomerId, "customer id", "1 to 255 letters, digits, _ and -", provider_id
);
name!(
    /// The provider's subscription, `sub_…`.
    SubscriptionId, "subscription id", "1 to 255 letters, digits, _ and -", provider_id
);
name!(
    /// The provider's subscription item, `si_…`.
    ItemId, "subscription item id", "1 to 255 letters, digits, _ and -", provider_id
);
name!(
    /// The provider's invoice, `in_…`.
    InvoiceId, "invoice id", "1 to 255 letters, digits, _ and -", provider_id
);
name!(
    /// The provider's price, `price_…`.
    PriceId, "price id", "1 to 255 letters, digits, _ and -", provider_id
);

impl SourceName {
    /// The source of a caller that named none: its user id.
    #[must_use]
    pub fn of_uid(uid: u32) -> Self {
        Self(format!("uid:{uid}"))
    }

    /// Whether a caller may use this name for itself.
    #[must_use]
    pub fn may_be_claimed(&self) -> bool {
        !self.0.contains(':')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meter_names_are_short_lowercase_words() {
        assert!(MeterName::new("compute_hours").is_ok());
        for bad in ["", "Compute", "1st", "a b", "a-b", &"x".repeat(65)] {
            assert!(MeterName::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_named_source_cannot_pose_as_a_user() {
        assert!(!SourceName::of_uid(7).may_be_claimed());
        assert!(SourceName::new("uid:root").is_err());
        assert!(SourceName::new("billing/worker-1").is_ok_and(|s| s.may_be_claimed()));
    }

    #[test]
    fn provider_ids_never_carry_path_or_form_characters() {
        for bad in ["si_1/usage", "si_1?x", "si 1", "si_1&a=b", ""] {
            assert!(ItemId::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
