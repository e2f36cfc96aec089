//! A strict, stateful Stripe on a loopback port: it refuses what Stripe refuses, keeps books, and makes invoices. And a
//! Lemon Squeezy likewise, in [`lemon_squeezy`].
//!
//! Owns: `sandbox.db`, which holds nothing real; a settable clock; faults on request; a choice of how to read what
//! Stripe leaves open. Speaks HTTP only, so that the daemon meets it exactly as it meets Stripe; also where it delivers
//! events.
//! After a crash: whatever was answered is on disk, together with the idempotency key that asked for it; so is how far
//! the clock was moved, what was chosen, and what is still to be delivered. Faults and tamperings that wait, the request
//! log and the limits are forgotten.
//! Does not know: anything of this program but its clock and its words for time.
//!
//! ```text
//!  server ──> exchange: auth, version, route, form ──> idempotency ──> handler ──> expand ──> books (one transaction)
//!    │            └ faults, limits                          │             customers, products, prices, subscriptions,
//!  control (/_sandbox)                        billing::catch_up           items, usage_records, invoices, payments,
//!                                                                         meters, meter_events, meter_totals,
//!                                                                         meter_errors, test_clocks
//!                                                                          │ changes, told as events
//!  an endpoint <── courier <── webhooks: version, signature <── deliveries ┘
//! ```
//!
//! Invariant: an answer leaves after its effects and its key are committed.
//! Invariant: what changes an object that events tell of leaves its events in the same transaction.
//! Invariant: time is the sandbox's clock, read once per request; or the test clock's that an object lives on.

mod account;
mod anchors;
mod auth;
mod behaviour;
mod billing;
mod books;
mod call;
mod changes;
mod clock;
mod collection;
mod control;
mod coupons;
mod courier;
mod customers;
mod deliveries;
mod demo;
mod discounts;
mod endings;
mod errors;
mod event_types;
mod events;
mod exchange;
mod expand;
mod faults;
mod form;
mod idempotency;
mod in_flight;
mod invoices;
mod item_periods;
mod items;
pub mod lemon_squeezy;
mod limits;
mod lines;
mod lists;
mod log;
mod meter_errors;
mod meter_events;
mod meter_totals;
mod meters;
mod payments;
mod periods;
mod portal;
mod prices;
mod products;
mod promotion_codes;
mod routes;
mod search;
mod server;
mod shapes;
mod signatures;
mod subscribe;
mod subscription_changes;
mod subscriptions;
mod tampering;
mod telling;
mod test_clocks;
mod trials;
mod usage_records;
mod version;
mod webhook_endpoints;
mod webhooks;

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use account::{Account, WhenRetriesFail};
pub use behaviour::{AddedUsage, Behaviour, Newest, RemovedUsage, ResetUsage, SwappedUsage};
pub use clock::SandboxClock;
pub use demo::{Demo, SECONDS_PRICE, seed_demo, seed_meter_demo};
pub use errors::SandboxError;
pub use faults::{Effect, Fault, Words};
pub use limits::Limits;
pub use log::LoggedRequest;
use rusqlite::{Connection, TransactionBehavior};
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use serde_json::{Value, json};
pub use tampering::{Tamper, Tampering};
use tokio::net::TcpListener;
pub use version::PINNED_VERSION;

use crate::clock::SystemClock;
use crate::model::Timestamp;
use errors::ApiError;
use events::{Cause, Moment};
use items::Item;
use log::RequestLog;
use subscriptions::Subscription;
use webhook_endpoints::Endpoint;

/// The clock does not go beyond the year 9999.
const LATEST: Timestamp = Timestamp::from_secs(253_402_300_799);

/// The sandbox. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    books: Mutex<Connection>,
    clock: SandboxClock,
    faults: faults::Faults,
    in_flight: in_flight::Names,
    log: RequestLog,
    limiter: limits::Limiter,
    bell: courier::Bell,
}

/// A metered item's total in one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemTotal {
    /// First second after which usage counts.
    pub from: Timestamp,
    /// Last second at which usage counts.
    pub to: Timestamp,
    /// What stands.
    pub total: i64,
    /// `in_…` that billed it; `None` in the open period.
    pub invoice: Option<String>,
}

impl Sandbox {
    /// Opens or creates `sandbox.db` in this directory. A following clock takes up where it was moved to before.
    ///
    /// # Errors
    /// The directory or the file cannot be used, or the file is not the sandbox's.
    pub fn open(dir: &Path, clock: SandboxClock) -> Result<Self, SandboxError> {
        let connection = open_books(dir, "sandbox.db", &clock)?;
        let bell = courier::Bell::default();
        bell.want(books::is_any::<Endpoint>(&connection)?);
        Ok(Self(Arc::new(Inner {
            books: Mutex::new(connection),
            clock,
            faults: faults::Faults::default(),
            in_flight: in_flight::Names::default(),
            log: RequestLog::default(),
            limiter: limits::Limiter::default(),
            bell,
        })))
    }

