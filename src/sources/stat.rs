//! Busy time of all CPUs, from `/proc/stat`.

use super::{Machine, SourceError};

const PATH: &str = "proc/stat";
/// The kernel shows times to programs in `USER_HZ`, a hundred a second on every architecture Linux runs servers on.
const US_PER_TICK: i64 = 10_000;

/// User, nice, system, irq and softirq time since boot, microseconds. Guests are inside user; stolen time was the
/// hypervisor's, waiting for a disk is idling.
pub(super) fn busy_us(machine: &Machine) -> Result<i64, SourceError> {
    let text = machine.read(PATH, "source \"cpu\" needs it; see that /proc is not hidden from this service")?;
    parse(&text).ok_or_else(|| SourceError::Unexpected {
        path: machine.root.join(PATH),
        expected: "a line \"cpu\" with seven times",
    })
}

fn parse(text: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut times = line.split_ascii_whitespace().map(str::parse::<i64>);
    let mut next = || times.next()?.ok();
    let (user, nice, system, _idle, _iowait, irq, softirq) =
        (next()?, next()?, next()?, next()?, next()?, next()?, next()?);
    [nice, system, irq, softirq].into_iter().try_fold(user, i64::checked_add)?.checked_mul(US_PER_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_the_cpus_worked_and_not_what_they_waited_or_were_robbed_of() {
        let text = "cpu  1 20 300 4000 50000 600000 7000000 80000000 1 1\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
        assert_eq!(parse(text), Some((1 + 20 + 300 + 600_000 + 7_000_000) * 10_000));
    }

    #[test]
    fn what_is_no_cpu_line_is_no_number() {
        for text in
            ["", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3", "cpu  a b c d e f g", "cpu  9223372036854775807 1 1 1 1 1 1"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
