//! What a read subscription means for the periods of its items: which are open, which are over, which are held.

use super::{JobError, calendar};
use crate::account::{self, Item, Link, Subscription};
use crate::ledger;
use crate::model::{Formula, MICROS_PER_DAY, MICROS_PER_HOUR, Span, Timestamp};
use crate::outbox::{self, Held, NewRecord, RecordState, Unseen, UsageRecord};
use crate::provider::{ItemView, SubscriptionView};
use crate::store::Tx;

/// A pause that is read so shortly after a period's end was there when its invoice was made. No read is older than this.
const PAUSED_WITHIN_US: i64 = 6 * MICROS_PER_HOUR;

/// Applies a read.
pub(super) fn apply(tx: &Tx<'_>, view: &SubscriptionView, now: Timestamp) -> Result<(), JobError> {
    let read = state_of(view);
    let before = account::last_read(tx, &view.id)?;
    account::note_read(tx, &read, now)?;
    end_old_periods(tx, view, &read, now)?;
    let was_paused = before.is_some_and(|before| before.status == PAUSED);
    for (link, item) in billed(tx, view, now)? {
        let found = view.items.iter().find(|candidate| candidate.id == item.item);
        if let Some(found) = found
            && outbox::is_continued(tx, &item.item, found.period)?
        {
            continue;
        }
        match found {
            _ if read.is_over() => {}
            Some(found) => open_period(tx, view, &link, &item, found, was_paused, now)?,
            None => hold_open(tx, &item, &missing(view), now)?,
        }
    }
    Ok(())
}

/// Its trial ended with nothing to pay with: it has no periods until it is resumed.
const PAUSED: &str = "paused";

/// What is kept of a read.
fn state_of(view: &SubscriptionView) -> Subscription {
    Subscription {
        id: view.id.clone(),
        status: view.status.clone(),
        collection_paused: view.collection_paused,
        ends: view.ends,
    }
}

/// Rule R6: nothing is carried out of a period that is not billed.
pub(super) fn is_billable(view: &SubscriptionView) -> bool {
    state_of(view).is_billable()
}

/// An item's current period, as far as its subscription lasts.
pub(super) fn current(view: &SubscriptionView, found: &ItemView) -> Span {
    let lasts = view.ends.filter(|ends| found.period.contains(*ends) && found.period.from < *ends);
    Span::new(found.period.from, lasts.unwrap_or(found.period.to))
}

/// The items that links bill on a subscription's current periods: also one that has ended inside them, or that ends only
/// when another begins. The newest link says what is known of an item.
fn billed(tx: &Tx<'_>, view: &SubscriptionView, now: Timestamp) -> Result<Vec<(Link, Item)>, JobError> {
    let begun = view.items.iter().map(|item| item.period.from).min().map_or(now, |from| from.min(now));
    let mut billed: Vec<(Link, Item)> = Vec::new();
    for link in account::in_force_since(tx, begun)?.into_iter().rev().filter(|link| link.subscription == view.id) {
        for item in account::items_of(tx, link.id)? {
            let current = view.items.iter().find(|found| found.id == item.item).map(|found| found.period);
            // A link that begins with the next period leaves this one alone (rule S4), one that has ended before it as well.
            if current.is_some_and(|period| link.span().overlap(period).is_none()) {
                continue;
            }
            if billed.iter().all(|(_, newer)| newer.item != item.item) {
                billed.push((link.clone(), item));
            }
        }
    }
    Ok(billed)
}

fn missing(view: &SubscriptionView) -> Held {
    Held::Missing { what: format!("it is not on the subscription {} any more", view.id) }
}

fn hold_open(tx: &Tx<'_>, item: &Item, why: &Held, now: Timestamp) -> Result<(), JobError> {
    for record in outbox::unfinished(tx)? {
        if record.item == item.item && record.state == RecordState::Open && record.segment_of.is_none() {
            outbox::hold(tx, record.id, why, now)?;
        }
    }
    Ok(())
}