    /// Serves and delivers events until `shutdown` completes, then lets requests that have begun come to their end.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        courier::while_serving(self.0.clone(), server::serve(self.0.clone(), listener, shutdown)).await;
    }

    /// The sandbox's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Moves the sandbox's time on to this, and does everything that was due by then.
    ///
    /// # Errors
    /// It lies in the past, or the books cannot be written.
    pub fn set_clock(&self, to: Timestamp) -> Result<(), SandboxError> {
        self.0.move_clock(to)
    }

    /// Moves the sandbox's time on by so many microseconds.
    ///
    /// # Errors
    /// As [`Self::set_clock`].
    pub fn advance(&self, micros: i64) -> Result<(), SandboxError> {
        self.0.move_clock(self.now().plus(micros))
    }

    /// Makes something go wrong with the next requests that fit.
    pub fn fault(&self, fault: Fault) {
        self.0.faults.add(fault);
    }

    /// Forgets the rules that still wait.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// Rules that still wait.
    #[must_use]
    pub fn waiting_faults(&self) -> Vec<Fault> {
        self.0.faults.waiting()
    }

    /// Has the next deliveries of events that fit come as they should not.
    pub fn tamper(&self, tampering: Tampering) {
        self.0.bell.tamperings.add(tampering);
    }

    /// Rules about deliveries that still wait.
    #[must_use]
    pub fn waiting_tamperings(&self) -> Vec<Tampering> {
        self.0.bell.tamperings.waiting()
    }

    /// Lets a restricted key in, with permissions such as `usage_record_write`.
    ///
    /// # Errors
    /// It does not start with `rk_test_`, or the books cannot be written.
    pub fn add_restricted_key(&self, key: &str, permissions: &[&str]) -> Result<(), SandboxError> {
        let permissions: Vec<String> = permissions.iter().map(|one| (*one).to_owned()).collect();
        Ok(auth::register(&self.0.books(), key, &permissions)?)
    }

    /// Refuses more than this many requests in one second of the sandbox's time; `None` lifts the limit.
    pub fn limit_rate(&self, per_second: Option<u32>) {
        self.limit(Limits { per_second, ..Limits::default() });
    }

    /// Refuses what goes beyond these.
    pub fn limit(&self, limits: Limits) {
        self.0.limiter.set(limits);
    }

    /// Chooses what an account's owner chooses, and what is not settled about Stripe.
    ///
    /// # Errors
    /// The books cannot be written.
    pub fn set_account(&self, account: &Account) -> Result<(), SandboxError> {
        self.0.within(|tx, _| account::set(tx, account))
    }

    /// The metered item's totals, newest period first.
    ///
    /// # Errors
    /// There is no such item, or the books cannot be read.
    pub fn totals(&self, item: &str) -> Result<Vec<ItemTotal>, SandboxError> {
        self.0.within(|tx, _| totals(tx, item))
    }

    /// What stands on the metered item in the period that holds this moment; zero where there is none.
    ///
    /// # Errors
    /// There is no such item, or the books cannot be read.
    pub fn total(&self, item: &str, at: Timestamp) -> Result<i64, SandboxError> {
        let totals = self.totals(item)?;
        Ok(totals.into_iter().find(|one| one.from < at && at <= one.to).map_or(0, |one| one.total))
    }

    /// Chooses how it reads what Stripe leaves open, from now on. Remembered over a restart.
    ///
    /// # Errors
    /// A number is out of its range, or the books cannot be written.
    pub fn behave(&self, behaviour: Behaviour) -> Result<(), SandboxError> {
        self.0.within(|tx, _| behaviour::choose(tx, behaviour))
    }

    /// How it reads what Stripe leaves open.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn behaviour(&self) -> Result<Behaviour, SandboxError> {
        self.0.within(|tx, _| behaviour::of(tx))
    }

    /// What a customer's events on a meter come to, from the first moment on and up to the second, without lag; zero
    /// without events, rounded down.
    ///
    /// # Errors
    /// There is no such meter, or the books cannot be read.
    pub fn meter_total(
        &self,
        meter: &str,
        customer: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<i64, SandboxError> {
        self.0.within(|tx, _| {
            let within = lines::Stretch { start: from.secs(), end: to.secs() };
            let total = meter_totals::total(tx, &books::get(tx, meter)?, customer, within)?.unwrap_or_default();
            total.floor().to_i64().ok_or_else(|| ApiError::refused("The usage is too large for an integer."))
        })
    }

    /// The subscription's invoices as the API shows them, oldest first.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn invoices(&self, subscription: &str) -> Result<Vec<Value>, SandboxError> {
        self.0.within(|tx, _| {
            let version = version::Version::parse(PINNED_VERSION)?;
            let found = invoices::of_subscription(tx, subscription)?;
            Ok(found.iter().map(|invoice| invoices::render(invoice, &version)).collect())
        })
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.0.log.all()
    }
}

