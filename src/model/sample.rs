//! A reading of one counter.

use serde::{Deserialize, Serialize};

use super::MeterName;

/// What a counter's readings must share to be subtracted (rule M1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The kernel's boot id.
    pub boot_id: String,
    /// In a container: the runtime directory's mark and PID 1's start time. Empty on a machine or VM.
    pub container_mark: String,
    /// The counter's own: a control group's inode. Empty where the boot is all there is.
    pub counter: String,
    /// Whether this is a container, where the first reading of a boot is a baseline (rule M2).
    pub is_container: bool,
}

/// A reading of one meter's counter, taken at the clock reading it travels with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Which meter.
    pub meter: MeterName,
    /// Word of the source, see [`super::Source::word`], for a control group followed by its path; a changed source is
    /// a new baseline.
    pub source: String,
    /// What the reading belongs to.
    pub incarnation: Incarnation,
    /// The counter, microseconds. For `vcpu` the running time of one CPU.
    pub counter_us: i64,
    /// CPUs online at the reading.
    pub cpus: u32,
}
