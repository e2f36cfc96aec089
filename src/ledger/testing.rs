//! What the room's tests share.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{LedgerError, MeterId, buckets};
use crate::clock::Reading;
use crate::clock::trust::{Placement, TrustedBy};
use crate::model::{Incarnation, Meter, MeterName, Micros, Report, Rounding, Source, Span, Timestamp, Unit};
use crate::store::{Store, StoreError, Tx};

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// A real `usage.db` whose writes are undone after each use.
pub(super) struct Ledger {
    _dir: TempDir,
    store: Store,
    runtime: Runtime,
}

enum Undone<T> {
    Returned(T),
    Panicked(Box<dyn std::any::Any + Send>),
    Failed(StoreError),
}

impl<T> From<StoreError> for Undone<T> {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("usage.db")).unwrap();
        Self { _dir: dir, store, runtime: tokio::runtime::Builder::new_current_thread().build().unwrap() }
    }

    /// Runs `f` in a transaction that is rolled back; a failed assertion inside fails the test.
    pub(super) fn undone<T: Send + 'static>(&self, f: impl FnOnce(&Tx<'_>) -> T + Send + 'static) -> T {
        let wrapped = move |tx: &Tx<'_>| match catch_unwind(AssertUnwindSafe(|| f(tx))) {
            Ok(value) => Err::<(), _>(Undone::Returned(value)),
            Err(panic) => Err(Undone::Panicked(panic)),
        };
        match self.runtime.block_on(self.store.write(wrapped)) {
            Err(Undone::Returned(value)) => value,
            Err(Undone::Panicked(panic)) => resume_unwind(panic),
            Err(Undone::Failed(error)) => panic!("{error}"),
            Ok(()) => unreachable!("it always asks to be rolled back"),
        }
    }
}

/// Runs a test's body inside a transaction on a fresh database.
pub(super) fn in_ledger(f: impl FnOnce(&Tx<'_>) + Send + 'static) {
    Ledger::new().undone(f);
}

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

pub(super) fn meter(name: &str, source: Source) -> Meter {
    let unit = Unit::of(if source.is_time() { "hours" } else { "credits" });
    Meter {
        name: MeterName::new(name).unwrap(),
        source,
        unit,
        rounding: Rounding::Down,
        report: Report::Overage,
        max_per_record: None,
        max_per_hour: None,
    }
}

pub(super) fn vm(boot_id: &str) -> Incarnation {
    Incarnation {
        boot_id: boot_id.to_owned(),
        container_mark: String::new(),
        counter: String::new(),
        is_container: false,
    }
}

/// The operator's word for the wall clock.
pub(super) fn trusted(now: Reading) -> Placement {
    Placement::Known { boot_zero: now.wall.minus(now.boottime_us), by: TrustedBy::Operator, wall_ahead_us: None }
}

/// All that a meter ever used.
pub(super) fn total(tx: &Tx<'_>, meter: MeterId) -> Micros {
    buckets::used(tx, meter, Span::new(at(-1_000_000_000), at(100_000_000_000))).unwrap()
}

/// Start in seconds, width in seconds and quantity of a meter's buckets.
pub(super) fn rows(tx: &Tx<'_>, meter: MeterId) -> Vec<(i64, i64, i64)> {
    let read = || -> Result<Vec<(i64, i64, i64)>, LedgerError> {
        let mut rows =
            tx.prepare("SELECT from_us, width_us, quantity FROM bucket WHERE meter_id = ?1 ORDER BY from_us")?;
        let seconds = |micros: i64| micros.div_euclid(SECOND);
        let rows = rows.query_map([meter], |row| Ok((seconds(row.get(0)?), seconds(row.get(1)?), row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    read().unwrap()
}
