//! What the tests are built from: processes that never outlive their test, a VM's directories with a daemon in them, and
//! a Stripe to bill to.

mod http;
mod load;
mod often;
mod process;
mod receiver;
mod skipped;
mod stripe;
mod vm;
mod wait;

pub(crate) use http::{Answer, ask};
pub(crate) use load::Load;
pub(crate) use often::often;
pub(crate) use process::{Process, Said, clean, run};
pub(crate) use receiver::Receiver;
pub(crate) use skipped::skipped;
pub(crate) use stripe::{AGENT_KEY, Account, Books, Stripe};
pub(crate) use vm::{Vm, config};
pub(crate) use wait::until;
