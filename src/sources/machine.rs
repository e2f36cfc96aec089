//! The machine, below a root that tests can choose.

use std::io;
use std::path::{Path, PathBuf};

use super::{SourceError, cgroup, container, cpus, incarnation, product, stat};
use crate::clock::Reading;
use crate::model::{Incarnation, MachineIdentity, Meter, Sample, Source};

/// A machine to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Where `/proc`, `/sys`, `/run` and `/etc` lie; `/` outside of tests.
    pub root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Machine {
    /// Reads one meter's counter at this reading of the clocks. `None` for push meters, which have no counter.
    ///
    /// # Errors
    /// The counter cannot be read, or would not mean what the meter says.
    pub fn sample(
        &self,
        meter: &Meter,
        incarnation: &Incarnation,
        reading: Reading,
    ) -> Result<Option<Sample>, SourceError> {
        let mut sample = Sample {
            meter: meter.name.clone(),
            source: meter.source.word().to_owned(),
            incarnation: incarnation.clone(),
            counter_us: reading.monotonic_us,
            cpus: 1,
        };
        match &meter.source {
            Source::Push => return Ok(None),
            // Running time needs no CPU count, so it is measured where the list cannot be read, too.
            Source::Uptime => sample.cpus = cpus::usable(self, incarnation.is_container).unwrap_or(1),
            Source::Vcpu => sample.cpus = cpus::usable(self, incarnation.is_container)?,
            Source::Cpu if incarnation.is_container => {
                return Err(SourceError::CpuInContainer { meter: meter.name.to_string() });
            }
            Source::Cpu => {
                sample.cpus = cpus::online(self)?;
                sample.counter_us = stat::busy_us(self)?;
            }
            Source::Cgroup { path } => {
                let group = cgroup::read(self, &meter.name, path)?;
                sample.cpus = cpus::online(self)?;
                sample.counter_us = group.usage_us;
                sample.incarnation.counter = group.inode.to_string();
                // Another path is another counter; another inode at the same path is the same service, restarted.
                sample.source = format!("{} {path}", meter.source.word());
            }
        }
        Ok(Some(sample))
    }

    /// What the readings of this process belong to (rule M1). Call it once per process: where a container cannot be
    /// recognised, each call is a new incarnation, and so a new baseline.
    ///
    /// # Errors
    /// The boot id cannot be read, or there are no random numbers.
    pub fn incarnation(&self, runtime_dir: &Path) -> Result<Incarnation, SourceError> {
        let is_container = container::is_one(self);
        let container_mark = if is_container { incarnation::container_mark(self, runtime_dir)? } else { String::new() };
        Ok(Incarnation { boot_id: self.boot_id()?, container_mark, counter: String::new(), is_container })
    }

    /// The kernel's boot id.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn boot_id(&self) -> Result<String, SourceError> {
        const HINT: &str = "usaged needs it to tell reboots apart; see that /proc/sys is visible to this service";
        Ok(self.read("proc/sys/kernel/random/boot_id", HINT)?.trim().to_owned())
    }

    /// This machine's host name, where it has one.
    #[must_use]
    pub fn host_name(&self) -> String {
        let name = self.read("proc/sys/kernel/hostname", "").unwrap_or_default();
        name.trim().to_owned()
    }

    /// Whether timesyncd says that it has set the clock in this boot (rule M5).
    #[must_use]
    pub fn timesync_mark(&self) -> bool {
        self.root.join("run/systemd/timesync/synchronized").exists()
    }

    /// By what this machine is known (rule S11).
    #[must_use]
    pub fn identity(&self, runtime_dir: &Path) -> MachineIdentity {
        MachineIdentity { machine_id: self.machine_id(), product_uuid: product::uuid(self, runtime_dir) }
    }

    /// The machine id, where one is set.
    #[must_use]
    pub fn machine_id(&self) -> Option<String> {
        let id = self.try_read("etc/machine-id").ok()?.trim().to_owned();
        (id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())).then_some(id)
    }

    pub(super) fn read(&self, path: &str, hint: &'static str) -> Result<String, SourceError> {
        self.try_read(path).map_err(|source| SourceError::Unreadable { path: self.root.join(path), hint, source })
    }

    /// Bytes that are no text (as in an environment block) are replaced, since only ASCII is looked for.
    pub(super) fn try_read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.root.join(path))?).into_owned())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{MeterName, Report, Rounding, Timestamp, Unit};

    /// A machine made of the given files.
    pub(in crate::sources) fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine { root: dir.path().to_owned() };
        for (path, text) in files {
            put(&machine, path, text);
        }
        (dir, machine)
    }

    pub(in crate::sources) fn put(machine: &Machine, path: &str, text: &str) {
        let path = machine.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    const BOOT: (&str, &str) = ("proc/sys/kernel/random/boot_id", "b-1\n");
    const ONLINE: (&str, &str) = ("sys/devices/system/cpu/online", "0-3\n");
    const READING: Reading = Reading { wall: Timestamp::from_secs(1_000), monotonic_us: 70, boottime_us: 90 };

    fn meter(source: Source) -> Meter {
        Meter {
            name: MeterName::new("compute_hours").unwrap(),
            source,
            unit: Unit::of("hours"),
            rounding: Rounding::Down,
            report: Report::Overage,
            max_per_record: None,
            max_per_hour: None,
        }
    }

    fn sample(machine: &Machine, source: Source) -> Result<Option<Sample>, SourceError> {
        let runtime = tempfile::tempdir().unwrap();
        machine.sample(&meter(source), &machine.incarnation(runtime.path()).unwrap(), READING)
    }

    #[test]
    fn m3_running_time_is_the_monotonic_clock_and_never_the_time_since_boot() {
        let (_dir, machine) = machine(&[BOOT, ONLINE]);
        for source in [Source::Uptime, Source::Vcpu] {
            let word = source.word();
            let sample = sample(&machine, source).unwrap().unwrap();
            assert_eq!((sample.counter_us, sample.cpus, sample.source.as_str()), (70, 4, word));
            assert_eq!(sample.incarnation.boot_id, "b-1");
        }
    }

    #[test]
    fn running_time_is_measured_where_the_cpu_list_is_hidden_and_vcpu_is_not() {
        let (_dir, machine) = machine(&[BOOT]);
        assert_eq!(sample(&machine, Source::Uptime).unwrap().unwrap().counter_us, 70);
        assert!(matches!(sample(&machine, Source::Vcpu), Err(SourceError::Unreadable { .. })));
    }

    #[test]
    fn busy_time_in_a_container_is_refused_and_names_the_way_out() {
        let stat = ("proc/stat", "cpu  1 1 1 1 1 1 1 1 0 0\n");
        let (_dir, machine) = machine(&[BOOT, ONLINE, stat, (".dockerenv", ""), ("proc/1/stat", "")]);
        let said = sample(&machine, Source::Cpu).unwrap_err().to_string();
        assert!(said.contains("source = \"cgroup\"") && said.contains("[meters.compute_hours]"), "{said}");
    }

    #[test]
    fn push_meters_have_no_counter() {
        let (_dir, machine) = machine(&[BOOT]);
        assert_eq!(sample(&machine, Source::Push).unwrap(), None);
    }

    #[test]
    fn a_control_group_is_known_by_its_path_and_its_inode() {
        let (_dir, machine) = machine(&[BOOT, ONLINE, ("sys/fs/cgroup/a.slice/cpu.stat", "usage_usec 12\n")]);
        let sample = sample(&machine, Source::Cgroup { path: "a.slice".into() }).unwrap().unwrap();
        assert_eq!((sample.source.as_str(), sample.counter_us), ("cgroup a.slice", 12));
        assert!(!sample.incarnation.counter.is_empty());
    }

    #[test]
    fn a_machine_id_that_is_not_set_yet_is_none() {
        let (_dir, machine) = machine(&[("etc/machine-id", "uninitialized\n")]);
        assert_eq!(machine.machine_id(), None);
        put(&machine, "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        assert_eq!(machine.machine_id().as_deref(), Some("0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn an_unreadable_boot_id_is_an_error_that_names_the_file() {
        let (_dir, machine) = machine(&[]);
        let said = machine.boot_id().unwrap_err().to_string();
        assert!(said.contains("boot_id") && said.contains("hint:"), "{said}");
    }

    #[test]
    fn m5_timesyncds_mark_is_seen() {
        let (_dir, machine) = machine(&[]);
        assert!(!machine.timesync_mark());
        put(&machine, "run/systemd/timesync/synchronized", "");
        assert!(machine.timesync_mark());
    }

    #[test]
    fn this_very_machine_can_be_read() {
        let machine = Machine::default();
        assert_eq!(machine.boot_id().unwrap().len(), 36);
        assert!(cpus::online(&machine).unwrap() >= 1);
        assert!(stat::busy_us(&machine).unwrap() > 0);
    }
}
