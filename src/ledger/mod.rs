//! What was used.
//!
//! Owns: meters, last readings, minute buckets and the boundaries that cut them, usage that waits for a trusted clock,
//! coverage, recorded credits. Every write takes a [`crate::store::Tx`], so it is inside a transaction by its type;
//! nothing reads a clock or a counter.
//! After a crash: a reading and the usage it caused are stored together or not at all, and so are a credit and its
//! bucket; an accepted credit is found by its id for as long as it is kept.
//! Does not know: customers, plans, prices, providers, or where a counter comes from.
//!
//! A round of samples calls, in one transaction and with one placement: [`placement::settle`], [`samples::take`] for
//! each meter, [`coverage::note`].

pub mod boundaries;
pub mod buckets;
pub mod compaction;
mod counting;
pub mod coverage;
pub mod credits;
mod error;
pub mod export;
#[cfg(test)]
mod laws;
pub mod lost;
pub mod meters;
pub mod placement;
pub mod samples;
mod share;
mod slices;
#[cfg(test)]
mod testing;
pub mod voids;

pub use counting::{Capped, Event};
pub use error::LedgerError;
pub use meters::MeterId;