impl Inner {
    fn books(&self) -> MutexGuard<'_, Connection> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` in a transaction of its own, with the books caught up with the clock.
    fn within<T>(&self, f: impl FnOnce(&Connection, i64) -> Result<T, ApiError>) -> Result<T, SandboxError> {
        let value = self.quietly_within(f)?;
        self.bell.ring();
        Ok(value)
    }

    /// As [`Self::within`], without a word to the courier.
    fn quietly_within<T>(&self, f: impl FnOnce(&Connection, i64) -> Result<T, ApiError>) -> Result<T, SandboxError> {
        let now = self.clock.now().secs();
        let mut connection = self.books();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        billing::catch_up(&tx, now)?;
        let value = f(&tx, now)?;
        events::tell(&tx, Moment { at: now, sandbox_at: now }, &Cause::default())?;
        tx.commit()?;
        Ok(value)
    }

    fn move_clock(&self, to: Timestamp) -> Result<(), SandboxError> {
        let now = self.clock.now();
        if to < now {
            return Err(SandboxError::Backwards { now: now.secs(), asked: to.secs() });
        }
        self.clock.set(to.min(LATEST));
        self.within(|tx, _| books::remember(tx, "clock", &self.clock.setting()))
    }

    /// All totals and invoices, for `GET /_sandbox/books`.
    fn report(&self) -> Result<Value, SandboxError> {
        self.within(|tx, _| {
            let version = version::Version::parse(PINNED_VERSION)?;
            let mut items = serde_json::Map::new();
            for item in books::all::<Item>(tx, None)? {
                items.insert(item.id.clone(), json!(totals(tx, &item.id)?));
            }
            let subscriptions = books::all::<Subscription>(tx, None)?;
            let rendered = subscriptions.iter().map(|one| subscriptions::render(tx, one, &version));
            let invoices = books::all::<invoices::Invoice>(tx, None)?;
            let invoices: Vec<Value> = invoices.iter().map(|one| invoices::render(one, &version)).collect();
            Ok(json!({
                "now": self.clock.now().secs(),
                "subscriptions": rendered.collect::<Result<Vec<_>, _>>()?,
                "totals": items,
                "invoices": invoices,
                "meter_errors": meter_errors::all(tx)?,
            }))
        })
    }
}

/// Opens or creates a file of books in this directory. A following clock takes up where it was moved to before.
fn open_books(dir: &Path, file: &str, clock: &SandboxClock) -> Result<Connection, SandboxError> {
    let unusable = |source| SandboxError::Directory { path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let connection = books::open(&dir.join(file))?;
    if clock.takes_up_memory()
        && let Some(setting) = books::recall(&connection, "clock")?
    {
        clock.restore(setting);
    }
    Ok(connection)
}

fn totals(tx: &Connection, item: &str) -> Result<Vec<ItemTotal>, ApiError> {
    let item: Item = books::get(tx, item)?;
    let summaries = usage_records::summaries(tx, &item)?.into_iter().map(|summary| ItemTotal {
        from: Timestamp::from_secs(summary.period.start),
        to: Timestamp::from_secs(summary.period.end),
        total: summary.total,
        invoice: summary.invoice,
    });
    Ok(summaries.collect())
}

/// Runs a Stripe sandbox alone, on this machine's time: `usaged sandbox --listen`. `announce` is called once with the
/// address it listens on, after which requests are answered.
///
/// # Errors
/// The directory or the address cannot be used.
pub async fn run_alone(
    listen: SocketAddr,
    dir: PathBuf,
    announce: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), SandboxError> {
    let sandbox = Sandbox::open(&dir, SandboxClock::following(Arc::new(SystemClock)))?;
    sandbox.serve(bind(listen, announce).await?, shutdown).await;
    Ok(())
}

async fn bind(listen: SocketAddr, announce: impl FnOnce(SocketAddr)) -> Result<TcpListener, SandboxError> {
    let failed = |source| SandboxError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    announce(listener.local_addr().map_err(failed)?);
    Ok(listener)
}
