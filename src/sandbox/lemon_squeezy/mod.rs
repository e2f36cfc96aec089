//! A strict, stateful Lemon Squeezy on a loopback port: it refuses what Lemon Squeezy refuses, keeps books, and makes
//! invoices.
//!
//! Owns: `lemon_squeezy.db`, which holds nothing real. It shares clock, faults, server and request log with the Stripe
//! sandbox, and none of its words.
//! After a crash: whatever was answered is on disk; so is how far the clock was moved, and what is still on its way.
//! Faults that wait, the request log and the rate limit are forgotten.
//! Does not know: anything of this program but its clock and its words for time.
//!
//! ```text
//!  server ──> exchange: key, limit, media type, route ──> handler ──> books (one transaction)
//!    │            └ faults                                   │   subscriptions, items, prices, usage_records, invoices,
//!  control (/_sandbox)                     billing::catch_up ┘   webhooks, events ──> mail, by the courier
//! ```
//!
//! Invariant: a usage record counts in the period in which it arrives, whenever it was sent.

mod behaviour;
mod billing;
mod call;
mod control;
mod demo;
mod document;
mod errors;
mod events;
mod exchange;
mod invoices;
mod items;
mod limit;
mod mail;
mod prices;
mod store;
mod straggler;
mod subscribe;
mod subscriptions;
mod usage_records;
mod webhooks;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use behaviour::{Behaviour, LastUsage, SetOnSum, Zero};
pub use demo::{LemonSqueezyDemo, seed_lemon_squeezy_demo};
pub use prices::Aggregation;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Value, json};
pub use subscribe::{NewItem, NewSubscription, Subscribed};
pub use subscriptions::Status;
use tokio::net::TcpListener;

use super::courier::{self, Bell};
use super::faults::{Fault, Faults};
use super::log::{LoggedRequest, RequestLog};
use super::tampering::Tampering;
use super::{ItemTotal, LATEST, SandboxClock, SandboxError, bind, books, open_books, server};
use crate::clock::SystemClock;
use crate::model::Timestamp;
use errors::ApiError;
use invoices::Invoice;
use items::Item;
use subscriptions::Subscription;
use webhooks::Webhook;

/// The sandbox. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct LemonSqueezy(Arc<Inner>);

struct Inner {
    books: Mutex<Connection>,
    clock: SandboxClock,
    faults: Faults,
    log: RequestLog,
    limit: limit::Limit,
    bell: Bell,
}

impl LemonSqueezy {
    /// Opens or creates `lemon_squeezy.db` in this directory. A following clock takes up where it was moved to before.
    ///
    /// # Errors
    /// The directory or the file cannot be used, or the file is not the sandbox's.
    pub fn open(dir: &Path, clock: SandboxClock) -> Result<Self, SandboxError> {
        let books = open_books(dir, "lemon_squeezy.db", &clock)?;
        let bell = Bell::default();
        bell.want(books::is_any::<Webhook>(&books)?);
        let (faults, log, limit) = (Faults::default(), RequestLog::default(), limit::Limit::default());
        Ok(Self(Arc::new(Inner { books: Mutex::new(books), clock, faults, log, limit, bell })))
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

    /// Refuses more than this many calls in one minute of the sandbox's time; 300 where nobody says otherwise.
    pub fn limit_rate(&self, per_minute: u32) {
        self.0.limit.set(per_minute);
    }

    /// Chooses how it reads what Lemon Squeezy leaves open, from now on. Remembered over a restart.
    ///
    /// # Errors
    /// A number is out of its range, or the books cannot be written.
    pub fn behave(&self, behaviour: Behaviour) -> Result<(), SandboxError> {
        self.0.within(|tx, _| behaviour::choose(tx, behaviour))
    }

    /// How it reads what Lemon Squeezy leaves open.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn behaviour(&self) -> Result<Behaviour, SandboxError> {
        self.0.within(|tx, _| behaviour::of(tx))
    }

    /// Makes a customer with a subscription.
    ///
    /// # Errors
    /// The books cannot be written.
    pub fn subscribe(&self, order: &NewSubscription) -> Result<Subscribed, SandboxError> {
        self.0.within(|tx, now| subscribe::subscribe(tx, order, now))
    }

