//! `usagectl stripe`: what an operator sets up at Stripe, with a key of their own and without a daemon.
//!
//! Owns: arguments and screens of these commands. What is asked of Stripe is in [`crate::operator`].
//! Invariant: with `--json`, stdout carries one report, and nothing else; progress goes to stderr.

mod args;
mod catalog;
mod check;
mod coupon;
mod customer;
mod invoice;
mod portal;
mod session;
mod subscription;

pub(super) use args::{StripeArgs, names_a_key};
pub(super) use session::Session;

use super::Exit;
use super::error::CliError;
use args::{CouponCommand, CustomerCommand, InvoiceCommand, PromotionCommand, StripeCommand};

/// Runs one command.
pub(super) async fn stripe(mut session: Session<'_>, args: StripeArgs) -> Result<Exit, CliError> {
    let StripeArgs { terms, command } = args;
    match command {
        StripeCommand::Catalog { command } => catalog::catalog(&mut session, &terms, command).await,
        StripeCommand::Check { agent } => check::check(&mut session, &terms, agent).await,
        StripeCommand::Coupon { command: CouponCommand::Create(args) } => {
            coupon::create(&mut session, &terms, *args).await
        }
        StripeCommand::Promotion { command: PromotionCommand::Create(args) } => {
            coupon::create_promotion(&mut session, &terms, args).await
        }
        StripeCommand::Invoice { command: InvoiceCommand::Preview(args) } => {
            invoice::preview(&mut session, &terms, args).await
        }
        StripeCommand::Invoices(args) => invoice::list(&mut session, &terms, args).await,
        StripeCommand::Portal(args) => portal::portal(&mut session, &terms, args).await,
        StripeCommand::Customer { command: CustomerCommand::Create(args) } => {
            customer::create(&mut session, &terms, args).await
        }
        StripeCommand::Subscription { command } => subscription::subscription(&mut session, &terms, command).await,
    }
}
