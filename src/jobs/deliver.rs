//! Deliver: bring what stands at the provider to what should stand. Claim and commit, then HTTP with no transaction open,
//! then settle and commit.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Context, JobError, stands};
use crate::model::{Formula, ItemId, Problem, Timestamp, micros_of};
use crate::outbox::{self, After, At, Claim, Delivery, Fate, Held, Limits, ReadVerdict, Told, UsageRecord};
use crate::provider::{Answer, Outcome, ReadError, Refusal, RefusalKind, SetUsage};

/// How long something that needs a person waits before it is looked at again by itself.
const PERMANENT_AGAIN: Duration = Duration::from_hours(1);

/// Read, push, read back, push; with day windows a push for each day of a long absence.
const TURNS_MAX: u32 = 50;

pub(super) const REFUSED: &str = "push_refused";
const UNREADABLE: &str = "standing_unreadable";

/// Which rows to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All, but for those that wait out a failure.
    Scheduled,
    /// Those whose retry is due; all in the last minutes of a period.
    Due,
    /// All, at once: somebody asked.
    Now,
    /// One item's, at once.
    Item(ItemId),
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivered {
    /// What should stand, stands; nothing was sent.
    Stood,
    /// It was set.
    Set(i64),
    /// It waits for a human.
    Held,
    /// It is tried again later.
    Later,
    /// The period has rolled, or the item is not known: the subscription has to be read again.
    NeedsRefresh(Option<String>),
    /// Too close to the end of the period, or after it (rule S6).
    TooLate,
}

/// Delivers rows; falls before rises (rule S1), rises side by side, so that a stuck item never blocks another, but one at a
/// time for a customer's meter.
pub(super) async fn deliver(context: &Arc<Context>, which: &Which) -> Result<Vec<(i64, Delivered)>, JobError> {
    if context.identity_changed() {
        return Ok(Vec::new());
    }
    let now = context.now();
    let records = context.store.read(outbox::unfinished).await?;
    let (falls, rises): (Vec<_>, Vec<_>) =
        records.into_iter().filter(|record| record.takes_totals() && is_wanted(record, which, now)).partition(falls);
    let mut delivered = Vec::new();
    let mut failed = None;
    for record in falls {
        match deliver_one(context, record.id).await {
            Ok(done) => delivered.push((record.id, done)),
            Err(error) => failed = Some(error),
        }
    }
    let mut rising = JoinSet::new();
    for lane in lanes(rises) {
        let context = Arc::clone(context);
        rising.spawn(async move {
            let mut done = Vec::new();
            for id in lane {
                done.push((id, deliver_one(&context, id).await));
            }
            done
        });
    }
    while let Some(joined) = rising.join_next().await {
        let done = joined.unwrap_or_else(|error| {
            tracing::error!("a delivery ended early: {error}");
            Vec::new()
        });
        for (id, done) in done {
            match done {
                Ok(done) => delivered.push((id, done)),
                Err(error) => failed = Some(error),
            }
        }
    }
    forget_what_is_over(context).await?;
    // Every row had its turn; what could not even be noted is the caller's to hear.
    match failed {
        Some(error) => Err(error),
        None => Ok(delivered),
    }
}

fn falls(record: &UsageRecord) -> bool {
    record.standing.is_some_and(|standing| record.target < standing)
}

