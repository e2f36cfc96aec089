//! Billing in virtual time: the real store, jobs, outbox and HTTP client against the real sandbox, on a clock that tests
//! move. An independent model, written from the rules alone, says what is right.

#![cfg(feature = "sandbox")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test"
)]

mod alerts;
mod bad_answers;
mod billed;
mod closing;
mod damaged;
mod drain;
mod explain;
mod faults;
mod hostile;
mod identity;
mod lemon_squeezy;
mod look;
mod meters;
mod model;
mod month;
mod page;
mod periods;
mod reconcile;
mod restored;
mod segments;
mod storms;
mod table;
#[path = "../torn/mod.rs"]
mod torn;
mod usage;
#[allow(dead_code, reason = "the simulation uses the rest")]
mod vm;
mod year;
