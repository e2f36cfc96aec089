//! Arithmetic on figures, in integers.

use std::time::Duration;

/// The middle of some figures; the lower one of two.
pub(crate) fn median(figures: &[u64]) -> u64 {
    percentile(figures, 50)
}

/// The smallest figure that this many of a hundred do not exceed.
pub(crate) fn percentile(figures: &[u64], percent: usize) -> u64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An amount over `took`, as it would be over `each`.
pub(crate) fn per(amount: u64, each: Duration, took: Duration) -> u64 {
    let scaled = u128::from(amount).saturating_mul(each.as_micros());
    u64::try_from(scaled.checked_div(took.as_micros()).unwrap_or_default()).unwrap_or(u64::MAX)
}

/// One rate of another, in thousandths.
pub(crate) fn thousandths(of: u64, whole: u64) -> u64 {
    of.saturating_mul(1_000).checked_div(whole).unwrap_or_default()
}