    /// Pauses, resumes, cancels or ends a subscription, or has its payment fail.
    ///
    /// # Errors
    /// There is no such subscription, it is over, or it cannot become that.
    pub fn set_status(&self, subscription: &str, status: Status) -> Result<(), SandboxError> {
        self.0.within(|tx, now| subscriptions::set_status(tx, subscription, status, now))
    }

    /// Gives an item another price, and says its id. Usage of the current period is billed at the price of its end.
    ///
    /// # Errors
    /// There is no such item.
    pub fn reprice(&self, item: &str, to: &NewItem) -> Result<String, SandboxError> {
        self.0.within(|tx, now| subscribe::reprice(tx, item, to, now))
    }

    /// The usage-based item's totals, newest period first.
    ///
    /// # Errors
    /// There is no such item, or usage does not decide on it.
    pub fn totals(&self, item: &str) -> Result<Vec<ItemTotal>, SandboxError> {
        self.0.within(|tx, now| billing::totals(tx, item, now))
    }

    /// What stands on the usage-based item in the period that holds this moment; zero where there is none.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub fn total(&self, item: &str, at: Timestamp) -> Result<i64, SandboxError> {
        let totals = self.totals(item)?;
        Ok(totals.into_iter().find(|one| one.from <= at && at < one.to).map_or(0, |one| one.total))
    }

    /// The subscription's invoices as the API shows them, oldest first.
    ///
    /// # Errors
    /// The books cannot be read.
    pub fn invoices(&self, subscription: &str) -> Result<Vec<Value>, SandboxError> {
        self.0.within(|tx, _| {
            let found: Vec<Invoice> = books::all(tx, Some(subscription))?;
            Ok(found.iter().map(invoices::render).collect())
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
        events::tell(&tx, now)?;
        tx.commit()?;
        Ok(value)
    }

    fn move_clock(&self, to: Timestamp) -> Result<(), SandboxError> {
        let now = self.clock.now();
        if to < now {
            return Err(SandboxError::Backwards { now: now.secs(), asked: to.secs() });
        }
        self.clock.set(to.min(LATEST));
        self.within(|tx, _| Ok(books::remember(tx, "clock", &self.clock.setting())?))
    }

    /// All totals and invoices, for `GET /_sandbox/books`.
    fn report(&self) -> Result<Value, SandboxError> {
        self.within(|tx, now| {
            let mut totals = serde_json::Map::new();
            for item in books::all::<Item>(tx, None)? {
                if prices::get(tx, &item.price)?.aggregation.is_some() && item.created <= now {
                    totals.insert(item.id.clone(), json!(billing::totals(tx, &item.id, now)?));
                }
            }
            let subscriptions = books::all::<Subscription>(tx, None)?;
            let rendered = subscriptions.iter().map(|one| subscriptions::render(tx, one, now));
            let invoices: Vec<Value> = books::all::<Invoice>(tx, None)?.iter().map(invoices::render).collect();
            Ok(json!({
                "now": now,
                "subscriptions": rendered.collect::<Result<Vec<_>, _>>()?,
                "totals": totals,
                "invoices": invoices,
            }))
        })
    }
}

/// A new id. They are numbers, and no two objects of any kind have the same, so that one taken for another is not found.
fn new_id(books: &Connection) -> Result<String, ApiError> {
    let next: i64 = books::recall(books, "next_id")?.unwrap_or(1_001);
    books::remember(books, "next_id", &next.saturating_add(1))?;
    Ok(next.to_string())
}

/// Runs a Lemon Squeezy sandbox alone, on this machine's time: `usaged sandbox --provider lemon-squeezy`. `announce` is
/// called once with the address it listens on and the demo, after which requests are answered.
///
/// # Errors
/// The directory or the address cannot be used.
pub async fn run_alone(
    listen: SocketAddr,
    dir: PathBuf,
    announce: impl FnOnce(SocketAddr, &LemonSqueezyDemo),
    shutdown: impl Future<Output = ()>,
) -> Result<(), SandboxError> {
    let sandbox = LemonSqueezy::open(&dir, SandboxClock::following(Arc::new(SystemClock)))?;
    let demo = seed_lemon_squeezy_demo(&sandbox)?;
    sandbox.serve(bind(listen, |address| announce(address, &demo)).await?, shutdown).await;
    Ok(())
}
