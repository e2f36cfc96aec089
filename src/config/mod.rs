//! What the operator decides: `/etc/usaged/usaged.toml`, the environment, and the files that hold secrets.
//!
//! Owns: reading, checking, defaults, near-miss suggestions. Does not know: what the settings are used for.
//! Holds nothing between two readings: the same files and environment give the same [`Loaded`] or the same
//! [`ConfigFaults`], at the start, on a reload and for `usaged check-config` alike. Either every setting is good or
//! nothing of the file is used.

mod alerts;
mod check;
mod dashboard;
mod environment;
mod exposed;
mod faults;
mod load;
mod meters;
mod paths;
mod plans;
mod provider;
mod ready;
#[cfg(test)]
mod reference;
mod secrets;
mod section;
mod seed;
mod values;

pub use alerts::{Address, Alerts};
pub use check::{Checked, check};
pub use dashboard::{Dashboard, Listen};
pub use environment::{Environment, UserDirectories};
pub use exposed::{KEY_EXPOSED, exposed_key};
pub use faults::{ConfigFaults, Fault};
pub use load::{Loaded, load};
pub use paths::{Overrides, PathsError, paths, sandbox_paths, sockets};
pub use ready::{PlanIncomplete, plan_ready};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{AllowanceRule, CustomerId, ItemId, Meter, MeterName, Plan, PlanName, SubscriptionId};

/// The exit code of a daemon whose configuration is faulty (`EX_CONFIG`): systemd does not start it again.
pub const EXIT_BAD_CONFIG: u8 = 78;

/// Everything the daemon runs by, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the wall clock's trust comes from.
    pub clock: ClockTrust,
    /// Meters by name.
    pub meters: BTreeMap<MeterName, Meter>,
    /// Plans by name: the shipped ones, overlaid by the operator's.
    pub plans: BTreeMap<PlanName, Plan>,
    /// How an allowance follows a plan change.
    pub allowance: AllowanceRule,
    /// The billing provider.
    pub provider: ProviderConfig,
    /// When things happen.
    pub schedule: Schedule,
    /// Bounds of the intake.
    pub intake: Intake,
    /// Where scrapers find the metrics, besides the socket.
    pub metrics: Metrics,
    /// Where the provider's webhooks come in.
    pub webhook: Webhook,
    /// Where the usage page is.
    pub dashboard: Dashboard,
    /// What somebody is told of, and how.
    pub alerts: Alerts,
    /// Who may command besides root: a group's name.
    pub command_group: Option<String>,
    /// Ids of the first link, from the environment (rule R1).
    pub seed: LinkSeed,
}

/// `clock` in the configuration (rule M5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClockTrust {
    /// Find out: provider, then timesyncd.
    #[default]
    Auto,
    /// The operator vouches for the wall clock.
    Trusted,
}

/// Which provider, and how it is reached.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// Which kind.
    pub kind: ProviderKind,
    /// Where its API is; a loopback address in tests and with the sandbox.
    pub base_url: String,
    /// A whole request may take this long.
    pub timeout: Duration,
    /// Stripe leaves an invoice a draft so long after its period's end (rule S7).
    pub draft_grace: Duration,
    /// Which periods may be billed (rule R2).
    pub periods: Periods,
    /// No push starts so shortly before a period's end at Lemon Squeezy (rule S9).
    pub quiet_before_end: Duration,
    /// The key, where there is one.
    pub key: Option<ApiKey>,
    /// What follows where a customer's payment failed.
    pub on_payment_failed: OnPaymentFailed,
}

/// `provider.on_payment_failed` in the configuration. Measuring and pushing go on with either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnPaymentFailed {
    /// It is a problem in status.
    #[default]
    Alert,
    /// And status says that the applications should pause.
    Pause,
}

/// `provider.periods` in the configuration: which periods an item may have (rule R2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Periods {
    /// Whichever the provider says.
    #[default]
    Provider,
    /// UTC calendar months, as the months that `usage` shows.
    UtcMonths,
}

