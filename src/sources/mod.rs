//! The world, read into [`crate::model::Sample`]s.
//!
//! Owns: every read of `/proc`, `/sys` and `/run` that decides what was used, and the mark file in the runtime
//! directory by which a container knows itself again (rule M1).
//! After a crash: nothing here is lost; counters live in the kernel, and a missing mark only starts a new baseline.
//! Does not know: what a reading is compared with, or what it costs.
//!
//! Where each number comes from:
//!
//! | source   | counter                                                                      | in a container |
//! |----------|------------------------------------------------------------------------------|----------------|
//! | `uptime` | `CLOCK_MONOTONIC` of the reading                                             | yes |
//! | `vcpu`   | the same; the ledger multiplies by CPUs online                               | yes, at the smaller of the host's CPUs and what this process may use |
//! | `cpu`    | user, nice, system, irq, softirq of `/proc/stat`; not idle, iowait and steal; guest is inside user | refused: the host's numbers |
//! | `cgroup` | `cpu.stat` (v2) or `cpuacct.usage` (v1)                                      | yes |
//! | `push`   | none; applications send records                                              | yes |

mod cgroup;
mod container;
mod cpus;
mod error;
mod incarnation;
mod machine;
mod product;
mod stat;

pub use error::SourceError;
pub use machine::Machine;
