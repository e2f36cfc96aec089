//! From a body's text to records.
//!
//! Owns: framing (one object, an array, lines) and the check of every field. Does not know: which meters there are,
//! what was recorded before; that is the desk's.

mod framing;
mod record;

pub(super) use framing::split;
pub use record::Record;
pub(super) use record::parse;
