//! The usage page: one page for people, made on the server, which needs no script.
//!
//! Owns: who is let in (a token, then a cookie), from where (`Host`, `Origin`), and what the page looks like. Does not know:
//! the jobs, the store, the provider; what is shown comes from its [`Desk`], which asks what the socket's API asks.
//! Keeps nothing: a session is a signed cookie, so that a restart ends none.
//! Invariant: without a session nothing is shown but the form to log in, the style and the script.
//! Invariant: nothing is done for a request that did not come from this page.

mod desk;
mod frame;
mod gate;
mod meters;
mod page;
mod place;
mod reply;
mod router;
mod sending;

pub use desk::{Answer, Desk, Trouble};
pub use gate::Gate;
pub use place::Place;
pub use router::router;
