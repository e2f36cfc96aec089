//! Look at the customer, the subscription and its invoices: on schedule, and for each event that was taken. Both ways are this
//! one job, so that a VM that no webhook can reach knows the same, only later.

mod first_link;
mod invoices;
mod problems;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

pub(super) use problems::{paused, problems};

use super::{Context, JobError, refresh, run};
use crate::account::{self, Link, PendingEvent};
use crate::model::{Customer, Subject, Timestamp};
use crate::provider::{Provider, ReadError, RefusalKind};
use crate::store::{Tx, audit};

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// The subscription was read again: what should stand may have changed.
    pub push: bool,
    /// Events were not counted: what stands is to be compared.
    pub reconcile: bool,
}

/// Why it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// It is time: everything is read.
    Schedule,
    /// Events were taken: what they are about is read.
    Events,
}

impl Because {
    const fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Events => "event",
        }
    }
}

/// Reads what is to be read. An event is done once what it is about was read after it was taken; so one that came while
/// this ran stays for the next run, and one whose reading failed as well.
pub async fn look(context: &Arc<Context>, because: Because) -> Result<Looked, JobError> {
    let events = context.store.read(account::pending_events).await?;
    let is_billing = !matches!(context.settings().provider, Provider::None);
    // What stands stays as it was when the ledger was left (rule S11).
    let may_look = is_billing && !context.identity_changed() && !context.intake.is_set_aside();
    if !may_look || (because == Because::Events && events.is_empty()) {
        return Ok(Looked::default());
    }
    let started = context.now();
    context.store.write(move |tx| run::begin(tx, "look", because.word(), started)).await?;
    let looked = Round { context, because, events }.look().await;
    let result = match &looked {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    let finished = context.now();
    context.store.write(move |tx| run::finish(tx, "look", &result, finished)).await?;
    looked
}

struct Round<'a> {
    context: &'a Arc<Context>,
    because: Because,
    events: Vec<PendingEvent>,
}

impl Round<'_> {
    async fn look(&self) -> Result<Looked, JobError> {
        first_link::make(self.context, &self.events).await?;
        let now = self.context.now();
        let links = self.context.store.read(move |c| account::in_force_since(c, now)).await?;
        let mut failed = None;
        for (subject, read) in [
            (Subject::Subscription, self.subscription().await),
            (Subject::Invoices, self.invoices(&links).await),
            (Subject::Customer, self.customers(&links).await),
        ] {
            match read {
                // What follows from the others is the caller's to do, who hears of it only where nothing failed.
                Ok(()) if subject == Subject::Subscription => {}
                Ok(()) => self.done(subject).await?,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.done(Subject::Subscription).await?;
        self.done(Subject::Meter).await?;
        Ok(Looked { push: self.is_told_of(Subject::Subscription), reconcile: self.is_told_of(Subject::Meter) })
    }

    fn told_of(&self, subject: Subject) -> impl Iterator<Item = &PendingEvent> {
        self.events.iter().filter(move |event| event.subject == subject.word())
    }

    fn is_told_of(&self, subject: Subject) -> bool {
        self.told_of(subject).next().is_some()
    }

    fn is_due(&self, subject: Subject) -> bool {
        self.because == Because::Schedule || self.is_told_of(subject)
    }

    async fn done(&self, subject: Subject) -> Result<(), JobError> {
        let ids: Vec<String> = self.told_of(subject).map(|event| event.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let now = self.context.now();
        let mark = move |tx: &Tx<'_>| ids.iter().try_for_each(|id| account::event_done(tx, id, now));
        Ok(self.context.store.write(mark).await?)
    }

    /// A push reads it often enough by itself.
    async fn subscription(&self) -> Result<(), JobError> {
        if !self.is_told_of(Subject::Subscription) {
            return Ok(());
        }
        let _one_at_a_time = self.context.pushing.lock().await;
        match refresh::refresh(self.context).await {
            // It is named where it was read, and reading it again would change nothing.
            Err(JobError::Provider(error)) if is_for_good(&error) => Ok(()),
            read => read,
        }
    }

    async fn invoices(&self, links: &[Link]) -> Result<(), JobError> {
        if !self.is_due(Subject::Invoices) {
            return Ok(());
        }
        let subscriptions: BTreeSet<_> = links.iter().map(|link| &link.subscription).collect();
        for subscription in subscriptions {
            let answer = self.context.settings().provider.read_invoices(subscription).await;
            self.context.note_date(&answer);
            if let Some(read) = readable(answer.value, "invoices")? {
                invoices::note(self.context, read).await?;
            }
        }
        Ok(())
    }

    async fn customers(&self, links: &[Link]) -> Result<(), JobError> {
        if !self.is_due(Subject::Customer) {
            return Ok(());
        }
        let customers: BTreeSet<_> = links.iter().map(|link| &link.customer).collect();
        for customer in customers {
            let answer = self.context.settings().provider.read_customer(customer).await;
            self.context.note_date(&answer);
            if let Some(read) = readable(answer.value, "customer")?.flatten() {
                let now = self.context.now();
                self.context.store.write(move |tx| note_customer(tx, &read, now)).await?;
            }
        }
        Ok(())
    }
}

/// What was read; nothing where this key will never be shown it.
fn readable<T>(read: Result<T, ReadError>, what: &str) -> Result<Option<T>, JobError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_for_good(&error) => {
            tracing::debug!("the {what} cannot be read, and nothing depends on it: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the same read brings the same, however often. A key that is refused will be replaced.
fn is_for_good(error: &ReadError) -> bool {
    !error.passing && error.refusal.kind != RefusalKind::KeyRefused
}

/// Says which of the customer's details changed, and not to what: the audit is kept for ever.
fn note_customer(tx: &Tx<'_>, read: &Customer, now: Timestamp) -> Result<(), JobError> {
    let Some(before) = account::customer(tx, &read.id)? else { return Ok(account::note_customer(tx, read, now)?) };
    let changed = read.changed_since(&before);
    if !changed.is_empty() {
        account::note_customer(tx, read, now)?;
        audit::append(tx, now, "usaged", "customer.updated", read.id.as_str(), &json!({ "changed": changed }))?;
    }
    Ok(())
}