/// Rows of this subscription whose period the provider has left behind stop being sent.
fn end_old_periods(
    tx: &Tx<'_>,
    view: &SubscriptionView,
    read: &Subscription,
    now: Timestamp,
) -> Result<(), JobError> {
    for record in outbox::unfinished(tx)? {
        if record.subscription != view.id || record.state != RecordState::Open {
            continue;
        }
        let period = view.items.iter().find(|item| item.id == record.item).map(|item| item.period);
        match period {
            Some(period) if period.from > record.period.from => end_at(tx, &record, period.from, now)?,
            _ if read.is_over() => end_with_subscription(tx, &record, period, read, now)?,
            Some(_) if read.status != PAUSED => continue,
            _ if now >= record.period.to => end_at(tx, &record, record.period.to, now)?,
            _ => continue,
        }
        let ended = outbox::by_id(tx, record.id)?;
        if view.collection_paused && now.since(ended.period.to) < PAUSED_WITHIN_US {
            outbox::end_unbilled(tx, record.id)?;
        }
    }
    Ok(())
}

fn end_at(tx: &Tx<'_>, record: &UsageRecord, at: Timestamp, now: Timestamp) -> Result<(), JobError> {
    let end = at.min(record.period.to);
    ledger::boundaries::note(tx, end, "period")?;
    if end < record.period.to {
        outbox::cut_short(tx, record.id, end, now)?;
    } else {
        outbox::end_period(tx, record.id, end)?;
    }
    Ok(())
}

/// The subscription is over. Where it ended with the period, the period was billed as any other; where it was ended
/// before, what became of its usage is not known before it is read.
fn end_with_subscription(
    tx: &Tx<'_>,
    record: &UsageRecord,
    period: Option<Span>,
    read: &Subscription,
    now: Timestamp,
) -> Result<(), JobError> {
    let end = read.ends.unwrap_or(now).min(now).max(record.period.from).min(record.period.to);
    if end < record.period.to {
        let what = format!("the subscription {} was ended at {end}", read.id);
        outbox::hold(tx, record.id, &Held::Ended { what }, now)?;
    }
    // An end that was announced for the middle of the provider's period.
    if end == record.period.to && period.is_some_and(|period| end < period.to) {
        outbox::cut_short(tx, record.id, end, now)?;
    }
    end_at(tx, record, end, now)
}

fn open_period(
    tx: &Tx<'_>,
    view: &SubscriptionView,
    link: &Link,
    item: &Item,
    found: &ItemView,
    was_paused: bool,
    now: Timestamp,
) -> Result<(), JobError> {
    let period = current(view, found);
    ledger::boundaries::note(tx, period.from, "period")?;
    ledger::boundaries::note(tx, period.to, "period")?;
    let billable = is_billable(view);
    let before = newest_before(tx, item, period.from)?;
    let id = outbox::ensure(tx, &new_record(link, item, period, billable))?;
    if found.price != item.price {
        let what = format!("the price changed from {} to {} since it was linked", item.price, found.price);
        outbox::hold(tx, id, &Held::Segment { what }, now)?;
    }
    if item.channel.formula() == Some(Formula::SumOfDays) && !starts_a_day(period.from) {
        let what = format!("its period begins at {} now, and its meter has day windows (rule S10)", period.from);
        outbox::hold(tx, id, &Held::Segment { what }, now)?;
    }
    // Without a row from before, its first period came and went unseen as well.
    let known_since = before.unwrap_or(Timestamp::from_secs(item.created_s)).max(link.from);
    let unseen = Span::new(known_since, period.from);
    if unseen.from < unseen.to {
        let because = was_paused.then(|| format!("the subscription {} was paused", view.id));
        let found = Unseen {
            item: item.item.clone(),
            span: unseen,
            link: link.id,
            meter: item.meter.clone(),
            billable,
            because,
        };
        outbox::note_unseen(tx, &found, now)?;
    }
    Ok(())
}

fn starts_a_day(at: Timestamp) -> bool {
    at.micros().rem_euclid(MICROS_PER_DAY) == 0
}

/// The row of an item in a period.
pub(super) fn new_record(link: &Link, item: &Item, period: Span, billable: bool) -> NewRecord {
    NewRecord {
        customer: link.customer.clone(),
        subscription: link.subscription.clone(),
        item: item.item.clone(),
        item_created_s: item.created_s,
        channel: item.channel.clone(),
        shared: item.shared,
        meter: item.meter.clone(),
        period,
        price: item.price.clone(),
        unit_amount: item.unit_amount,
        billable,
    }
}

