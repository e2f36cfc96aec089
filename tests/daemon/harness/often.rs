/// How often something is tried: as the variable says, where somebody wants more of it than a test run has time for.
pub(crate) fn often(variable: &str, usually: u32) -> u32 {
    std::env::var(variable).map_or(usually, |times| times.parse().unwrap())
}
