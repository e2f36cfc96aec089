//! `usagectl stripe` as an operator runs it: real processes against the strict sandbox on a loopback port.
#![cfg(feature = "sandbox")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail the test")]

mod catalog;
mod check;
mod coupons;
mod customers;
mod harness;
mod portal;
mod subscriptions;
