//! `usagectl stripe` as an operator runs it: real processes against the strict sandbox on a loopback port.
#![cfg(feature = "sandbox")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod catalog;
mod check;
mod coupons;
mod customers;
mod harness;
mod portal;
mod screens;
mod subscriptions;
mod walk_through;