/// Rows that may be delivered side by side, and within a lane one after the other: a provider takes one call at a time for
/// a customer's meter, on which the ended period and the current one both are.
/// <https://docs.stripe.com/api/billing/meter-event/create>
fn lanes(records: Vec<UsageRecord>) -> Vec<Vec<i64>> {
    let mut lanes: Vec<(UsageRecord, Vec<i64>)> = Vec::new();
    for record in records {
        let is_on_the_meter = |other: &UsageRecord| {
            record.channel.meter().is_some() && other.channel == record.channel && other.customer == record.customer
        };
        match lanes.iter_mut().find(|(first, _)| is_on_the_meter(first)) {
            Some((_, lane)) => lane.push(record.id),
            None => lanes.push((record.clone(), vec![record.id])),
        }
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

/// A refusal is over when nothing is left to be set, or to be set any more.
pub(super) async fn forget_what_is_over(context: &Context) -> Result<(), JobError> {
    let records = context.store.read(outbox::unfinished).await?;
    let open = |about: &str| records.iter().find(|r| r.takes_totals() && r.item.as_str() == about);
    context.clear_unless(REFUSED, |about| open(about).is_some_and(UsageRecord::differs));
    context.clear_unless(UNREADABLE, |about| open(about).is_some());
    Ok(())
}

fn is_wanted(record: &UsageRecord, which: &Which, now: Timestamp) -> bool {
    match which {
        Which::Scheduled => record.next_attempt.is_none_or(|at| at <= now),
        Which::Now => true,
        Which::Due => record.next_attempt.is_some_and(|at| at <= now),
        Which::Item(item) => record.item == *item,
    }
}

/// Brings one row to rest. Each turn of the loop is one request.
pub(super) async fn deliver_one(context: &Arc<Context>, id: i64) -> Result<Delivered, JobError> {
    let mut read_just_now = false;
    let mut set = None;
    for _ in 0..TURNS_MAX {
        let record = context.store.read(move |c| outbox::by_id(c, id)).await?;
        let provider_now = match moment(context, &record) {
            Moment::Early => return Ok(Delivered::Later),
            Moment::Late => return Ok(Delivered::TooLate),
            Moment::Right(provider_now) => provider_now,
        };
        let generation = context.generation();
        let at = At { now: context.now(), provider_now };
        let claim = context.store.write(move |tx| outbox::claim(tx, id, &generation, read_just_now, at)).await?;
        if matches!(claim, Claim::Nothing | Claim::Wait | Claim::Send(_)) {
            // What stands is known, also where another job has read it.
            context.clear_about(UNREADABLE, record.item.as_str());
        }
        match claim {
            Claim::Nothing => return Ok(set.map_or(Delivered::Stood, Delivered::Set)),
            Claim::Held => return Ok(Delivered::Held),
            Claim::Wait => return Ok(set.map_or(Delivered::Later, Delivered::Set)),
            Claim::Over => return Ok(Delivered::TooLate),
            Claim::ReadFirst => {
                if let Some(end) = read(context, id).await? {
                    return Ok(end);
                }
                read_just_now = true;
            }
            Claim::Send(delivery) => {
                read_just_now = false;
                match send(context, id, &delivery).await? {
                    // What was asked about again under its old key may be less than what should stand by now.
                    Sent::Set => set = Some(delivery.quantity),
                    Sent::GoOn => {}
                    Sent::Ended(end) => return Ok(end),
                }
            }
        }
    }
    Ok(Delivered::Later)
}

#[derive(Debug, PartialEq, Eq)]
enum Moment {
    /// There is no timestamp for it yet (rules S3, S7).
    Early,
    /// At this time of the provider's.
    Right(Timestamp),
    /// The end of the period is too near, or nothing is known of the provider's clock (rules S6, S7, S9).
    Late,
}

fn moment(context: &Context, record: &UsageRecord) -> Moment {
    moment_at(context.provider_now(context.clock.read()), record, context.limits())
}

fn moment_at(provider_now: Option<Timestamp>, record: &UsageRecord, limits: Limits) -> Moment {
    match provider_now {
        Some(now) if now < record.first_send() => Moment::Early,
        Some(now) if now < record.last_send(limits) => Moment::Right(now),
        _ => Moment::Late,
    }
}

/// Whether a push of this row could start now, and with it the read before it.
pub(super) fn may_start(context: &Context, record: &UsageRecord) -> bool {
    let waits = !is_wanted(record, &Which::Scheduled, context.now());
    let is_right = matches!(moment(context, record), Moment::Right(_));
    record.takes_totals() && record.held.is_none() && !record.shared && !waits && is_right
}

enum Sent {
    Set,
    GoOn,
    Ended(Delivered),
}

async fn send(context: &Arc<Context>, id: i64, delivery: &Delivery) -> Result<Sent, JobError> {
    let record = context.store.read(move |c| outbox::by_id(c, id)).await?;
    let quantity = delivery.quantity;
    tracing::info!(target: "usaged::flow", item = %record.item, quantity, key = %delivery.key(), "pushed");
    let set = SetUsage {
        to: stands::destination(&record),
        quantity,
        timestamp_s: delivery.timestamp_s,
        idempotency_key: delivery.key(),
        identifier: delivery.idempotency_key.clone(),
    };
    let answer = context.settings().provider.set_usage(&set).await;
    context.note_date(&answer);
    let now = context.now();
    let (fate, why, asked) = judge(&answer, quantity);
    let wait = wait_for(context, &record, why.as_ref(), asked);
    let again_at = now.plus(micros_of(wait));
    let told = Told {
        status: answer.status,
        request_id: answer.request_id.clone(),
        error: why.as_ref().map(|why| why.message.clone()),
    };
    let claimed = delivery.clone();
    let after = context.store.write(move |tx| outbox::settle(tx, &claimed, fate, &told, again_at, now)).await?;
    report(context, &record, &answer, quantity, why.as_ref());
    Ok(match (after, why) {
        (After::Done, _) => Sent::Set,
        (After::ReadBack | After::LookAgain, _) => Sent::GoOn,
        (After::TryAgain, Some(why)) if asks_for_refresh(why.kind) => {
            Sent::Ended(Delivered::NeedsRefresh((why.kind == RefusalKind::Missing).then_some(why.message)))
        }
        (After::TryAgain, _) => Sent::Ended(Delivered::Later),
    })
}

const fn asks_for_refresh(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::TimestampRefused | RefusalKind::Missing)
}

/// The provider's answer in the outbox's words.
fn judge(answer: &Answer<Outcome>, quantity: i64) -> (Fate, Option<Refusal>, Option<Duration>) {
    match &answer.value {
        Outcome::Accepted => (Fate::Accepted, None, None),
        Outcome::Unavailable { retry_after, why } => {
            // The same key in flight means that our own earlier send is still being worked on.
            let fate = if why.kind == RefusalKind::InFlight { Fate::Unknown } else { Fate::NotDone };
            (fate, Some(why.clone()), *retry_after)
        }
        Outcome::Unknown { needs_new_key, retry_after, why } => {
            let fate = if *needs_new_key { Fate::KeySpent } else { Fate::Unknown };
            (fate, Some(why.clone()), *retry_after)
        }
        Outcome::Refused(why) => {
            let fate = match why.kind {
                RefusalKind::IdempotencyMismatch => Fate::KeySpent,
                RefusalKind::Duplicate => Fate::Known,
                RefusalKind::KeyRefused | RefusalKind::NotPermitted | RefusalKind::NoMeter => Fate::NotDone,
                RefusalKind::Other if quantity < 0 => Fate::FallRefused,
                _ => Fate::NeverDone,
            };
            (fate, Some(why.clone()), None)
        }
    }
}

fn wait_for(context: &Context, record: &UsageRecord, why: Option<&Refusal>, asked: Option<Duration>) -> Duration {
    let permanent = why.is_some_and(|why| {
        use RefusalKind::{KeyRefused, NoMeter, NotPermitted, Other, WrongKind};
        matches!(why.kind, KeyRefused | NoMeter | NotPermitted | WrongKind | Other)
    });
    if permanent { PERMANENT_AGAIN } else { outbox::retry_delay(record.attempts, asked, &mut context.live().dice) }
}

/// An event that is there already is what was wanted.
fn is_a_problem(refused: RefusalKind) -> bool {
    refused != RefusalKind::Duplicate
}

fn report(context: &Context, record: &UsageRecord, answer: &Answer<Outcome>, quantity: i64, why: Option<&Refusal>) {
    let request_id = answer.request_id.as_deref().unwrap_or("-");
    let item = &record.item;
    match (&answer.value, why) {
        (Outcome::Refused(_), Some(why)) if is_a_problem(why.kind) => {
            tracing::error!(target: "usaged::flow", %item, quantity, request_id, "refused: {}", why.message);
            let what = format!("the provider refused to {}: {}", wish(record, quantity), why.message);
            context.raise_about(item.as_str(), Problem::needs_someone(REFUSED, what, why.hint()));
        }
        (_, Some(why)) => {
            tracing::warn!(target: "usaged::flow", %item, quantity, request_id, "not known to stand yet: {}", why.message);
        }
        (_, None) => {
            tracing::info!(target: "usaged::flow", %item, quantity, request_id, "accepted");
            context.clear_about(REFUSED, item.as_str());
        }
    }
}

/// What is asked of the provider, as the rest of a sentence.
fn wish(record: &UsageRecord, quantity: i64) -> String {
    match record.channel.formula() {
        Some(Formula::Sum) => format!("add {quantity} to {}", record.item),
        Some(Formula::SumOfDays) => format!("set a day of {} to {quantity}", record.item),
        Some(Formula::Last) | None => format!("set {} to {quantity}", record.item),
    }
}

/// Reads what stands now and notes it; `Some` ends the delivery of this row.
async fn read(context: &Arc<Context>, id: i64) -> Result<Option<Delivered>, JobError> {
    let record = context.store.read(move |c| outbox::by_id(c, id)).await?;
    let standing = match stands::read_current(context, &record).await {
        Ok(standing) => standing,
        Err(error) => {
            let what = format!("what stands on {} cannot be read, so nothing is sent for it: {error}", record.item);
            context.raise_about(record.item.as_str(), stands::unreadable(UNREADABLE, what, &error));
            return unread(context, &record, &error).await.map(Some);
        }
    };
    context.clear_about(UNREADABLE, record.item.as_str());
    let Some(stands) = stands::stands(standing) else {
        return Ok(Some(Delivered::NeedsRefresh(None)));
    };
    let verdict = stands::note(context, &record, stands).await?;
    Ok(matches!(verdict, ReadVerdict::Held(_)).then_some(Delivered::Held))
}

/// A read that failed has the row wait, as a push that failed does.
async fn unread(context: &Context, record: &UsageRecord, error: &ReadError) -> Result<Delivered, JobError> {
    if error.refusal.kind == RefusalKind::Missing {
        return Ok(Delivered::NeedsRefresh(Some(error.to_string())));
    }
    let now = context.now();
    let wait = wait_for(context, record, Some(&error.refusal), error.retry_after);
    let again_at = now.plus(micros_of(wait));
    let (id, why) = (record.id, error.to_string());
    context.store.write(move |tx| outbox::postpone(tx, id, again_at, &why)).await?;
    Ok(Delivered::Later)
}

/// The item was not found twice in a row.
pub(super) async fn hold_missing(context: &Context, id: i64, what: String) -> Result<(), JobError> {
    let now = context.now();
    context.store.write(move |tx| outbox::hold(tx, id, &Held::Missing { what }, now)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{by, last};
    use super::*;
    use crate::model::{Channel, Formula};
    use crate::outbox::testing::record;

    #[test]
    fn s1_only_what_is_to_fall_goes_first() {
        let row = |standing, target| UsageRecord { target, standing, ..record(last()) };
        assert!(falls(&row(Some(6), 5)));
        for other in [row(Some(5), 5), row(Some(4), 5), row(None, 5), row(None, 0)] {
            assert!(!falls(&other), "{:?} {}", other.standing, other.target);
        }
    }

    #[test]
    fn one_customers_meter_is_told_one_thing_after_the_other_and_all_else_side_by_side() {
        let row = |id, customer: &str, channel: &Channel| UsageRecord {
            id,
            customer: customer.parse().unwrap(),
            ..record(channel.clone())
        };
        let (meter, other) = (last(), by(Formula::Sum));
        let records = vec![
            row(1, "cus_1", &meter),
            row(2, "cus_1", &Channel::UsageRecords),
            row(3, "cus_1", &meter),
            row(4, "cus_2", &meter),
            row(5, "cus_1", &Channel::UsageRecords),
            row(6, "cus_1", &other),
            row(7, "cus_1", &meter),
        ];
        assert_eq!(lanes(records), [vec![1, 3, 7], vec![2], vec![4], vec![5], vec![6]]);
    }

    #[test]
    fn s6_a_total_may_leave_from_its_first_moment_until_before_its_last() {
        let limits = Limits {
            timeout: Duration::from_secs(30),
            draft_grace: Duration::from_hours(1),
            quiet_before_end: Duration::from_mins(5),
        };
        let row = record(Channel::UsageRecords);
        let (first, last) = (row.first_send(), row.last_send(limits));
        let at = |now| moment_at(Some(now), &row, limits);
        assert_eq!((at(first.minus(1)), at(first)), (Moment::Early, Moment::Right(first)));
        assert_eq!((at(last.minus(1)), at(last)), (Moment::Right(last.minus(1)), Moment::Late));
        assert_eq!(moment_at(None, &row, limits), Moment::Late, "nothing is known of the provider's clock");
    }

    #[test]
    fn what_waits_out_a_failure_waits_until_then_unless_somebody_asks() {
        let now = Timestamp::from_secs(1_000);
        let row = |next_attempt| UsageRecord { next_attempt, ..record(last()) };
        let (none, past, at, later) = (row(None), row(Some(now.minus(1))), row(Some(now)), row(Some(now.plus(1))));
        let wanted = |which: &Which| [&none, &past, &at, &later].map(|row| is_wanted(row, which, now));
        assert_eq!(wanted(&Which::Scheduled), [true, true, true, false]);
        assert_eq!(wanted(&Which::Due), [false, true, true, false]);
        assert_eq!(wanted(&Which::Now), [true; 4]);
        assert_eq!(wanted(&Which::Item("si_1".parse().unwrap())), [true; 4]);
        assert_eq!(wanted(&Which::Item("si_2".parse().unwrap())), [false; 4]);
    }

    #[test]
    fn a_wish_names_what_the_channel_does() {
        let said = |channel| wish(&record(channel), 7);
        assert_eq!(said(by(Formula::Sum)), "add 7 to si_1");
        assert_eq!(said(by(Formula::SumOfDays)), "set a day of si_1 to 7");
        assert_eq!((said(last()), said(Channel::UsageRecords)), ("set si_1 to 7".into(), "set si_1 to 7".into()));
    }

    #[test]
    fn an_event_that_is_there_already_is_no_problem() {
        assert!(!is_a_problem(RefusalKind::Duplicate));
        assert!(is_a_problem(RefusalKind::Missing) && is_a_problem(RefusalKind::Other));
    }

    fn why(kind: RefusalKind) -> Refusal {
        Refusal { kind, status: None, error_type: None, code: None, param: None, message: String::new() }
    }

    fn fate(value: Outcome, quantity: i64) -> Fate {
        judge(&Answer { value, date: None, request_id: None, status: None }, quantity).0
    }

    #[test]
    fn s2_each_answer_says_what_became_of_the_attempt() {
        for (kind, quantity, expected) in [
            (RefusalKind::IdempotencyMismatch, 5, Fate::KeySpent),
            (RefusalKind::Duplicate, 5, Fate::Known),
            (RefusalKind::KeyRefused, 5, Fate::NotDone),
            (RefusalKind::NotPermitted, 5, Fate::NotDone),
            (RefusalKind::NoMeter, 5, Fate::NotDone),
            (RefusalKind::Other, -1, Fate::FallRefused),
            (RefusalKind::Other, 0, Fate::NeverDone),
            (RefusalKind::Missing, -1, Fate::NeverDone),
        ] {
            assert_eq!(fate(Outcome::Refused(why(kind)), quantity), expected, "{kind:?} {quantity}");
        }
        let away = |kind| fate(Outcome::Unavailable { retry_after: None, why: why(kind) }, 5);
        assert_eq!(away(RefusalKind::RateLimited), Fate::NotDone);
        assert_eq!(away(RefusalKind::InFlight), Fate::Unknown, "our own earlier send is still worked on");
        let lost = |needs_new_key| {
            fate(Outcome::Unknown { needs_new_key, retry_after: None, why: why(RefusalKind::Network) }, 5)
        };
        assert_eq!((lost(true), lost(false)), (Fate::KeySpent, Fate::Unknown));
        assert_eq!(fate(Outcome::Accepted, 5), Fate::Accepted);
    }
}
