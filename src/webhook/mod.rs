//! The webhook receiver: lets in what the provider signed, and says that it was taken once it is on disk.
//!
//! Owns: nothing; what it takes goes through its [`Inbox`]. Does not know: what an event leads to. An event is only a hint
//! to read its object again, so that it matters neither how often nor in which order events come.
//! Invariant: nothing is parsed, read or stored before its signature was found good. Without a secret nothing is let in.

mod event;
mod receiver;
mod signature;

pub use event::{LEMON_SQUEEZY_EVENTS, STRIPE_EVENTS, of_lemon_squeezy, of_stripe};
pub use receiver::{Inbox, Taken, router};
pub use signature::{Refused, TOLERANCE_S, lemon_squeezy, stripe};
