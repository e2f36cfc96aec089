//! `Stripe-Version`, and what hangs on it.

use super::errors::ApiError;

/// The version that is answered in where a request names none: the last one with usage records.
pub const PINNED_VERSION: &str = "2025-02-24.acacia";

/// A checked version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version(String);

/// From this day on versions carry a release's name.
const NAMED_SINCE: &str = "2024-09-30";
/// From this day on there are `/v2/core/events`.
const EVENTS: &str = "2024-09-30";
/// From this day on usage records are gone and periods sit on the items.
const BASIL: &str = "2025-03-31";
/// From this day on subscriptions have a billing mode.
const BILLING_MODE: &str = "2025-06-30";
/// From this day on items of a flexible subscription may have different intervals.
const MIXED: &str = "2025-07-30";
/// From this day on subscriptions are flexible unless they say otherwise.
const FLEXIBLE: &str = "2025-09-30";
/// From this day on an update's billing cycle anchor is an object.
const ENDIVE: &str = "2026-09-30";

impl Version {
    /// Checks the header's text: a date, and a release's name exactly where there are such.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let (date, name) = match text.split_once('.') {
            Some((date, name)) => (date, Some(name)),
            None => (text, None),
        };
        let is_date = date.len() == 10 && chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
        let named = match name {
            Some(name) => date >= NAMED_SINCE && !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()),
            None => date < NAMED_SINCE,
        };
        if is_date && named {
            return Ok(Self(text.to_owned()));
        }
        Err(ApiError::malformed(format!("Invalid Stripe API version: {text}")))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it has `/v2/core/events`: `2024-09-30.acacia` or later.
    pub(super) fn has_thin_events(&self) -> bool {
        self.0.as_str() >= EVENTS
    }

    /// Whether it is `2025-03-31.basil` or later.
    pub(super) fn is_basil(&self) -> bool {
        self.0.as_str() >= BASIL
    }

    /// Whether subscriptions have a billing mode: `2025-06-30.basil` or later.
    pub(super) fn has_billing_mode(&self) -> bool {
        self.0.as_str() >= BILLING_MODE
    }

    /// Whether a flexible subscription may have items of different intervals: `2025-07-30.basil` or later.
    pub(super) fn mixes_intervals(&self) -> bool {
        self.0.as_str() >= MIXED
    }

    /// Whether new subscriptions are flexible: `2025-09-30.clover` or later.
    pub(super) fn is_flexible(&self) -> bool {
        self.0.as_str() >= FLEXIBLE
    }

    /// Whether a promotion code names its coupon within `promotion`: `2025-09-30.clover` or later.
    pub(super) fn has_promotion(&self) -> bool {
        self.0.as_str() >= FLEXIBLE
    }

    /// Whether it is `2026-09-30.endive` or later.
    pub(super) fn is_endive(&self) -> bool {
        self.0.as_str() >= ENDIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basil_begins_on_its_day() {
        assert!(!Version::parse(PINNED_VERSION).unwrap().is_basil());
        assert!(Version::parse("2025-03-31.basil").unwrap().is_basil());
        assert!(Version::parse("2026-10-28.endive").unwrap().is_basil());
        assert!(!Version::parse("2023-10-16").unwrap().is_basil());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in ["", "latest", "2025-02-24", "2023-10-16.acacia", "2025-13-01.basil", "2025-02-24.", "2025-2-24.a"] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }
}
