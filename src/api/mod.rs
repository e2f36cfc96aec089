//! The control surface: HTTP/1.1 and JSON over a Unix socket, versioned under `/v1/`; and metrics, there and on a loopback
//! address.
//!
//! Owns: the socket, who may ask what (peer credentials), reading and checking what callers send, the shape of every
//! answer. One file per question, named as in [`crate::cli`]. Does not know: the jobs, the ledger or the provider; what
//! needs them goes through the [`Desk`], which the daemon staffs.
//!
//! After a crash: a stale socket file is replaced at the next start, and only if nobody answers on it.
//! Invariant: a record is answered `accepted` only after the desk said so, and the desk says so only from disk.
//! Invariant: one bad record never sinks the others of its batch, and answers keep the order of the records.

mod access;
mod accounts;
mod alerts;
mod audit;
mod body;
#[cfg(test)]
mod contract;
mod db;
mod desk;
mod doctor;
mod drain;
mod error;
mod explain;
mod export;
mod exposition;
#[cfg(test)]
pub(crate) mod fake;
mod identity;
mod intake;
mod link;
mod loopback;
mod metrics;
mod openapi;
#[cfg(test)]
mod openapi_document;
#[cfg(test)]
mod operations;
mod pools;
mod prepare_image;
mod reconcile;
mod record;
mod release;
mod reply;
mod routes;
mod scrape;
mod server;
mod socket;
mod status;
mod strangers;
mod sync;

#[cfg(test)]
mod tests;
mod usage;
mod void;

pub use access::{Access, Caller, Rank};
pub use accounts::has_group;
pub use desk::{Answer, Desk};
pub use error::ApiError;
pub use export::ExportRequest;
pub use intake::Record;
pub use scrape::serve_metrics;
pub use server::{Limits, serve};
pub use socket::{BindError, Socket, bind, take_over};
pub use strangers::{Door, serve_strangers};
