//! Tells systemd that this process works, as long as it does: rounds of samples begin when they are due, and the
//! writer of usage.db answers. Both are looked at from the one thread that everything runs on, so a loop that stands
//! still tells nothing. A database that refuses, as on a full disk, answers: starting again would not make room.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::notify;
use crate::jobs::Context;
use crate::store::{Store, StoreError};

/// Looked this many times within systemd's patience, so that one slow moment is forgiven.
const LOOKS: u32 = 3;

/// Runs until told to stop. `due` is when the next round of samples has to begin, as its task says.
pub(super) async fn run(
    context: Arc<Context>,
    patience: Duration,
    due: watch::Receiver<Instant>,
    mut stop: watch::Receiver<bool>,
) {
    let every = patience.checked_div(LOOKS).unwrap_or(patience);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep(every) => {}
        }
        let due = *due.borrow();
        let overdue = Instant::now().saturating_duration_since(due);
        match look(&context.store, overdue, every).await {
            Ok(()) => notify::alive(),
            Err(trouble) => tracing::error!("{trouble}; if this lasts, systemd starts usaged again"),
        }
    }
}

/// Why systemd is told nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    /// The sampler hangs, or has ended.
    #[error("no round of samples has begun for {} s after it was due", .0.as_secs())]
    Overdue(Duration),
    /// The writer's thread hangs, or has ended.
    #[error("usage.db does not answer")]
    Silent,
}

async fn look(store: &Store, overdue: Duration, patience: Duration) -> Result<(), Trouble> {
    if overdue > patience {
        return Err(Trouble::Overdue(overdue));
    }
    // A transaction that changes nothing waits its turn behind all others, and writes nothing to the disk.
    match timeout(patience, store.write(|_| Ok::<_, StoreError>(()))).await {
        // A full queue is refused before the writer hears of it, so it is no sign of life.
        Err(_) | Ok(Err(StoreError::Busy | StoreError::Gone)) => Err(Trouble::Silent),
        Ok(Ok(()) | Err(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::JoinSet;

    use super::*;
    use crate::store::Tx;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_mins(10);

    fn with_store<T>(f: impl AsyncFnOnce(Store) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("usage.db")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(f(store))
    }

    #[test]
    fn a_daemon_that_samples_and_stores_is_alive() {
        assert_eq!(with_store(async |store| look(&store, Duration::ZERO, LATE).await), Ok(()));
    }

    #[test]
    fn a_round_of_samples_that_does_not_begin_is_no_life() {
        let said = with_store(async |store| look(&store, LATE, SOON).await);
        assert_eq!(said, Err(Trouble::Overdue(LATE)));
    }

    #[test]
    fn a_writer_that_hangs_is_no_life() {
        let said = with_store(async |store| {
            let (let_go, held) = mpsc::channel::<()>();
            let mut writes = JoinSet::new();
            let first = store.clone();
            writes.spawn(async move {
                let stay = move |_: &Tx<'_>| {
                    assert!(held.recv().is_err(), "let go by hanging up");
                    Ok::<_, StoreError>(())
                };
                first.write(stay).await
            });
            tokio::task::yield_now().await;
            let said = look(&store, Duration::ZERO, SOON).await;
            drop(let_go);
            writes.join_next().await.unwrap().unwrap().unwrap();
            said
        });
        assert_eq!(said, Err(Trouble::Silent));
    }

    #[test]
    fn a_database_that_refuses_is_still_an_answer() {
        let said = with_store(async |store| {
            let refuse = |tx: &Tx<'_>| Ok::<_, StoreError>(tx.execute_batch("PRAGMA query_only = 1")?);
            store.write(refuse).await.unwrap();
            assert!(store.write(|tx| Ok::<_, StoreError>(tx.execute_batch("CREATE TABLE t (x)")?)).await.is_err());
            look(&store, Duration::ZERO, LATE).await
        });
        assert_eq!(said, Ok(()));
    }
}
