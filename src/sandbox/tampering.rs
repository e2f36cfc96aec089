//! Deliveries that come as they should not: rules that wait for a delivery they fit.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tamper {
    /// It comes twice.
    Twice,
    /// It comes after the one behind it; not before there is one.
    OutOfOrder,
    /// It comes so many seconds of the sandbox's time later.
    Late(i64),
    /// It is signed well, but for a time so many seconds ago.
    Old(i64),
    /// It is signed with another secret.
    Forged,
    /// Besides its signature it carries some that are none, in `v1` and in a scheme of tests.
    Bogus,
}

/// A rule. Deliveries it fits take it up until it is used up; a delivery takes up one rule at most, the oldest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tampering {
    /// `we_…`; any where left out.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The event's type; any where left out.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// How many deliveries. A further try is one of its own.
    #[serde(default = "once")]
    pub times: u32,
    /// What becomes of them.
    pub effect: Tamper,
}

const fn once() -> u32 {
    1
}

impl Tampering {
    /// This effect on the next delivery.
    #[must_use]
    pub const fn next(effect: Tamper) -> Self {
        Self { endpoint: None, kind: None, times: 1, effect }
    }

    /// Only on events of this type.
    #[must_use]
    pub fn of(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    fn fits(&self, endpoint: &str, kind: &str, can_wait: bool) -> bool {
        let puts_off = matches!(self.effect, Tamper::OutOfOrder | Tamper::Late(_));
        self.endpoint.as_deref().is_none_or(|wanted| wanted == endpoint)
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
            && (can_wait || !puts_off)
    }
}

/// The rules that wait.
#[derive(Debug, Default)]
pub(super) struct Tamperings(Mutex<VecDeque<Tampering>>);

impl Tamperings {
    pub(super) fn add(&self, rule: Tampering) {
        self.lock().push_back(rule);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn waiting(&self) -> Vec<Tampering> {
        self.lock().iter().cloned().collect()
    }

    /// What becomes of this delivery. One that was sent or put off before is not put off.
    pub(super) fn take(&self, endpoint: &str, kind: &str, can_wait: bool) -> Option<Tamper> {
        let mut rules = self.lock();
        let at = rules.iter().position(|rule| rule.times > 0 && rule.fits(endpoint, kind, can_wait))?;
        let rule = rules.get_mut(at)?;
        rule.times = rule.times.saturating_sub(1);
        let effect = rule.effect.clone();
        rules.retain(|rule| rule.times > 0);
        Some(effect)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Tampering>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_is_not_put_off() {
        let rules = Tamperings::default();
        rules.add(Tampering::next(Tamper::OutOfOrder).of("invoice.paid"));
        rules.add(Tampering::next(Tamper::Forged));
        assert_eq!(rules.take("we_1", "invoice.paid", false), Some(Tamper::Forged));
        assert_eq!(rules.take("we_1", "invoice.created", true), None);
        assert_eq!(rules.take("we_1", "invoice.paid", true), Some(Tamper::OutOfOrder));
        assert_eq!(rules.waiting(), []);
    }
}
