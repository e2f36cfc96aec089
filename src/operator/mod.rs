//! What an operator sets up at Stripe before a VM can be billed, and looks after later: catalog, customers,
//! subscriptions, coupons, invoices, the portal. `usagectl stripe` shows it.
//!
//! Owns: the catalog file; which requests a command takes, and what it makes of the answers. Runs where the operator is,
//! with the operator's key; it needs no daemon, and no daemon reaches it. Does not know: the ledger, the agent's
//! configuration, screens.
//!
//! Nothing is kept here. What is to be created is looked for first, by the name that its owner gave it: a lookup key, an
//! id, a metadata field. So a command that was cut off is run again and goes on, and run twice it changes nothing.
//! Invariant: a price is never changed in place; it is replaced by another one that takes over its lookup key.
//! Invariant: with `dry_run`, requests that change something are noted, and not sent.

mod amount;
mod apply;
mod caller;
mod catalog;
mod catalog_check;
mod check;
mod coupon;
mod customer;
mod diff;
mod error;
mod form;
mod invoice;
mod kind;
mod payments;
mod portal;
mod promotion;
mod report;
mod subscription;
mod subscription_view;

pub use amount::{Amount, shown as shown_amount};
pub use apply::{CatalogReport, apply as apply_catalog, plan as plan_catalog};
pub use caller::Caller;
pub use catalog::{BUILT_IN, Catalog, Coupon, Duration};
pub use check::{AccountView, CheckReport, Need, Permission, check};
pub use coupon::{CouponReport, create as create_coupon};
pub use customer::{CustomerReport, NewCustomer, create as create_customer};
pub use diff::{Action, Change};
pub use error::OperatorError;
pub use invoice::{
    InvoiceLine, InvoiceView, InvoicesReport, Of, PreviewReport, list as list_invoices, preview as preview_invoice,
};
pub use kind::Kind;
pub use payments::PaymentsView;
pub use portal::{PortalReport, SessionReport, configure as configure_portal, open as open_portal};
pub use promotion::{NewPromotion, PromotionReport, create as create_promotion};
pub use report::{Names, Report, Request};
pub use subscription::{
    Discount, Ending, NewSubscription, SubscriptionReport, cancel as cancel_subscription,
    create as create_subscription, show as show_subscription,
};
pub use subscription_view::{ItemView, SubscriptionView};
