//! `usaged` measures what a VM used and keeps the customer's metered items at the billing provider at exactly the overage.
//!
//! One unit of usage is followed from left to right:
//!
//! ```text
//!  sources            ledger               rating              outbox               provider
//!  /proc, cgroup ───> minute buckets ────> used − included ──> one row per item ──> Stripe usage records
//!  socket intake ───> (usage.db)           = overage           and period, "set
//!                     dedupe keys          rounded once        to N"
//!                     coverage and gaps
//! ```
//!
//! Rooms import [`model`] (and [`store`] where they own tables), never sideways; [`jobs`] is where they meet;
//! [`daemon`] composes everything.
//!
//! Invariant: nothing is acknowledged before it is on disk.
//! Invariant: what may stand at the provider is never more than was used, plus named carries and adoptions (rule R7).
//! Invariant: an idempotency key is on disk before the request that carries it leaves (rule S2).
//! Invariant: `now` is read by the jobs, where they begin and after each answer, and passed down.

pub mod account;
pub mod alerts;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod dashboard;
#[cfg(feature = "sandbox")]
pub mod fuse;
mod host;
mod https;
pub mod jobs;
pub mod ledger;
pub mod model;
pub mod operator;
pub mod outbox;
pub mod provider;
pub mod rating;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod shown;
pub mod sources;
pub mod store;
pub mod webhook;
pub mod wire;
