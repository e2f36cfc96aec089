//! When to try again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(2);
const MAX: Duration = Duration::from_hours(1);

/// Full jitter: anything between nothing and a bound that doubles from 2 s to an hour, but never before what the
/// provider asked for. A fleet whose provider was away comes back spread out.
#[must_use]
pub fn retry_delay(attempts: u32, asked: Option<Duration>, dice: &mut fastrand::Rng) -> Duration {
    let doubled = FIRST.checked_mul(1_u32.checked_shl(attempts.min(16)).unwrap_or(u32::MAX)).unwrap_or(MAX);
    let bound_ms = u64::try_from(doubled.min(MAX).as_millis()).unwrap_or(u64::MAX);
    let jittered = Duration::from_millis(dice.u64(0..=bound_ms));
    // An hour is also the most a provider may ask for: a wrong header must not silence us past a deadline.
    jittered.max(asked.unwrap_or_default().min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_an_hour_and_are_spread() {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut longest = |attempts| (0..500).map(|_| retry_delay(attempts, None, &mut dice)).max().unwrap();
        assert!(longest(0) <= FIRST);
        assert!(longest(5) > Duration::from_secs(32) && longest(5) <= Duration::from_secs(64));
        assert!(longest(40) > Duration::from_mins(50) && longest(40) <= MAX);
    }

    #[test]
    fn the_provider_is_not_asked_again_before_it_said() {
        let mut dice = fastrand::Rng::with_seed(7);
        assert!(retry_delay(0, Some(Duration::from_secs(90)), &mut dice) >= Duration::from_secs(90));
        assert_eq!(retry_delay(0, Some(Duration::from_secs(999_999)), &mut dice), MAX);
    }
}
