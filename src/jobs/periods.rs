//! What a read subscription means for the periods of its items: which are open, which are over, which are held.

use super::JobError;
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
    note_read(tx, view, now)?;
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

/// Keeps what was read of a subscription.
pub(super) fn note_read(tx: &Tx<'_>, view: &SubscriptionView, now: Timestamp) -> Result<(), JobError> {
    Ok(account::note_read(tx, &state_of(view), now)?)
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
fn end_old_periods(tx: &Tx<'_>, view: &SubscriptionView, read: &Subscription, now: Timestamp) -> Result<(), JobError> {
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
    if outbox::by_id(tx, id)?.held.is_none()
        && let Some(what) = changed(view, item, found)
    {
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

/// What of an item is not as it was linked, a sentence (rule R5).
fn changed(view: &SubscriptionView, item: &Item, found: &ItemView) -> Option<String> {
    if found.price != item.price {
        return Some(format!("the price changed from {} to {} since it was linked", item.price, found.price));
    }
    let twin = view.twin_of(found)?;
    Some(format!("{} is on the same meter, so each unit is billed on both items", twin.id))
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

#[cfg(test)]
mod tests {
    use super::super::testing::{at, by, in_store, last, link, rows, span, view};
    use super::*;
    use crate::model::Channel;
    use crate::outbox::Held;

    const NOVEMBER: (&str, &str) = ("2026-11-05T00", "2026-12-05T00");
    const DECEMBER: (&str, &str) = ("2026-12-05T00", "2027-01-05T00");

    fn november() -> Span {
        span(NOVEMBER.0, NOVEMBER.1)
    }

    fn state(row: &UsageRecord) -> (&'static str, Timestamp, bool, Option<&str>) {
        (row.state.word(), row.period.to, row.cut, row.held.as_ref().map(|(code, _)| code.as_str()))
    }

    #[test]
    fn only_an_end_inside_a_period_cuts_it() {
        let until = |ends: &str| {
            let mut read = view("active", november());
            read.ends = Some(at(ends));
            current(&read, &read.items[0]).to
        };
        let whole = november().to;
        assert_eq!(until("2026-11-20T09"), at("2026-11-20T09"));
        for outside in [NOVEMBER.0, NOVEMBER.1, "2026-11-01T00", "2027-02-01T00"] {
            assert_eq!(until(outside), whole, "{outside}");
        }
    }

    #[test]
    fn a_period_that_the_provider_still_shows_after_its_end_is_not_ended_yet() {
        in_store(|tx| {
            link(tx, Channel::UsageRecords, at("2026-11-05T12"));
            apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
            apply(tx, &view("active", november()), at("2026-12-05T01")).unwrap();
            assert_eq!(state(&rows(tx)[0]), ("open", november().to, false, None));
            apply(tx, &view("paused", november()), at("2026-12-05T02")).unwrap();
            assert_eq!(state(&rows(tx)[0]).0, "ending", "a paused one has no periods any more");
        });
    }

    #[test]
    fn r1_a_link_that_ended_before_an_items_own_period_does_not_bill_it() {
        in_store(|tx| {
            link(tx, Channel::UsageRecords, at("2026-11-05T12"));
            account::end(tx, "uid:0", at("2026-11-20T00")).unwrap();
            let mut read = view("active", span(DECEMBER.0, DECEMBER.1));
            let older = ItemView { id: "si_2".parse().unwrap(), period: november(), ..read.items[0].clone() };
            read.items.push(older);
            apply(tx, &read, at("2026-12-06T00")).unwrap();
            assert!(rows(tx).is_empty(), "{:?}", rows(tx));
        });
    }

    #[test]
    fn r6_a_pause_that_is_read_within_six_hours_of_a_periods_end_was_there_then() {
        for (read_at, billable) in [("2026-12-05T05", false), ("2026-12-05T06", true), ("2026-12-09T00", true)] {
            in_store(move |tx| {
                link(tx, Channel::UsageRecords, at("2026-11-05T12"));
                apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
                let mut paused = view("active", span(DECEMBER.0, DECEMBER.1));
                paused.collection_paused = true;
                apply(tx, &paused, at(read_at)).unwrap();
                let ended = &rows(tx)[0];
                assert_eq!((ended.period, ended.billable), (november(), billable), "{read_at}");
            });
        }
    }

    #[test]
    fn an_end_that_is_announced_for_the_middle_of_a_period_is_its_last_moment() {
        in_store(|tx| {
            link(tx, Channel::UsageRecords, at("2026-11-05T12"));
            let ends = at("2026-11-20T09");
            let mut read = view("active", november());
            read.ends = Some(ends);
            apply(tx, &read, at("2026-11-06T00")).unwrap();
            assert_eq!(state(&rows(tx)[0]), ("open", ends, false, None), "the last push is before that");
            // It is taken back, and announced again.
            apply(tx, &view("active", november()), at("2026-11-07T00")).unwrap();
            assert_eq!(rows(tx)[0].period, november());
            apply(tx, &read, at("2026-11-08T00")).unwrap();
            read.status = "canceled".to_owned();
            apply(tx, &read, at("2026-11-20T10")).unwrap();
            assert_eq!(state(&rows(tx)[0]), ("ending", ends, true, None), "its invoice is not left a draft");
        });
    }

    #[test]
    fn a_subscription_that_is_ended_at_once_ends_its_period_there_and_says_what_may_be_dropped() {
        for channel in [Channel::UsageRecords, last()] {
            in_store(move |tx| {
                link(tx, channel, at("2026-11-05T12"));
                apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
                let mut read = view("canceled", november());
                read.ends = Some(at("2026-11-20T09"));
                apply(tx, &read, at("2026-11-20T15")).unwrap();
                let row = rows(tx).remove(0);
                assert_eq!(state(&row), ("ending", at("2026-11-20T09"), true, Some("subscription_ended")));
                assert!(row.held.as_ref().unwrap().1.contains("unless it was canceled with invoice_now=true"));
                assert!(!row.takes_totals());
                assert!(account::last_read(tx, &read.id).unwrap().unwrap().is_over());
            });
        }
    }

    #[test]
    fn a_subscription_that_ends_with_its_period_bills_it_as_any_other() {
        in_store(|tx| {
            link(tx, last(), at("2026-11-05T12"));
            apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
            let mut read = view("canceled", november());
            read.ends = Some(november().to);
            apply(tx, &read, at("2026-12-05T01")).unwrap();
            let row = rows(tx).remove(0);
            assert_eq!(state(&row), ("ending", november().to, false, None));
            assert!(row.takes_totals(), "its last invoice is a draft for a while (rule S7)");
        });
    }

    #[test]
    fn a_billing_cycle_that_begins_anew_cuts_the_period_and_its_timestamp_follows() {
        for channel in [Channel::UsageRecords, last()] {
            in_store(move |tx| {
                let is_meter = channel.meter().is_some();
                link(tx, channel, at("2026-11-05T12"));
                apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
                let anew = span("2026-11-20T09", "2026-12-20T09");
                apply(tx, &view("active", anew), at("2026-11-20T15")).unwrap();
                let found = rows(tx);
                assert_eq!(state(&found[0]), ("ending", anew.from, true, None));
                assert_eq!((state(&found[1]), found[1].period), (("open", anew.to, false, None), anew));
                assert_eq!(found[1].timestamp_s, anew.from.secs() + 1, "rule S3");
                assert_eq!(outbox::unseen(tx).unwrap(), []);
                assert!(!found[0].takes_totals(), "meter: {is_meter}");
            });
        }
    }

    #[test]
    fn s10_day_windows_are_held_where_periods_do_not_begin_at_midnight_any_more() {
        in_store(|tx| {
            link(tx, by(Formula::SumOfDays), at("2026-11-05T12"));
            apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
            apply(tx, &view("active", span("2026-11-20T09", "2026-12-20T09")), at("2026-11-20T15")).unwrap();
            assert_eq!(rows(tx)[0].held, None);
            assert!(rows(tx)[1].held.as_ref().unwrap().1.contains("its meter has day windows"));
        });
    }

    #[test]
    fn r6_a_pause_that_is_read_right_after_the_end_was_there_at_the_invoice() {
        for (hours_after, billable) in [(1, false), (7, true)] {
            in_store(move |tx| {
                link(tx, Channel::UsageRecords, at("2026-11-05T12"));
                apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
                let mut read = view("active", span(DECEMBER.0, DECEMBER.1));
                read.collection_paused = true;
                apply(tx, &read, november().to.plus(hours_after * MICROS_PER_HOUR)).unwrap();
                assert_eq!(rows(tx).iter().map(|row| row.billable).collect::<Vec<_>>(), [billable, false]);
            });
        }
    }

    #[test]
    fn r6_a_trial_stays_unbilled_when_it_is_over() {
        in_store(|tx| {
            link(tx, Channel::UsageRecords, at("2026-11-05T12"));
            apply(tx, &view("trialing", november()), at("2026-11-06T00")).unwrap();
            apply(tx, &view("active", span(DECEMBER.0, DECEMBER.1)), at("2026-12-05T01")).unwrap();
            assert_eq!(rows(tx).iter().map(|row| row.billable).collect::<Vec<_>>(), [false, true]);
        });
    }

    #[test]
    fn a_pause_between_two_periods_is_named_as_what_it_was() {
        in_store(|tx| {
            link(tx, Channel::UsageRecords, at("2026-11-05T12"));
            apply(tx, &view("trialing", november()), at("2026-11-06T00")).unwrap();
            apply(tx, &view("paused", november()), at("2026-12-06T00")).unwrap();
            assert_eq!(state(&rows(tx)[0]), ("ending", november().to, false, None), "no period follows it");
            apply(tx, &view("active", span("2026-12-09T10", "2027-01-09T10")), at("2026-12-09T11")).unwrap();
            let unseen = outbox::unseen(tx).unwrap();
            assert_eq!((unseen.len(), unseen[0].span), (1, span("2026-12-05T00", "2026-12-09T10")));
            assert_eq!(unseen[0].because.as_deref(), Some("the subscription sub_1 was paused"));
        });
    }

    #[test]
    fn an_item_that_was_taken_off_is_held_as_such() {
        in_store(|tx| {
            link(tx, Channel::UsageRecords, at("2026-11-05T12"));
            apply(tx, &view("active", november()), at("2026-11-06T00")).unwrap();
            let mut read = view("active", november());
            read.items.clear();
            apply(tx, &read, at("2026-11-07T00")).unwrap();
            let what = "it is not on the subscription sub_1 any more".to_owned();
            assert_eq!(rows(tx)[0].held.as_ref().unwrap().1, Held::Missing { what }.because());
        });
    }
}
