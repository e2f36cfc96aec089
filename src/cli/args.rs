use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::stripe::StripeArgs;
use super::when::{When, duration};
use crate::wire::is_month;

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  error
  2  bad usage
  3  the daemon is not reachable
  4  refused, by a rule or because this user may not
  5  running, but with a problem that needs someone";

/// Asks the usaged on this machine what was used, and what is billed for it.
#[derive(Debug, Parser)]
#[command(name = "usagectl", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Args {
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        help = "Socket of the daemon [env: USAGED_SOCKET] [default: the first that answers]"
    )]
    pub(super) socket: Option<PathBuf>,

    /// Ask the daemon that `usaged run --sandbox` started
    #[arg(long, global = true, conflicts_with = "socket")]
    pub(super) sandbox: bool,

    /// Print exactly what the daemon says
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// How things stand, problems first
    Status(StatusArgs),
    /// What was used in a period, and what was not watched
    Usage(UsageArgs),
    /// Record usage
    Record(RecordArgs),
    /// Take a record back
    Void(VoidArgs),
    /// Bind this machine to a customer's subscription
    Link(LinkArgs),
    /// Show what would be sent and why; with --commit, send it
    Sync(SyncArgs),
    /// Read back what stands, compare it with the ledger, and show where they differ and why
    Reconcile(ReconcileArgs),
    /// Settle what is held
    Release(ReleaseArgs),
    /// Say what this VM is, whose ledger was made on another machine
    Identity(IdentityArgs),
    /// Unlink, set the ledger aside and stop, so that an image can be made of this disk
    PrepareImage(PrepareImageArgs),
    /// Send everything, read it back and certify what stands, before this VM is deleted
    Drain,
    /// Check, copy or recover the file that holds the ledger
    Db {
        #[command(subcommand)]
        command: DbCommand,
    },
    /// Show where a billed number comes from, down to days, gaps and requests; exit 5 where its sums differ
    Explain(ExplainArgs),
    /// Write what was used, recorded or sent as a table or as JSON, row by row
    Export(ExportArgs),
    /// What was done at the provider and to the account data, by whom and why
    Audit(AuditArgs),
    /// What needed somebody lately, and who was told of it
    Alerts(AlertsArgs),
    /// Check everything that can be wrong
    Doctor,
    /// Print the figures for Prometheus, or write them for a textfile collector
    Metrics(MetricsArgs),
    /// Print what completes this command in a shell; asks no daemon
    Completion {
        /// Of which shell
        shell: CompletionShell,
    },
    /// Set up and look after what is sold at Stripe, with your own key in `STRIPE_API_KEY`; asks no daemon
    Stripe(StripeArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Say whether the file is sound, or what is wrong with it (exit 0, or 5)
    Check {
        /// Compare every index with its table, too, which takes several times as long
        #[arg(long)]
        full: bool,
    },
    /// Copy the ledger into a new file while it is in use
    Backup {
        /// The new file; one that is there is not overwritten
        path: PathBuf,
    },
    /// Recover what can be read of a damaged file now, and set that aside; usaged does so by itself, too
    Recover,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, ClapArgs)]
pub(super) struct StatusArgs {
    /// Show paths, key, clock, identity and schedules, too
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// Show it again every so often, in place, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = interval)]
    pub(super) watch: Option<Duration>,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    pub(super) command: Option<AuditCommand>,
    /// Only what was done from then on: yesterday, 10m ago, 2026-10, RFC 3339, …
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) since: Option<When>,
    /// The last so many lines, 1 to 10000 [default: 100]
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Say whether every line is what was written, and follows the one before it (exit 0, or 5)
    Verify,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    pub(super) command: Option<AlertsCommand>,
    /// The newest so many, 1 to 10000 [default: 20]
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum AlertsCommand {
    /// Send a test through the configured command and address, and say what came of it (exit 0, or 5)
    Test,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ExplainArgs {
    /// A month, for the period that holds its last second, and a meter [default: all, in the current periods]
    #[arg(value_name = "YYYY-MM|METER", num_args = 0..=2)]
    pub(super) of: Vec<String>,
    /// The month, as `usagectl usage` takes it
    #[arg(long, value_name = "YYYY-MM", value_parser = month, conflicts_with = "of")]
    pub(super) month: Option<String>,
    /// The meter, as `usagectl usage` takes it
    #[arg(long, value_name = "NAME", conflicts_with = "of")]
    pub(super) meter: Option<String>,
    /// Write it as a page of HTML that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ExportArgs {
    /// What to export
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = ExportWhatArg::Usage)]
    pub(super) what: ExportWhatArg,
    /// Rows that begin then or later: yesterday, 2026-10, 2026-10-05, 10m ago, RFC 3339, …
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) from: Option<When>,
    /// Rows that begin before then; a day or a month is meant whole
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) to: Option<When>,
    /// Only this meter
    #[arg(long, value_name = "METER")]
    pub(super) meter: Option<String>,
    /// How it is written [default: csv, with --json jsonl]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(super) format: Option<ExportFormat>,
    /// Put it into this file, which is there once it is whole [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ExportWhatArg {
    /// What each meter used, minute by minute; hour by hour in periods that are over
    Usage,
    /// Recorded credits, those that were taken back among them
    Credits,
    /// Requests that set totals at the provider
    Deliveries,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// Comma-separated, with a heading
    Csv,
    /// One JSON object a line
    Jsonl,
}

