//! CPU time of one control group.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use super::{Machine, SourceError};
use crate::model::MeterName;

const ROOT: &str = "sys/fs/cgroup";

/// A reading of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// CPU time since the group was made, microseconds.
    pub usage_us: i64,
    /// Of the group's directory: a service that is started again has a new one, and a counter from zero.
    pub inode: u64,
}

/// A file that may hold the counter, and how it is read.
struct Place {
    hierarchy: &'static str,
    file: &'static str,
    expected: &'static str,
    parse: fn(&str) -> Option<i64>,
}

/// Version 2 first; then version 1 under both of its usual names; last the version 2 part of a mixed system, which
/// keeps the time even where the controller is not on.
const PLACES: [Place; 4] = [
    Place { hierarchy: "", file: "cpu.stat", expected: "a line \"usage_usec\"", parse: usage_usec },
    Place { hierarchy: "cpu,cpuacct", file: "cpuacct.usage", expected: "nanoseconds", parse: nanoseconds },
    Place { hierarchy: "cpuacct", file: "cpuacct.usage", expected: "nanoseconds", parse: nanoseconds },
    Place { hierarchy: "unified", file: "cpu.stat", expected: "a line \"usage_usec\"", parse: usage_usec },
];

pub(super) fn read(machine: &Machine, meter: &MeterName, path: &str) -> Result<Group, SourceError> {
    let relative = Path::new(path.trim_start_matches('/'));
    let stays_inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if relative.as_os_str().is_empty() || !stays_inside {
        return Err(SourceError::BadCgroup { meter: meter.to_string(), path: path.to_owned() });
    }
    for place in &PLACES {
        let group = machine.root.join(ROOT).join(place.hierarchy).join(relative);
        let file = group.join(place.file);
        let (Ok(text), Ok(about)) = (std::fs::read_to_string(&file), std::fs::metadata(&group)) else { continue };
        let usage_us = (place.parse)(&text).ok_or(SourceError::Unexpected { path: file, expected: place.expected })?;
        return Ok(Group { usage_us, inode: about.ino() });
    }
    Err(SourceError::NoCgroup { meter: meter.to_string(), path: path.to_owned() })
}

fn usage_usec(text: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}

fn nanoseconds(text: &str) -> Option<i64> {
    Some(text.trim().parse::<i64>().ok()?.div_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::{machine, put};
    use super::*;

    fn meter() -> MeterName {
        MeterName::new("app_cpu").unwrap()
    }

    #[test]
    fn version_two_is_read_in_microseconds_and_version_one_in_nanoseconds() {
        let (_dir, two) = machine(&[("sys/fs/cgroup/a/cpu.stat", "usage_usec 5000\nuser_usec 4000\n")]);
        assert_eq!(read(&two, &meter(), "a").unwrap().usage_us, 5_000);
        for hierarchy in ["cpu,cpuacct", "cpuacct"] {
            let (_dir, one) = machine(&[(&format!("sys/fs/cgroup/{hierarchy}/a/cpuacct.usage"), "5000999\n")]);
            assert_eq!(read(&one, &meter(), "/a").unwrap().usage_us, 5_000);
        }
    }

    #[test]
    fn a_group_made_anew_has_another_mark() {
        let (_dir, machine) = machine(&[("sys/fs/cgroup/a/cpu.stat", "usage_usec 9\n"), ("sys/fs/cgroup/b/x", "")]);
        let before = read(&machine, &meter(), "a").unwrap();
        std::fs::rename(machine.root.join("sys/fs/cgroup/a"), machine.root.join("old")).unwrap();
        put(&machine, "sys/fs/cgroup/a/cpu.stat", "usage_usec 1\n");
        assert_ne!(read(&machine, &meter(), "a").unwrap().inode, before.inode);
    }

    #[test]
    fn a_missing_group_names_the_setting_and_how_to_find_the_path() {
        let (_dir, machine) = machine(&[]);
        let said = read(&machine, &meter(), "system.slice/app.service").unwrap_err().to_string();
        assert!(said.contains("system.slice/app.service") && said.contains("[meters.app_cpu]"), "{said}");
    }

    #[test]
    fn a_path_never_leaves_the_hierarchy() {
        let (_dir, machine) = machine(&[("sys/fs/other/cpu.stat", "usage_usec 1\n")]);
        for path in ["../other", "", "/", "a/../../other"] {
            assert!(matches!(read(&machine, &meter(), path), Err(SourceError::BadCgroup { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_counter_that_is_no_number_is_an_error() {
        let (_dir, machine) = machine(&[("sys/fs/cgroup/a/cpu.stat", "usage_usec many\n")]);
        assert!(matches!(read(&machine, &meter(), "a"), Err(SourceError::Unexpected { .. })));
    }
}