/// `provider` in the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProviderKind {
    /// Measures only.
    #[default]
    None,
    /// Stripe's meters.
    StripeMeters,
    /// Stripe's legacy usage records, pinned version.
    StripeUsageRecords,
    /// Lemon Squeezy's current usage.
    LemonSqueezy,
}

impl ProviderKind {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StripeMeters => "stripe-meters",
            Self::StripeUsageRecords => "stripe-usage-records",
            Self::LemonSqueezy => "lemon-squeezy",
        }
    }
}

/// An API key, and where it came from, so that messages can name the place and never the key.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Redacted in every output.
    pub secret: secrecy::SecretString,
    /// As `credential stripe_api_key` or `environment STRIPE_API_KEY`.
    pub from: String,
}

/// When things happen.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Between two samples; 1 s to 6 h.
    pub sample_every: Duration,
    /// Cron expression (with seconds) of the push, UTC.
    pub push: String,
    /// Cron expression of the comparison with the provider, UTC.
    pub reconcile: String,
    /// Cron expression of compaction and pruning, UTC.
    pub compact: String,
    /// Cron expression of the look at customer, subscription and invoices, UTC.
    pub look: String,
    /// A VM's own steady offset is drawn from this much time after a push or a comparison is due.
    pub spread: Duration,
}

/// Bounds of the intake.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// Largest request body, bytes.
    pub max_body: usize,
    /// Most records in one request.
    pub max_records: usize,
    /// Ids are remembered this long, by arrival; at least 35 days (rule M8).
    pub dedupe_days: u32,
    /// Single credits are kept this long, then only hours by source.
    pub keep_credits_days: u32,
}

/// Metrics for scrapers that know no Unix sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// A loopback address to answer on; without one nothing listens on TCP.
    pub listen: Option<SocketAddr>,
}

/// The webhook receiver.
#[derive(Debug, Clone, Default)]
pub struct Webhook {
    /// Where it listens; without one nothing does.
    pub listen: Option<SocketAddr>,
    /// Any of these signs what comes: one, or two while it is rolled.
    pub secrets: Vec<secrecy::SecretString>,
    /// What a customer carries in their metadata where they rent this VM: a VM that was never linked is linked to their new
    /// subscription.
    pub vm_id: Option<String>,
    /// Under which key.
    pub vm_key: String,
}

/// Ids for the first link (rule R1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSeed {
    /// `STRIPE_CUSTOMER_ID`.
    pub customer: Option<CustomerId>,
    /// `STRIPE_SUBSCRIPTION_ID`.
    pub subscription: Option<SubscriptionId>,
    /// `STRIPE_SUBSCRIPTION_ITEM_COMPUTE`.
    pub item_compute: Option<ItemId>,
    /// `STRIPE_SUBSCRIPTION_ITEM_API`.
    pub item_api: Option<ItemId>,
    /// `plan` in the configuration: the plan of that first link.
    pub plan: Option<PlanName>,
}

/// Where things lie on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `usage.db` and its lock: `/var/lib/usaged`, `$STATE_DIRECTORY`, or XDG.
    pub state: PathBuf,
    /// The socket: `/run/usaged`, `$RUNTIME_DIRECTORY`, or XDG.
    pub runtime: PathBuf,
    /// `/etc/usaged/usaged.toml`, `--config`, `USAGED_CONFIG`, or XDG.
    pub config: PathBuf,
    /// What is done with the file at `config`.
    pub reading: Reading,
}

/// What is done with the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Somebody named it: it has to be there.
    Named,
    /// The usual place: without a file there, the defaults hold.
    IfThere,
    /// Not opened; the defaults hold.
    Never,
}

impl Paths {
    /// The ledger.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("usage.db")
    }

    /// The API's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("usaged.sock")
    }
}