#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("as")))]
pub(super) struct UsageArgs {
    /// The period that holds this month's last second [default: the current period]
    #[arg(long, value_name = "YYYY-MM", value_parser = month, conflicts_with_all = ["from", "to"])]
    pub(super) month: Option<String>,
    /// From then on: yesterday, 2026-10, 2026-10-05, 10m ago, RFC 3339, … [default: the first that is known]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) from: Option<When>,
    /// Until then; a day or a month is meant whole [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) to: Option<When>,
    /// Piece by piece; alone the last 24 hours, the days of this period, or the last 12 months
    #[arg(long, value_enum)]
    pub(super) by: Option<ByArg>,
    /// Only this meter
    #[arg(long, value_name = "NAME")]
    pub(super) meter: Option<String>,
    /// As bars, by day unless --by says otherwise
    #[arg(long, group = "as")]
    pub(super) plot: bool,
    /// As comma-separated values
    #[arg(long, group = "as")]
    pub(super) csv: bool,
    /// As OpenMetrics text with times, which promtool can fill a Prometheus with
    #[arg(long, group = "as")]
    pub(super) openmetrics: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ByArg {
    Hour,
    Day,
    Month,
}

#[derive(Debug, ClapArgs)]
pub(super) struct RecordArgs {
    /// Which meter, as `api_credits`
    pub(super) meter: String,
    /// How much, as 5 or 0.25; at most six decimal places
    #[arg(allow_negative_numbers = true)]
    pub(super) quantity: String,
    /// Unique per meter and source; the same id counts once [default: a random one, printed]
    #[arg(long)]
    pub(super) id: Option<String>,
    /// When it was used: 10m ago, 2026-11-05T12:00:00Z, … [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) at: Option<When>,
    /// Who records [default: uid:N of the user]
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
    /// Try again for this long while the daemon is away or busy: 10, 30s, 2m, …
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration)]
    pub(super) retry_for: Duration,
}

#[derive(Debug, ClapArgs)]
pub(super) struct VoidArgs {
    /// Which meter
    pub(super) meter: String,
    /// The record's id
    #[arg(long)]
    pub(super) id: String,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) because: String,
    /// Who recorded it [default: uid:N of the user]
    #[arg(long, value_name = "NAME")]
    pub(super) source: Option<String>,
}

#[derive(Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(super) struct LinkArgs {
    /// cus_…
    #[arg(long, value_name = "ID")]
    pub(super) customer: String,
    /// sub_…
    #[arg(long, value_name = "ID")]
    pub(super) subscription: String,
    /// The plan [default: the one whose price names the items carry]
    #[arg(long)]
    pub(super) plan: Option<String>,
    /// Start of billing, not before the period's start: today, 2026-11-05, RFC 3339, … [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) from: Option<When>,
    /// The item of a meter, where its price's lookup key does not tell; repeatable
    #[arg(long = "item", value_name = "METER=si_…", value_parser = meter_and_item)]
    pub(super) items: Vec<(String, String)>,
    /// What stands already stays; ours goes on top of it
    #[arg(long, conflicts_with = "from_next_period")]
    pub(super) on_top: bool,
    /// Leave this period alone and start with the next
    #[arg(long)]
    pub(super) from_next_period: bool,
    /// Nobody else writes to these items: what stands above this ledger is taken over by itself after a restore
    #[arg(long, conflicts_with = "shared")]
    pub(super) single_writer: bool,
    /// Several VMs add to the same customer and meter (sum, gross, first tier free)
    #[arg(long)]
    pub(super) shared: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct SyncArgs {
    /// The period that holds this month's last second [default: the current period]
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    pub(super) month: Option<String>,
    /// Send; otherwise only show
    #[arg(long)]
    pub(super) commit: bool,
    /// Only this item
    #[arg(long, visible_alias = "item", value_name = "si_…")]
    pub(super) subscription_item: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ReconcileArgs {
    /// Only this item
    #[arg(long, value_name = "si_…")]
    pub(super) item: Option<String>,
}

#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("how").required(true)))]
pub(super) struct ReleaseArgs {
    /// The held item, si_…
    pub(super) item: String,
    /// Keep what stands and go on top of it
    #[arg(long, group = "how")]
    pub(super) adopt: bool,
    /// Set our own total over what stands
    #[arg(long, group = "how")]
    pub(super) overwrite: bool,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) because: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct IdentityArgs {
    /// same: the VM was moved, and its ledger goes on; new: it is a clone, and begins unlinked with an empty ledger
    #[arg(value_enum)]
    pub(super) this_vm: ThisVmArg,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) because: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ThisVmArg {
    Same,
    New,
}

#[derive(Debug, ClapArgs)]
pub(super) struct PrepareImageArgs {
    /// Go on although something is unsent, and why; kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) because: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct MetricsArgs {
    /// Put them into this file, replaced as a whole, as /var/lib/prometheus/node-exporter/usaged.prom
    #[arg(long, value_name = "FILE")]
    pub(super) textfile: Option<PathBuf>,
}

/// Less would only keep the daemon busy.
fn interval(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    if every < Duration::from_secs(1) {
        Err("once a second is the most\nhint: write 1 or more".to_owned())
    } else {
        Ok(every)
    }
}

fn month(text: &str) -> Result<String, String> {
    if is_month(text) { Ok(text.to_owned()) } else { Err("a month looks like 2026-11".to_owned()) }
}

fn meter_and_item(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((meter, item)) if !meter.is_empty() && !item.is_empty() => Ok((meter.to_owned(), item.to_owned())),
        _ => Err("it looks like compute_hours=si_123".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn items_are_given_by_meter() {
        assert_eq!(meter_and_item("compute_hours=si_1"), Ok(("compute_hours".to_owned(), "si_1".to_owned())));
        for bad in ["si_1", "=si_1", "compute_hours="] {
            assert!(meter_and_item(bad).is_err(), "{bad:?} was taken");
        }
    }
}
