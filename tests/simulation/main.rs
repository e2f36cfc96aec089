//! Whole VM-months, each driven by one seed: the real sampler, store, jobs, outbox and HTTP client on a simulated machine,
//! at a sandbox, in virtual time, with faults at every step. What is right is said by a model written from the rules
//! alone.
//!
//! `USAGED_SIMULATION_SEED=7 cargo test --test simulation replay` plays one seed again.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod books;
mod calendar;
mod truth;
#[allow(dead_code, reason = "another test program uses the rest")]
#[path = "../billing/vm.rs"]
mod vm;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use calendar::Month;
use world::World;

/// Plays a month; what was wrong with it, if anything was.
fn play(month: &Month) -> Result<(), String> {
    let month = month.clone();
    catch_unwind(AssertUnwindSafe(|| vm::run(World::play(month)))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// Months of the seeds of one way of billing; all that fail are named.
fn months(way: u64, count: u64) {
    let seeds = (0..count).map(|n| n * 5 + way);
    let failed: Vec<String> =
        seeds.filter_map(|seed| play(&Month::drawn(seed)).err().map(|why| format!("{seed}: {why}"))).collect();
    assert!(failed.is_empty(), "of {count} months {} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn r7_months_by_usage_records_balance() {
    months(0, 10);
}

#[test]
fn replay() {
    let Ok(seed) = std::env::var("USAGED_SIMULATION_SEED") else { return };
    let month = Month::drawn(seed.parse().unwrap());
    println!("{month:#?}");
    if let Err(why) = play(&month) {
        panic!("{why}");
    }
}
