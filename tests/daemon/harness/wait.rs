use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Far longer than anything takes, even where everything is built without optimisation and two cores are shared.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// Looks until what it sees is right; where it never is, the test fails with what was seen last.
pub(crate) fn until<T, E: Display>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(last) => assert!(Instant::now() < end, "waited in vain until {what}; seen last:\n{last}"),
        }
        sleep(Duration::from_millis(25));
    }
}
