//! From what was used to what should stand. Pure arithmetic in integers; no I/O, no clock, no database.
//!
//! Owns: rules R3, R4, and the one place that rounds. Does not know: where usage comes from, or which
//! provider takes the result.

mod allowance;
mod estimate;
mod overage;

pub use allowance::{Allowance, InForce, allowance, whole_allowance};
pub use estimate::{cost, estimate};
pub use overage::{RatingError, overage, spare};
