//! Periods that came and went while nobody looked: found in what the provider lists, else by its calendar.

use rusqlite::Connection;

use super::{JobError, calendar, periods};
use crate::account::{self, Item, Link};
use crate::ledger;
use crate::model::{Span, SubscriptionId, Timestamp};
use crate::outbox::{self, Unseen, UsageRecord};
use crate::provider::SubscriptionView;
use crate::store::Tx;

/// Stretches of a subscription's items whose periods are still to be found.
pub(super) fn unseen_on(connection: &Connection, subscription: &SubscriptionId) -> Result<Vec<Unseen>, JobError> {
    let mut found = Vec::new();
    for stretch in outbox::unseen(connection)? {
        let linked = linked(connection, &stretch)?;
        if stretch.because.is_none() && linked.is_some_and(|(link, _)| link.subscription == *subscription) {
            found.push(stretch);
        }
    }
    Ok(found)
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
        let id = outbox::ensure(tx, &periods::new_record(&link, &item, period, stretch.billable))?;
        outbox::end_period(tx, id, period.to)?;
    }
    outbox::forget_unseen(tx, stretch)?;
    Ok(())
}

/// The link that bills a stretch, with its item.
pub(super) fn linked(connection: &Connection, stretch: &Unseen) -> Result<Option<(Link, Item)>, JobError> {
    let Some(link) = account::all(connection)?.into_iter().find(|link| link.id == stretch.link) else {
        return Ok(None);
    };
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

#[cfg(test)]
mod tests {
    use super::super::testing::{at, by, in_store, last, link, rows, span, view};
    use super::*;
    use crate::model::{Channel, Formula};

    /// Known until 5 November, away, and back in January.
    fn away(tx: &Tx<'_>, channel: Channel, back: &SubscriptionView, now: Timestamp) -> Vec<Unseen> {
        link(tx, channel, at("2026-10-05T12"));
        periods::apply(tx, &view("active", span("2026-10-05T00", "2026-11-05T00")), at("2026-10-06T00")).unwrap();
        periods::apply(tx, back, now).unwrap();
        unseen_on(tx, &back.id).unwrap()
    }

    fn tiled(tx: &Tx<'_>) -> Vec<(&'static str, Span)> {
        rows(tx).iter().map(|row| (row.state.word(), row.period)).collect()
    }

    #[test]
    fn r2_periods_that_nobody_lists_are_computed_and_ended() {
        in_store(|tx| {
            let now = at("2027-01-05T02");
            let back = view("active", span("2027-01-05T00", "2027-02-05T00"));
            let stretches = away(tx, last(), &back, now);
            assert_eq!(stretches.len(), 1);
            fill(tx, &stretches[0], &back, &[], now).unwrap();
            let expected = [
                ("ending", span("2026-10-05T00", "2026-11-05T00")),
                ("ending", span("2026-11-05T00", "2026-12-05T00")),
                ("ending", span("2026-12-05T00", "2027-01-05T00")),
                ("open", span("2027-01-05T00", "2027-02-05T00")),
            ];
            assert_eq!(tiled(tx), expected);
            assert_eq!(outbox::unseen(tx).unwrap(), []);
            // Rule S7: the last one's invoice is a draft still.
            assert!(rows(tx)[2].takes_totals());
        });
    }

    #[test]
    fn r2_what_is_listed_goes_before_what_is_computed() {
        in_store(|tx| {
            let now = at("2027-01-05T02");
            let back = view("active", span("2027-01-05T00", "2027-02-05T00"));
            let stretch = away(tx, Channel::UsageRecords, &back, now).remove(0);
            let listed = [span("2026-12-01T00", "2027-01-05T00"), span("2026-11-05T00", "2026-12-01T00")];
            fill(tx, &stretch, &back, &listed, now).unwrap();
            assert_eq!(tiled(tx)[1..3], [("ending", listed[1]), ("ending", listed[0])]);
        });
    }

    #[test]
    fn a_cycle_that_began_anew_unseen_cuts_the_period_before() {
        for is_listed in [true, false] {
            in_store(move |tx| {
                let now = at("2027-01-05T00");
                let mut back = view("active", span("2026-12-20T09", "2027-01-20T09"));
                back.anchor = Some(at("2026-10-20T09"));
                let stretch = away(tx, Channel::UsageRecords, &back, now).remove(0);
                let listed = [
                    span("2026-11-20T09", "2026-12-20T09"),
                    span("2026-10-20T09", "2026-11-20T09"),
                    span("2026-10-05T00", "2026-10-20T09"),
                ];
                fill(tx, &stretch, &back, if is_listed { &listed } else { &[] }, now).unwrap();
                assert_eq!(tiled(tx)[..3], [("ending", listed[2]), ("ending", listed[1]), ("ending", listed[0])]);
                assert!(rows(tx)[0].cut && !rows(tx)[1].cut);
            });
        }
    }

    #[test]
    fn what_cannot_be_tiled_stays_named() {
        in_store(|tx| {
            let now = at("2027-01-09T10");
            let mut back = view("active", span("2027-01-09T09", "2027-02-09T09"));
            let stretches = away(tx, by(Formula::Sum), &back, now);
            fill(tx, &stretches[0], &back, &[], now).unwrap();
            assert_eq!(outbox::unseen(tx).unwrap(), stretches);
            // Also in the period after, when nothing shows it any more.
            back.items[0].period = span("2027-02-09T09", "2027-03-09T09");
            periods::apply(tx, &back, at("2027-02-10T00")).unwrap();
            assert_eq!(outbox::unseen(tx).unwrap(), stretches);
        });
    }

    #[test]
    fn r1_a_first_period_that_nobody_saw_is_not_lost() {
        in_store(|tx| {
            let now = at("2027-01-06T00");
            link(tx, last(), at("2026-11-05T00"));
            let back = view("active", span("2027-01-05T00", "2027-02-05T00"));
            periods::apply(tx, &back, now).unwrap();
            let stretches = unseen_on(tx, &back.id).unwrap();
            fill(tx, &stretches[0], &back, &[], now).unwrap();
            assert_eq!(tiled(tx).len(), 3);
        });
    }
}
