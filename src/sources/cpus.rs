//! How many CPUs are online.
//!
//! The kernel's own list is read, not `std::thread::available_parallelism` or an affinity mask: those show what this
//! process may use, and the unit that limits the agent to one CPU does not make the machine smaller.

use std::thread::available_parallelism;

use super::{Machine, SourceError};

const ONLINE: &str = "sys/devices/system/cpu/online";

/// CPUs online on this machine.
pub(super) fn online(machine: &Machine) -> Result<u32, SourceError> {
    const HINT: &str = "usaged counts CPUs there; see that /sys or /proc/stat is visible to this service";
    let list = machine.read(ONLINE, HINT);
    let listed = list.as_ref().ok().and_then(|list| count_list(list));
    match listed.or_else(|| count_lines(&machine.try_read("proc/stat").ok()?)) {
        Some(count) => Ok(count),
        None => Err(list.err().unwrap_or_else(|| SourceError::Unexpected {
            path: machine.root.join(ONLINE),
            expected: "a list of CPUs, as 0-3",
        })),
    }
}

/// CPUs that running time is multiplied by. In a container the kernel's list is the host's, so there what this process
/// may use bounds it: a quota of the container is seen, at the price that a quota of the agent alone is, too.
pub(super) fn usable(machine: &Machine, is_container: bool) -> Result<u32, SourceError> {
    let online = online(machine)?;
    if !is_container {
        return Ok(online);
    }
    let allowed = available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok());
    Ok(allowed.map_or(online, |allowed| allowed.min(online)))
}

/// Counts a list such as `0-3,6`.
fn count_list(text: &str) -> Option<u32> {
    let mut count = 0_u32;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Counts the lines `cpuN` of `/proc/stat`, which lists the CPUs online.
fn count_lines(stat: &str) -> Option<u32> {
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    u32::try_from(stat.lines().filter(is_cpu).count()).ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::machine;
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, count) in
            [("0", Some(1)), ("0-3\n", Some(4)), ("0-1,4,6-7", Some(5)), ("", None), ("3-1", None), ("a", None)]
        {
            assert_eq!(count_list(list), count, "{list:?}");
        }
    }

    #[test]
    fn where_sys_is_hidden_the_lines_of_proc_stat_are_counted() {
        let (_dir, machine) = machine(&[("proc/stat", "cpu  1 2\ncpu0 1 2\ncpu1 1 2\nintr 7\n")]);
        assert_eq!(online(&machine).unwrap(), 2);
    }

    #[test]
    fn a_container_is_never_counted_with_more_cpus_than_it_may_use() {
        let (_dir, machine) = machine(&[(ONLINE, "0-100000")]);
        let allowed = u32::try_from(available_parallelism().unwrap().get()).unwrap();
        assert_eq!(usable(&machine, true).unwrap(), allowed);
        assert_eq!(usable(&machine, false).unwrap(), 100_001);
    }

    #[test]
    fn a_machine_without_any_list_says_where_it_was_sought() {
        let (_dir, hidden) = machine(&[]);
        assert!(online(&hidden).unwrap_err().to_string().contains("cpu/online"));
        let (_dir, odd) = machine(&[(ONLINE, "many")]);
        assert!(matches!(online(&odd), Err(SourceError::Unexpected { .. })));
    }
}
