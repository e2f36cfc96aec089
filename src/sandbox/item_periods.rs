//! Periods that items have of their own: those of a subscription in the flexible billing mode, which may hold items of
//! different intervals. They share the anchor. The subscription itself shows the period that ends first.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::books;
use super::errors::ApiError;
use super::items::{self, Item};
use super::periods::{Anchor, Interval};
use super::subscriptions::Subscription;

/// An item's open period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnPeriod {
    interval: Interval,
    start: i64,
    end: i64,
}

impl OwnPeriod {
    /// From now to the end of the trial, or else to the next boundary.
    pub(super) fn begin(interval: Interval, anchor: Anchor, now: i64, trial_end: Option<i64>) -> Self {
        Self { interval, start: now, end: trial_end.unwrap_or_else(|| anchor.next_after(interval, now)) }
    }
}

impl Subscription {
    /// The subscription as one of its items lives it: in the item's period, where that has its own.
    pub(super) fn seen_by(&self, item: &Item) -> Self {
        let mut seen = self.clone();
        if let Some(own) = item.period {
            (seen.interval, seen.period_start, seen.period_end) = (own.interval, own.start, own.end);
        }
        seen
    }
}

/// The item's subscription as [`Subscription::seen_by`] it.
pub(super) fn subscription_of(books: &Connection, item: &Item) -> Result<Subscription, ApiError> {
    Ok(books::get::<Subscription>(books, &item.subscription)?.seen_by(item))
}

/// The subscription's period has ended: so have those of its items that end with it.
pub(super) fn move_on(books: &Connection, subscription: &mut Subscription) -> Result<(), ApiError> {
    let (ended, anchor) = (subscription.period_end, subscription.anchor);
    (subscription.period_start, subscription.period_end) = (ended, anchor.next_after(subscription.interval, ended));
    for mut item in items::live(books, &subscription.id)? {
        if let Some(own) = item.period.filter(|own| own.end == ended) {
            item.period = Some(OwnPeriod::begin(own.interval, anchor, ended, None));
            books::put(books, &item)?;
        }
    }
    show_first(books, subscription)
}

/// All items' periods begin now, from a new anchor.
pub(super) fn restart(books: &Connection, subscription: &mut Subscription, now: i64) -> Result<(), ApiError> {
    let anchor = Anchor::at(now);
    (subscription.anchor, subscription.anchor_configured) = (anchor, false);
    (subscription.period_start, subscription.period_end) = (now, anchor.next_after(subscription.interval, now));
    for mut item in items::live(books, &subscription.id)? {
        if let Some(own) = item.period {
            item.period = Some(OwnPeriod::begin(own.interval, anchor, now, None));
            books::put(books, &item)?;
        }
    }
    show_first(books, subscription)
}

/// The subscription shows the period of the item that ends first, the latest begun among such.
pub(super) fn show_first(books: &Connection, subscription: &mut Subscription) -> Result<(), ApiError> {
    let periods = items::live(books, &subscription.id)?.into_iter().filter_map(|item| item.period);
    if let Some(first) = periods.min_by_key(|own| (own.end, std::cmp::Reverse(own.start))) {
        (subscription.interval, subscription.period_start, subscription.period_end) =
            (first.interval, first.start, first.end);
    }
    Ok(())
}
