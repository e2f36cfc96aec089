//! `usagectl`: asks the daemon, and shows what it says.
//!
//! Owns: arguments, screens, exit codes, the client's side of the socket. One file per question, named as in
//! [`crate::api`]. Does not know: the database, the configuration, the provider; everything shown was said by the daemon.
//!
//! Nothing is kept, so nothing is lost in a crash; `record` sends the same id again until it is answered.
//! Invariant: with `--json`, stdout carries exactly what the daemon said, and nothing else.

mod alerts;
mod args;
mod audit;
mod bar;
mod client;
mod completion;
mod db;
mod doctor;
#[cfg(test)]
mod documents;
mod drain;
mod error;
mod exit;
mod explain;
mod export;
mod identity;
mod link;
mod look;
mod metrics;
mod prepare_image;
mod random_id;
mod reconcile;
mod record;
mod release;
mod run;
mod service;
mod status;
mod stripe;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod usage;
mod void;
mod when;

use crate::shown::{add, words};

pub use args::Args;
pub use client::Sockets;
pub use exit::Exit;
pub use look::has_unicode;
pub use run::{Size, Surroundings, run};
pub use service::show as show_service;
pub use when::local;
