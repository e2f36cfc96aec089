//! A process that tests stop between any two of its operations.
//!
//! Every read and write of the store, and every request to the provider, takes its turn here first. Where a test has lit a
//! fuse on its thread, turns are given one at a time and in the order in which they were asked for, so that the same
//! script always does the same; and once the fuse has burned down, nothing that was to be done next is done any more, as
//! when the process is killed there. Without a fuse a turn costs a look at a thread's own variable. A part of the
//! sandbox's feature, so packages do not have it.

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

thread_local! {
    static LIT: RefCell<Option<Arc<Fuse>>> = const { RefCell::new(None) };
}

/// Counts the operations that are left to a process.
#[derive(Debug)]
pub struct Fuse {
    left: AtomicU64,
    burned: Notify,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Fuse {
    /// Counts the operations of everything that is started on this thread from now on; in place of the fuse before.
    #[must_use]
    pub fn light() -> Arc<Self> {
        let fuse =
            Arc::new(Self { left: AtomicU64::new(u64::MAX), burned: Notify::new(), one_at_a_time: Arc::default() });
        LIT.with_borrow_mut(|lit| *lit = Some(Arc::clone(&fuse)));
        fuse
    }

    /// So many more operations are done.
    pub fn shorten(&self, operations: u64) {
        self.left.store(operations, Ordering::Relaxed);
    }

    /// Operations that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Completes once it has burned down.
    pub async fn burned(&self) {
        self.burned.notified().await;
    }
}

/// An operation's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _holds: Option<OwnedMutexGuard<()>>,
}

/// Waits for the turn of the next operation; for ever, where none is left.
pub(crate) async fn turn() -> Turn {
    let Some(fuse) = LIT.with_borrow(Clone::clone) else { return Turn { _holds: None } };
    let holds = Arc::clone(&fuse.one_at_a_time).lock_owned().await;
    let Some(left) = fuse.left().checked_sub(1) else {
        fuse.burned.notify_one();
        pending::<()>().await;
        return Turn { _holds: None };
    };
    fuse.shorten(left);
    Turn { _holds: Some(holds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_done_once_it_has_burned_down() {
        let fuse = Fuse::light();
        fuse.shorten(2);
        let mut done = 0;
        let work = async {
            loop {
                let _turn = turn().await;
                done += 1;
            }
        };
        tokio::select! {
            () = work => {}
            () = fuse.burned() => {}
        }
        assert_eq!((done, fuse.left()), (2, 0));
    }

    #[tokio::test]
    async fn turns_are_given_one_at_a_time() {
        let _fuse = Fuse::light();
        let first = turn().await;
        let mut second = std::pin::pin!(turn());
        assert!(waits_after_one_look(second.as_mut()).await, "the second waits for the first");
        drop(first);
        second.await;
    }

    /// Whether it is still waiting after one look.
    async fn waits_after_one_look(mut future: std::pin::Pin<&mut impl Future>) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }
}
