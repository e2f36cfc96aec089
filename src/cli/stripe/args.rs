use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueEnum};

use crate::cli::when::When;
use crate::model::{CustomerId, SubscriptionId};
use crate::operator::{Amount, Kind};

/// What every one of these commands takes.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct StripeArgs {
    #[command(flatten)]
    pub(super) terms: Terms,

    #[command(subcommand)]
    pub(super) command: StripeCommand,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Terms {
    /// What is sold, a TOML file [default: the built-in catalog]
    #[arg(long, value_name = "FILE", global = true, env = "USAGED_CATALOG")]
    pub(super) catalog: Option<PathBuf>,
    /// How usage reaches Stripe, as the agent's provider.kind [default: as the catalog says]
    #[arg(long, value_enum, global = true, env = "USAGED_STRIPE_KIND")]
    pub(super) kind: Option<KindArg>,
    /// Show each request that would change something, and send none
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
    /// Print only the id of what this is about, for a script
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum KindArg {
    StripeMeters,
    StripeUsageRecords,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::StripeMeters => Self::StripeMeters,
            KindArg::StripeUsageRecords => Self::StripeUsageRecords,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum StripeCommand {
    /// Products, meters and prices: compare with the catalog, or make them so
    Catalog {
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Whether Stripe can be reached, whose clock is right, and what this key may do
    Check {
        /// Hold the key against what the agent on a VM needs, and no more
        #[arg(long)]
        agent: bool,
    },
    /// Customers, by your own ids
    Customer {
        #[command(subcommand)]
        command: CustomerCommand,
    },
    /// Subscriptions to the plans of the catalog
    Subscription {
        #[command(subcommand)]
        command: SubscriptionCommand,
    },
    /// Coupons
    Coupon {
        #[command(subcommand)]
        command: CouponCommand,
    },
    /// Promotion codes: what customers type for a coupon
    Promotion {
        #[command(subcommand)]
        command: PromotionCommand,
    },
    /// The invoice to come
    Invoice {
        #[command(subcommand)]
        command: InvoiceCommand,
    },
    /// Invoices that were made, newest first
    Invoices(OfArgs),
    /// A way into Stripe's portal for a customer, to be sent there at once
    Portal(PortalArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum CouponCommand {
    /// Find the coupon of this id, or make it
    Create(Box<CouponArgs>),
}

#[derive(Debug, ClapArgs)]
pub(super) struct CouponArgs {
    /// Its id, as EARLYBIRD30; its terms are those of the catalog, where it has it, and what is said here
    pub(super) coupon: String,
    /// So many of a hundred
    #[arg(long, value_name = "N", conflicts_with = "amount_off")]
    pub(super) percent_off: Option<Amount>,
    /// So much, in whole units of the catalog's currency
    #[arg(long, value_name = "N")]
    pub(super) amount_off: Option<Amount>,
    /// For how long a subscription is cheaper by it
    #[arg(long, value_enum)]
    pub(super) duration: Option<DurationArg>,
    /// For so many months, with --duration repeating
    #[arg(long, value_name = "N")]
    pub(super) months: Option<u32>,
    /// Until when it can be redeemed: 2026-12, 2026-12-31 (both meant whole), in 30 days, RFC 3339, …
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) redeem_by: Option<When>,
    /// How often it can be redeemed
    #[arg(long, value_name = "N")]
    pub(super) max_redemptions: Option<u32>,
    /// On invoices
    #[arg(long)]
    pub(super) name: Option<String>,
    /// For the dashboard
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum DurationArg {
    Once,
    Repeating,
    Forever,
}

#[derive(Debug, Subcommand)]
pub(super) enum PromotionCommand {
    /// Find the active code, or make it
    Create(PromotionArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct PromotionArgs {
    /// What customers type
    #[arg(long, value_name = "WORD")]
    pub(super) code: String,
    /// The coupon's id
    #[arg(long, value_name = "ID")]
    pub(super) coupon: String,
    /// How often it can be redeemed
    #[arg(long, value_name = "N")]
    pub(super) max_redemptions: Option<u32>,
    /// Until when: 2026-12, 2026-12-31 (both meant whole), in 30 days, RFC 3339, …
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) expires_at: Option<When>,
}

#[derive(Debug, Subcommand)]
pub(super) enum InvoiceCommand {
    /// Show what would be invoiced if the period ended as it stands
    Preview(OfArgs),
}

#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("whose").required(true)))]
pub(super) struct OfArgs {
    /// cus_…
    #[arg(long, value_name = "ID", group = "whose")]
    pub(super) customer: Option<CustomerId>,
    /// sub_…
    #[arg(long, value_name = "ID", group = "whose")]
    pub(super) subscription: Option<SubscriptionId>,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct PortalArgs {
    #[command(subcommand)]
    pub(super) command: Option<PortalCommand>,
    /// cus_…
    #[arg(long, value_name = "ID", required = true)]
    pub(super) customer: Option<CustomerId>,
    /// Where the customer comes back to
    #[arg(long, value_name = "URL", required = true)]
    pub(super) return_url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PortalCommand {
    /// Let customers change payment method and address, see invoices, cancel, and switch plans
    Configure {
        /// Where customers come back to where nothing else is said
        #[arg(long, value_name = "URL")]
        return_url: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CustomerCommand {
    /// Find the customer of your own id, or make it; what differs is put right
    Create(CustomerArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct CustomerArgs {
    /// Your own id of the customer; the same id is one customer
    #[arg(long, value_name = "ID")]
    pub(super) id: String,
    /// Where invoices go
    #[arg(long)]
    pub(super) email: String,
    /// On invoices
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The VM that is billed to it
    #[arg(long, value_name = "ID")]
    pub(super) vm: Option<String>,
    /// A test card that it pays with, in test mode only, as `pm_card_visa`
    #[arg(long, value_name = "pm_card_…")]
    pub(super) test_card: Option<String>,
    /// A test clock in whose time it lives
    #[arg(long, value_name = "clock_…")]
    pub(super) test_clock: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum SubscriptionCommand {
    /// Subscribe a customer to a plan, or find that it is
    Create(SubscriptionArgs),
    /// Show one
    Show {
        /// sub_…
        subscription: SubscriptionId,
    },
    /// End one
    Cancel(CancelArgs),
}

#[derive(Debug, ClapArgs)]
pub(super) struct SubscriptionArgs {
    /// cus_…
    #[arg(long, value_name = "ID")]
    pub(super) customer: CustomerId,
    /// As the catalog names it
    #[arg(long)]
    pub(super) plan: String,
    /// Pay the base price yearly; usage stays monthly
    #[arg(long)]
    pub(super) annual: bool,
    /// Begin periods on the first of each month, 00:00 UTC; the part until then is charged by its share
    #[arg(long)]
    pub(super) first_of_month: bool,
    /// A coupon on it
    #[arg(long, value_name = "ID")]
    pub(super) coupon: Option<String>,
    /// A promotion code on it, promo_…
    #[arg(long, value_name = "ID", conflicts_with = "coupon")]
    pub(super) promotion_code: Option<String>,
    /// Charge the customer's payment method now, instead of waiting until the customer has paid
    #[arg(long)]
    pub(super) charge_now: bool,
}

#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("when").required(true)))]
pub(super) struct CancelArgs {
    /// sub_…
    pub(super) subscription: SubscriptionId,
    /// When the open period ends, with a last invoice for its usage
    #[arg(long, group = "when")]
    pub(super) at_period_end: bool,
    /// Now, with an invoice for what was used until now
    #[arg(long, group = "when")]
    pub(super) invoice_now: bool,
    /// Now, and nobody pays for what was used in the open period
    #[arg(long, group = "when")]
    pub(super) drop_usage: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// Show where Stripe differs from the catalog; nothing is changed
    Plan,
    /// Show where it differs, and make it so; a price is replaced, never changed
    Apply,
    /// Print the built-in catalog, to begin your own with
    Example,
}

/// Whether an argument holds a key. The command line is seen by every user of the machine, and kept by the shell.
pub(in crate::cli) fn names_a_key(arg: &OsStr) -> bool {
    let arg = arg.to_string_lossy();
    ["sk_live_", "sk_test_", "rk_live_", "rk_test_"].iter().any(|prefix| arg.contains(prefix))
}
