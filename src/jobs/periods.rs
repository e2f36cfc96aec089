//! What a read subscription means for the periods of its items: which are open, which are over, which are held.

use super::JobError;
use crate::account::{self, Item, Link};
use crate::ledger;
use crate::model::{Span, Timestamp};
use crate::outbox::{self, Held, NewRecord, RecordState, UsageRecord};
use crate::provider::{ItemView, SubscriptionView};
use crate::store::Tx;

/// A stretch between two known periods of an item, in which periods came and went unseen.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) link: Link,
    pub(super) item: Item,
    pub(super) span: Span,
    pub(super) billable: bool,
}

/// Statuses in which a subscription makes no invoices any more.
const ENDED: [&str; 2] = ["canceled", "incomplete_expired"];

/// Applies a read. Returns stretches whose periods the summaries have to tell.
pub(super) fn apply(tx: &Tx<'_>, view: &SubscriptionView, now: Timestamp) -> Result<Vec<Gap>, JobError> {
    let ended = ENDED.contains(&view.status.as_str());
    end_old_periods(tx, view, ended, now)?;
    let mut gaps = Vec::new();
    for (link, item) in billed(tx, view, now)? {
        let found = view.items.iter().find(|candidate| candidate.id == item.item);
        if let Some(found) = found
            && outbox::is_continued(tx, &item.item, found.period)?
        {
            continue;
        }
        match found {
            Some(found) if !ended => gaps.extend(open_period(tx, view, &link, &item, found, now)?),
            _ => hold_open(tx, &item, &missing(view, ended), now)?,
        }
    }
    Ok(gaps)
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

fn missing(view: &SubscriptionView, ended: bool) -> Held {
    let what = if ended {
        format!("the subscription {} is {}", view.id, view.status)
    } else {
        format!("it is not on the subscription {} any more", view.id)
    };
    Held::Missing { what }
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
fn end_old_periods(tx: &Tx<'_>, view: &SubscriptionView, ended: bool, now: Timestamp) -> Result<(), JobError> {
    for record in outbox::unfinished(tx)? {
        if record.subscription != view.id || record.state != RecordState::Open {
            continue;
        }
        let current = view.items.iter().find(|item| item.id == record.item).map(|item| item.period);
        match current {
            Some(current) if current.from > record.period.from => end_at(tx, &record, current.from)?,
            Some(_) if !ended => {}
            _ if now >= record.period.to => end_at(tx, &record, record.period.to)?,
            _ => {}
        }
    }
    Ok(())
}

fn end_at(tx: &Tx<'_>, record: &UsageRecord, at: Timestamp) -> Result<(), JobError> {
    let end = at.min(record.period.to);
    ledger::boundaries::note(tx, end, "period")?;
    outbox::end_period(tx, record.id, end)?;
    Ok(())
}

fn open_period(
    tx: &Tx<'_>,
    view: &SubscriptionView,
    link: &Link,
    item: &Item,
    found: &ItemView,
    now: Timestamp,
) -> Result<Option<Gap>, JobError> {
    ledger::boundaries::note(tx, found.period.from, "period")?;
    ledger::boundaries::note(tx, found.period.to, "period")?;
    let billable = is_billable(view);
    let before = newest_before(tx, item, found.period.from)?;
    let id = outbox::ensure(tx, &new_record(link, item, found.period, billable))?;
    if outbox::by_id(tx, id)?.held.is_none()
        && let Some(what) = changed(view, item, found)
    {
        outbox::hold(tx, id, &Held::Segment { what }, now)?;
    }
    let unseen = before.map(|end| Span::new(end.max(link.from), found.period.from));
    Ok(unseen.filter(|span| span.from < span.to).map(|span| Gap {
        link: link.clone(),
        item: item.clone(),
        span,
        billable,
    }))
}

/// What of an item is not as it was linked, a sentence (rule R5).
fn changed(view: &SubscriptionView, item: &Item, found: &ItemView) -> Option<String> {
    if found.price != item.price {
        return Some(format!("the price changed from {} to {} since it was linked", item.price, found.price));
    }
    let twin = view.twin_of(found)?;
    Some(format!("{} is on the same meter, so each unit is billed on both items", twin.id))
}

/// Rule R6: nothing is carried out of a period that is not billed.
pub(super) fn is_billable(view: &SubscriptionView) -> bool {
    matches!(view.status.as_str(), "active" | "past_due" | "unpaid") && !view.collection_paused
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

/// Makes ended rows for periods that came and went unseen, as the provider's summaries tell them. Usage in a stretch that
/// they do not tile is not billed, and named.
pub(super) fn fill(tx: &Tx<'_>, gap: &Gap, told: &[Span]) -> Result<bool, JobError> {
    let lies_inside = |span: &&Span| gap.span.from <= span.from && span.to <= gap.span.to;
    let mut inside: Vec<Span> = told.iter().filter(lies_inside).copied().collect();
    inside.sort_unstable();
    let reached = inside.iter().fold(gap.span.from, |end, span| if span.from == end { span.to } else { end });
    if reached != gap.span.to {
        return Ok(false);
    }
    for span in inside {
        ledger::boundaries::note(tx, span.from, "period")?;
        ledger::boundaries::note(tx, span.to, "period")?;
        let id = outbox::ensure(tx, &new_record(&gap.link, &gap.item, span, gap.billable))?;
        outbox::end_period(tx, id, span.to)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_a_period_is_billed_only_while_the_subscription_makes_invoices() {
        let view = |status: &str, collection_paused| SubscriptionView {
            id: "sub_1".parse().unwrap(),
            customer: "cus_1".parse().unwrap(),
            status: status.to_owned(),
            collection_paused,
            has_billing_thresholds: false,
            livemode: false,
            anchor: None,
            ends: None,
            items: Vec::new(),
        };
        assert!(is_billable(&view("active", false)) && is_billable(&view("past_due", false)));
        assert!(!is_billable(&view("active", true)), "collection is paused");
        for status in ["trialing", "paused", "canceled", "incomplete"] {
            assert!(!is_billable(&view(status, false)), "{status}");
        }
    }
}