/// The end of the newest known period of an item that began before this moment.
fn newest_before(tx: &Tx<'_>, item: &Item, before: Timestamp) -> Result<Option<Timestamp>, JobError> {
    let sql = "SELECT max(period_to_s) FROM usage_record WHERE item = ?1 AND period_from_s < ?2";
    let end: Option<i64> = tx.query_row(sql, (item.item.as_str(), before.secs()), |row| row.get(0))?;
    Ok(end.map(Timestamp::from_secs))
}

/// Makes ended rows for the periods in a stretch that came and went unseen: as the provider lists them, else as its
/// calendar has them. Usage in a stretch that neither tiles is not billed, and stays named.
pub(super) fn fill(
    tx: &Tx<'_>,
    stretch: &Unseen,
    view: &SubscriptionView,
    listed: &[Span],
    now: Timestamp,
) -> Result<(), JobError> {
    let Some((link, item)) = linked(tx, stretch)? else { return Ok(()) };
    let before = cuttable(tx, stretch)?;
    let found = chain(stretch.span, before.as_ref(), listed).or_else(|| computed(stretch, before.as_ref(), view));
    let Some(periods) = found else { return Ok(()) };
    if let (Some(before), Some(first)) = (before, periods.first())
        && first.from < stretch.span.from
    {
        ledger::boundaries::note(tx, first.from, "period")?;
        outbox::cut_short(tx, before.id, first.from, now)?;
    }
    for period in periods {
        ledger::boundaries::note(tx, period.from, "period")?;
        ledger::boundaries::note(tx, period.to, "period")?;
        let id = outbox::ensure(tx, &new_record(&link, &item, period, stretch.billable))?;
        outbox::end_period(tx, id, period.to)?;
    }
    outbox::forget_unseen(tx, stretch)?;
    Ok(())
}

/// The link that bills a stretch, with its item.
pub(super) fn linked(connection: &rusqlite::Connection, stretch: &Unseen) -> Result<Option<(Link, Item)>, JobError> {
    let Some(link) = account::all(connection)?.into_iter().find(|link| link.id == stretch.link) else { return Ok(None) };
    let items = account::items_of(connection, link.id)?;
    Ok(items.into_iter().find(|item| item.item == stretch.item).map(|item| (link, item)))
}

/// The row before a stretch, whose period may have ended earlier than was thought.
fn cuttable(tx: &Tx<'_>, stretch: &Unseen) -> Result<Option<UsageRecord>, JobError> {
    let mut rows = outbox::unfinished(tx)?.into_iter();
    Ok(rows.find(|row| row.item == stretch.item && row.period.to == stretch.span.from))
}

/// The listed periods that lead back from the end of a stretch to its start, or into the period before it, which then
/// was cut short.
fn chain(stretch: Span, before: Option<&UsageRecord>, listed: &[Span]) -> Option<Vec<Span>> {
    let mut periods = Vec::new();
    let mut to = stretch.to;
    while to > stretch.from {
        let period = *listed.iter().find(|period| period.to == to && period.from < to)?;
        periods.push(period);
        to = period.from;
    }
    periods.reverse();
    let cuts = before.is_some_and(|before| before.period.from < to && to < stretch.from);
    (to == stretch.from || cuts).then_some(periods)
}

/// The periods that whole intervals make of a stretch; or of one that begins with the anchor, where the billing cycle was
/// set to begin anew within the period before.
fn computed(stretch: &Unseen, before: Option<&UsageRecord>, view: &SubscriptionView) -> Option<Vec<Span>> {
    let found = view.items.iter().find(|found| found.id == stretch.item)?;
    let (interval, span) = (found.interval?, stretch.span);
    let known = [found.period.from, found.period.to];
    calendar::tile(span, interval, &known, view.anchor).or_else(|| {
        let anchor = view.anchor?;
        let cuts = before.is_some_and(|before| before.period.from < anchor && anchor < span.from);
        let anew = Span::new(anchor, span.to);
        cuts.then(|| calendar::tile(anew, interval, &known, Some(anchor))).flatten()
    })
}

