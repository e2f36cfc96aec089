use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::operator::Kind;

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
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) catalog: Option<PathBuf>,
    /// How usage reaches Stripe, as the agent's provider.kind [default: as the catalog says]
    #[arg(long, value_enum, global = true)]
    pub(super) kind: Option<KindArg>,
    /// Show each request that would change something, and send none
    #[arg(long, global = true)]
    pub(super) dry_run: bool,
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
