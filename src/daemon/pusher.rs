//! Activates the push job, and with it what else runs now and then: on schedule with this VM's own offset, for retries, and when nudged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::jobs::{self, Because, Context, Looked, Which};
use crate::model::{Timestamp, micros_of};
use crate::wire::ReconcileRequest;

/// Why somebody should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nudge {
    /// The push schedule fired: run after this VM's own offset.
    Scheduled,
    /// Something changed: run now.
    Push(&'static str),
    /// The schedule of the comparison with the provider fired: run after this VM's own offset.
    Reconcile,
    /// The compaction schedule fired.
    Compact,
    /// The schedule of the look at customer and invoices fired: run after this VM's own offset. Or events were taken: run now.
    Look(Because),
}

/// Where nudges go.
#[derive(Clone)]
pub(super) struct Nudges(mpsc::Sender<Nudge>);

/// Makes a channel for nudges.
pub(super) fn nudges() -> (Nudges, mpsc::Receiver<Nudge>) {
    let (send, receive) = mpsc::channel(16);
    (Nudges(send), receive)
}

impl Nudges {
    /// Nudges. Where many wait already, one of them does as well; at the end nobody has to be nudged.
    pub(super) fn send(&self, nudge: Nudge) {
        if let Err(error) = self.0.try_send(nudge) {
            tracing::debug!("not nudged: {error}");
        }
    }
}

/// Time since boot stands still while this process sleeps through a suspension, so a far wake-up is looked at again.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// Nothing is so urgent that it may spin.
const SOONEST: Duration = Duration::from_secs(1);

/// Runs until told to stop. `done` tells others of each push.
pub(super) async fn run(
    context: Arc<Context>,
    done: watch::Sender<()>,
    mut nudges: mpsc::Receiver<Nudge>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pusher = Pusher {
        due: Some((Instant::now(), "start", Which::Scheduled)),
        compare: None,
        look: None,
        // What was taken before a restart is read after it.
        events: Some(Instant::now()),
        wake: None,
        failures: 0,
        look_failures: 0,
        done,
        context,
    };
    loop {
        let sleep = pusher.sleep_until();
        tokio::select! {
            _ = stop.changed() => return,
            nudge = nudges.recv() => match nudge {
                Some(nudge) => pusher.nudged(nudge).await,
                None => return,
            },
            () = sleep_until(sleep) => pusher.woken().await,
        }
    }
}

struct Pusher {
    context: Arc<Context>,
    /// A push that was asked for, when, why and of what.
    due: Option<(Instant, &'static str, Which)>,
    /// When what stands is to be compared.
    compare: Option<Instant>,
    /// When customer and invoices are to be looked at.
    look: Option<Instant>,
    /// When what events are about is to be read.
    events: Option<Instant>,
    /// When the job wants to run again by itself.
    wake: Option<Timestamp>,
    failures: u32,
    look_failures: u32,
    done: watch::Sender<()>,
}

impl Pusher {
    fn sleep_until(&self) -> Instant {
        let now = Instant::now();
        let wake = self.wake.map(|at| {
            let micros = u64::try_from(at.since(self.context.now())).unwrap_or(0);
            now + Duration::from_micros(micros).clamp(SOONEST, LOOK_AGAIN)
        });
        let due = self.due.as_ref().map(|(at, ..)| *at);
        [wake, due, self.compare, self.look, self.events].into_iter().flatten().min().unwrap_or(now + LOOK_AGAIN)
    }

    async fn nudged(&mut self, nudge: Nudge) {
        match nudge {
            Nudge::Scheduled => {
                let at = self.after_offset();
                self.due.get_or_insert((at, "schedule", Which::Scheduled));
            }
            Nudge::Reconcile => {
                let at = self.after_offset();
                self.compare.get_or_insert(at);
            }
            Nudge::Look(Because::Schedule) => {
                let at = self.after_offset();
                self.look.get_or_insert(at);
            }
            Nudge::Look(Because::Events) => self.events = Some(Instant::now()),
            // Somebody changed something, so what waits out a failure need not wait longer.
            Nudge::Push(because) => self.due = Some((Instant::now(), because, Which::Now)),
            Nudge::Compact => {
                if let Err(error) = jobs::compact(&self.context, "schedule").await {
                    tracing::warn!("compaction stopped early, it goes on with its next run: {error}");
                }
            }
        }
    }

    /// This VM's own turn after a schedule fired.
    fn after_offset(&self) -> Instant {
        Instant::now() + self.context.steady_offset(self.context.settings().config.schedule.spread)
    }

    async fn woken(&mut self) {
        if let Some((_, because, which)) = self.due.take_if(|(at, ..)| *at <= Instant::now()) {
            self.push(because, which).await;
        } else if self.wake.take_if(|at| *at <= self.context.now()).is_some() {
            self.push("retry", Which::Due).await;
        } else if self.compare.take_if(|at| *at <= Instant::now()).is_some() {
            self.reconcile().await;
        } else if self.look.take_if(|at| *at <= Instant::now()).is_some() {
            self.look(Because::Schedule).await;
        } else if self.events.take_if(|at| *at <= Instant::now()).is_some() {
            self.look(Because::Events).await;
        }
    }

    async fn look(&mut self, because: Because) {
        match jobs::look(&self.context, because).await {
            Ok(Looked { push, reconcile }) => {
                self.look_failures = 0;
                if push {
                    self.due = Some((Instant::now(), "event", Which::Now));
                }
                if reconcile {
                    self.compare = Some(Instant::now());
                }
            }
            Err(error) => {
                let wait = self.context.retry_delay(self.look_failures);
                self.look_failures = self.look_failures.saturating_add(1);
                let again = Some(Instant::now() + wait);
                match because {
                    Because::Schedule => self.look = again,
                    Because::Events => self.events = again,
                }
                tracing::warn!("customer and invoices could not be read, again in {} s: {error}", wait.as_secs());
            }
        }
    }

    async fn reconcile(&self) {
        if let Err(error) = jobs::reconcile(&self.context, "schedule", &ReconcileRequest::default()).await {
            tracing::warn!("what stands could not be compared, the next time is on schedule: {error}");
        }
    }

    async fn push(&mut self, because: &'static str, which: Which) {
        let seeded = jobs::seed(&self.context).await;
        let pushed = match seeded {
            Ok(()) => jobs::push(&self.context, because, which).await,
            Err(error) => Err(error),
        };
        match pushed {
            Ok(pushed) => {
                self.failures = 0;
                self.wake = pushed.next;
            }
            Err(error) => {
                let wait = self.context.retry_delay(self.failures);
                self.failures = self.failures.saturating_add(1);
                self.wake = Some(self.context.now().plus(micros_of(wait)));
                tracing::warn!("the push stopped early and is tried again in {} s: {error}", wait.as_secs());
            }
        }
        self.done.send_replace(());
    }
}
