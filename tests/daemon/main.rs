//! `usaged` and `usagectl` as processes: real sockets, real files, real signals, and the strict sandbox as Stripe, in the
//! daemon's own process or alone.
//!
//! Tests wait on conditions and say what they saw last; none waits for a time to pass. Each has directories and ports of
//! its own, so that they run side by side.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper of tests that fails, fails the test"
)]

mod harness;

mod alerts;
mod another_writer;
mod asking;
mod audited;
mod bad_input;
mod broken_disk;
mod clocks;
mod copies;
mod crowds;
mod damaged;
mod dashboard;
mod draining;
mod exports;
mod full_disk;
mod hangups;
mod kill_nine;
mod linking;
mod logs;
mod main_job;
mod metrics;
mod month_end;
mod provider_faults;
mod shutdown;
#[path = "../torn/mod.rs"]
mod torn;
mod users;
mod webhooks;
