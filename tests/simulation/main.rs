//! Whole VM-months, each driven by one seed: the real sampler, store, jobs, outbox and HTTP client on a simulated machine,
//! at a sandbox, in virtual time, with faults at every step. What is right is said by a model written from the rules
//! alone.
//!
//! `USAGED_SIMULATION_SEED=7 cargo test --locked --test simulation replay -- --nocapture` plays one seed again, and takes out
//! of its month whatever it fails without. `USAGED_SIMULATION_MONTHS=100000 cargo test --release --locked --test simulation
//! long_run -- --nocapture` plays as many, and says how many an hour.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail the test"
)]

mod books;
mod calendar;
mod seeds;
mod shrink;
mod truth;
#[allow(dead_code, reason = "the tests of billing use the rest")]
#[path = "../billing/vm.rs"]
mod vm;
mod world;

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use calendar::{Month, SWAPPING, WIDER};
use world::World;

/// Months of the ordinary run, of every way of billing as many.
const MONTHS: u64 = 200;
/// Months with another price for credits in the middle, besides.
const SWAPPED_MONTHS: u64 = 40;
/// Of those, months that are played once more, sampled every minute.
const FINE_MONTHS: u64 = 2;

const MEMORY: &str = "/dev/shm";

/// Plays a month; what was wrong with it, if anything was.
fn play(month: &Month) -> Result<(), String> {
    // In memory where that is possible: a month syncs its files some ten thousand times.
    if Path::new(MEMORY).is_dir() {
        drop(tempfile::env::override_temp_dir(Path::new(MEMORY)));
    }
    let month = month.clone();
    // Whoever plays it says what was wrong.
    std::panic::set_hook(Box::new(|_| {}));
    let played = catch_unwind(AssertUnwindSafe(|| vm::run(World::play(month)))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    });
    drop(std::panic::take_hook());
    played
}

/// How to play a month again.
fn again(seed: u64) -> String {
    format!("USAGED_SIMULATION_SEED={seed} cargo test --locked --test simulation replay -- --nocapture")
}

/// Plays months side by side; of those that fail, what was wrong and how to play them again.
fn months(months: Vec<Month>) {
    let (count, threads) = (months.len(), thread::available_parallelism().map_or(1, NonZero::get));
    let (left, failed) = (Mutex::new(months.into_iter()), Mutex::new(Vec::new()));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(month) = left.lock().unwrap().next() else { return };
                    if let Err(why) = play(&month) {
                        println!("{why}\n  {}", again(month.seed));
                        failed.lock().unwrap().push(format!("{why}\n  {}", again(month.seed)));
                    }
                }
            });
        }
    });
    let (failed, took) = (failed.into_inner().unwrap(), begun.elapsed());
    let an_hour = (u128::try_from(count).unwrap() * 3_600_000).div_euclid(took.as_millis().max(1));
    println!("{count} months in {took:.0?}: {an_hour} an hour");
    assert!(failed.is_empty(), "of {count} months {} failed:\n{}", failed.len(), failed.join("\n"));
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[test]
fn r7_months_drawn_from_seeds_balance() {
    months((WIDER..WIDER + MONTHS).map(Month::drawn).collect());
}

#[test]
fn r5_months_in_which_a_price_is_swapped_balance() {
    months((SWAPPING..SWAPPING + SWAPPED_MONTHS).map(Month::drawn).collect());
}

#[test]
fn r7_months_that_failed_once_balance() {
    months(seeds::FAILED_ONCE.map(Month::drawn).into());
}

#[test]
fn r7_months_that_are_sampled_every_minute_balance() {
    months((WIDER + 1..=WIDER + FINE_MONTHS).map(|seed| Month::drawn(seed).finely()).collect());
}

/// `USAGED_SIMULATION_MONTHS=100000`, from `USAGED_SIMULATION_SEED` on.
#[test]
fn long_run() {
    let Some(count) = setting("USAGED_SIMULATION_MONTHS") else { return };
    let first = setting("USAGED_SIMULATION_SEED").unwrap_or(WIDER);
    months((first..first + count).map(Month::drawn).collect());
}

#[test]
fn replay() {
    let (Some(seed), None) = (setting("USAGED_SIMULATION_SEED"), setting("USAGED_SIMULATION_MONTHS")) else { return };
    let month = Month::drawn(seed);
    if let Err(why) = play(&month) {
        println!("{why}\nshrinking…");
        let (least, why) = shrink::shrunk(month, why);
        panic!("{why}\n{least:#?}");
    }
}
