//! Rule R5: what becomes of a period that is billed on another item or at another price from now on.
//!
//! What the provider makes of usage before the change is not settled, so it is asked: what stands, and what the next
//! invoice bills of it at the old price and at the new one. Only where these add up is a segment closed or gone on with.

use std::sync::Arc;

use super::super::{Context, JobError, deliver, stands};
use super::Checked;
use crate::model::{Channel, CustomerId, Formula, ItemId, PriceId};
use crate::outbox::{self, GoesOn, ReadVerdict, Reader, RecordState, Segment, UsageRecord};
use crate::provider::{BilledAt, RefusalKind, SubscriptionView};

/// What is known of the period's earlier segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Earlier {
    /// There is none.
    None,
    /// It is on another record or meter: what stands there cannot be billed again here.
    Closed {
        /// Its row.
        old: i64,
        /// What stands on it.
        stands: i64,
    },
    /// It reaches the provider by the same record or meter, so its row goes on.
    GoesOn(GoesOn),
    /// It cannot be told.
    Unclear {
        /// The row on which the period is billed, if there is one.
        row: Option<i64>,
        /// Why, a sentence.
        what: String,
    },
}

/// A period's earlier segment, and rows of other items for which nothing was ever sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) earlier: Earlier,
    pub(super) blank: Vec<i64>,
}

/// Looks at the earlier segment of each item that is to be billed.
pub(super) async fn look(
    context: &Arc<Context>,
    customer: &CustomerId,
    view: &SubscriptionView,
    checked: &[Checked],
) -> Result<Vec<Change>, JobError> {
    let mut changes = Vec::new();
    for checked in checked {
        let found = find(context, customer, checked).await?;
        let blank = found.blank.iter().map(|row| row.id).collect();
        let earlier = look_at(context, view, checked, found).await?;
        changes.push(Change { earlier, blank });
    }
    Ok(changes)
}

/// The first change of which it cannot be told what is billed already.
pub(super) fn refuse_unclear(changes: &[Change]) -> Result<(), JobError> {
    let unclear = changes.iter().find_map(|change| match &change.earlier {
        Earlier::Unclear { what, .. } => Some(what),
        _ => None,
    });
    match unclear {
        Some(what) => Err(JobError::refused("segment_unclear", what.clone(), "usagectl link again, later")),
        None => Ok(()),
    }
}

/// The rows of the same customer and meter in the item's period.
#[derive(Default)]
struct Found {
    /// The item's own, while it is the last segment.
    own: Option<UsageRecord>,
    /// Other items' last segments.
    others: Vec<UsageRecord>,
    /// Of those, such for which nothing was ever sent.
    blank: Vec<UsageRecord>,
    /// Closed segments.
    closed: Vec<UsageRecord>,
}

async fn find(context: &Context, customer: &CustomerId, checked: &Checked) -> Result<Found, JobError> {
    let mut found = Found::default();
    for row in context.store.read(outbox::unfinished).await? {
        let is_of_period = row.customer == *customer
            && row.meter == checked.item.meter
            && row.state == RecordState::Open
            && row.period.overlap(checked.period).is_some();
        match row {
            _ if !is_of_period => {}
            row if row.segment_of.is_some() => found.closed.push(row),
            row if row.item == checked.item.item => found.own = Some(row),
            row if row.is_blank() && row.period == checked.period => found.blank.push(row),
            row => found.others.push(row),
        }
    }
    Ok(found)
}

async fn look_at(
    context: &Arc<Context>,
    view: &SubscriptionView,
    checked: &Checked,
    found: Found,
) -> Result<Earlier, JobError> {
    let (item, meter) = (&checked.item.item, &checked.item.meter);
    let unclear = |row: Option<i64>, what: String| Ok(Earlier::Unclear { row, what });
    if let Some(other) = found.others.iter().find(|other| other.period != checked.period) {
        let what = format!("{meter} was billed on {} before, in a period that overlaps the one of {item}", other.item);
        return unclear(None, what);
    }
    match (found.others.as_slice(), &found.own) {
        ([], None) => Ok(Earlier::None),
        ([], Some(own)) => look_at_own(context, checked, own).await,
        ([one], own) if own.as_ref().is_none_or(UsageRecord::is_blank) => {
            if one.channel.meter().is_some() && one.channel == checked.item.channel {
                return same_record(context, one, checked).await;
            }
            match found.closed.iter().find(|closed| !returns_to(closed, checked)) {
                Some(closed) => {
                    let (item, price) = (&closed.item, &closed.price);
                    unclear(Some(one.id), format!("{meter} was billed on {item} at {price} before, in this period"))
                }
                None => other_record(context, view, one).await,
            }
        }
        _ => unclear(None, format!("{meter} was billed on {item} and on another item before, in this period")),
    }
}

/// Whether a closed segment leaves it clear what is billed on an item that takes over: it is the item's own at the same
/// price, or on another record or meter.
fn returns_to(closed: &UsageRecord, checked: &Checked) -> bool {
    let is_own = closed.item == checked.item.item;
    let is_on_the_meter = closed.channel.meter().is_some() && closed.channel == checked.item.channel;
    if is_own { closed.price == checked.item.price && closed.channel == checked.item.channel } else { !is_on_the_meter }
}

async fn look_at_own(context: &Arc<Context>, checked: &Checked, own: &UsageRecord) -> Result<Earlier, JobError> {
    let is_same = own.price == checked.item.price && own.channel == checked.item.channel;
    let is_held = own.held.as_ref().is_some_and(|(code, _)| outbox::is_of_a_change(code));
    if is_same && !is_held {
        return Ok(Earlier::None);
    }
    if own.is_blank() {
        let anew = checked.item.channel == Channel::UsageRecords;
        return Ok(Earlier::GoesOn(GoesOn { row: own.id, billed: 0, anew }));
    }
    if own.channel != checked.item.channel {
        let (was, is) = (own.channel.words(), checked.item.channel.words());
        let what = format!("{} was billed by {was} and is billed by {is} now", own.item);
        return Ok(Earlier::Unclear { row: Some(own.id), what });
    }
    if is_same && own.standing != Some(0) {
        let what =
            format!("the price of {} changed and came back, and what was billed at which one cannot be told", own.item);
        return Ok(Earlier::Unclear { row: Some(own.id), what });
    }
    same_record(context, own, checked).await
}

/// Whether the old amount is still going to be billed is the provider's to say, on an invoice or its preview.
async fn same_record(context: &Arc<Context>, earlier: &UsageRecord, checked: &Checked) -> Result<Earlier, JobError> {
    let (id, item) = (earlier.id, &earlier.item);
    let change = if *item == checked.item.item {
        format!("the price of {item} changed from {} to {}", earlier.price, checked.item.price)
    } else {
        format!("{item} gave way to {} on the same meter", checked.item.item)
    };
    let unclear = |why: String| Ok(Earlier::Unclear { row: Some(id), what: format!("{change}, and {why}") });
    if earlier.shared || earlier.channel == Channel::CurrentUsage {
        return unclear("what of it is billed already cannot be told for this VM alone".to_owned());
    }
    let stands = match read_whole(context, earlier).await? {
        Ok(stands) => stands,
        Err(why) => return unclear(why),
    };
    let now = context.now();
    let (is_answered, is_quiet) = context
        .store
        .read(move |c| Ok::<_, JobError>((outbox::is_answered(c, id, now)?, outbox::is_quiet(c, id, now)?)))
        .await?;
    if !is_answered {
        return unclear("a request sent before may still arrive; two hours later that is known".to_owned());
    }
    let before = context.store.read(move |c| outbox::billed_before(c, id)).await?;
    let mut billed = Vec::new();
    for (item, price) in [(item, &earlier.price), (&checked.item.item, &checked.item.price)] {
        match read_billed(context, earlier, item, Some(price)).await {
            Ok(units) => billed.push(units.saturating_sub(billed_at(&before, item, price))),
            Err(why) => return unclear(format!("what is billed of it {why}")),
        }
    }
    let &[at_old, at_new] = billed.as_slice() else { return unclear("what is billed of it was not read".to_owned()) };
    let evidence = Evidence {
        formula: earlier.channel.formula(),
        stands,
        at_old,
        at_new,
        before: before.iter().fold(0, |sum, segment| sum.saturating_add(segment.units)),
        begins_anew: earlier.begins_anew,
        is_quiet,
    };
    match evidence.tells() {
        Some((billed, anew)) => Ok(Earlier::GoesOn(GoesOn { row: id, billed, anew })),
        None => unclear(format!(
            "of the {stands} units that stand the next invoice bills {at_old} at the old price and {at_new} at the new \
             one, which does not tell what is still to be billed{}",
            if is_quiet { "" } else { "; what was sent in the last two hours may not show yet" }
        )),
    }
}

fn billed_at(before: &[Segment], item: &ItemId, price: &PriceId) -> i64 {
    let at = before.iter().filter(|segment| segment.item == *item && segment.price == *price);
    at.fold(0, |sum, segment| sum.saturating_add(segment.units))
}

/// What the provider says after a change of item or price.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    formula: Option<Formula>,
    /// What stands of what was sent.
    stands: i64,
    /// What is billed at the old price, without what was known to be.
    at_old: i64,
    /// What is billed at the new one, likewise.
    at_new: i64,
    /// What was known to be billed at earlier prices.
    before: i64,
    /// Nothing was sent since an earlier change, and what stands is from before it.
    begins_anew: bool,
    /// Nothing was sent lately, so that all of it shows.
    is_quiet: bool,
}

impl Evidence {
    /// The units that are billed at the old price and not on the row again, and whether what was sent before does not
    /// count at the new one. `None` where it does not add up.
    fn tells(&self) -> Option<(i64, bool)> {
        let &Self { stands, at_old, at_new, .. } = self;
        match self.formula {
            // A record is billed at either price, whole. One of nothing shows nowhere, so it is left behind.
            None if at_old == stands && at_new == 0 => Some((at_old, true)),
            None | Some(Formula::SumOfDays) => (at_old == 0 && at_new == stands).then_some((0, false)),
            Some(Formula::Last) => self.tells_of_last(),
            // Increments before the change are billed at the old price, those after it at the new one.
            Some(Formula::Sum) => {
                (at_old.saturating_add(at_new).saturating_add(self.before) == stands).then_some((at_old, false))
            }
        }
    }

    /// The newest event is the total, so what is billed at the old price is settled once the newest shows.
    fn tells_of_last(&self) -> Option<(i64, bool)> {
        let stands = if self.begins_anew { 0 } else { self.stands };
        let shows = self.at_new == stands || self.at_old == stands;
        // What shows nowhere, though nothing was sent lately, was given up, and a new total takes its place.
        let is_dropped = (self.at_old, self.at_new) == (0, 0) && self.is_quiet;
        let goes_on = self.at_old == 0 && self.at_new == stands && !self.begins_anew;
        (shows || is_dropped).then_some((self.at_old, !goes_on))
    }
}

/// What stands on a row's record or meter, wherever the change has left it; a lost answer is settled by it. The other
/// `Err` is why it cannot be told.
async fn read_whole(context: &Arc<Context>, row: &UsageRecord) -> Result<Result<i64, String>, JobError> {
    let provider = context.settings().provider.clone();
    let (of, window) = (stands::destination(row), stands::window(row));
    // A usage record may be in a stretch that the change has ended.
    let answer = match row.channel {
        Channel::Meter(_) => provider.read_current(&of, window).await,
        _ => provider.read_ended(&of, window).await,
    };
    context.note_date(&answer);
    let stands = match answer.value {
        Ok(standing) => stands::stands(standing),
        Err(error) => return Ok(Err(format!("what stands on {} cannot be read: {error}", row.item))),
    };
    let Some(stands) = stands else {
        // A stretch of which nothing is left may show nowhere.
        let is_nothing = row.standing == Some(0);
        let why = || format!("what stood on {} is in none of its periods", row.item);
        return Ok(if is_nothing { Ok(0) } else { Err(why()) });
    };
    let (id, now, generation, total) = (row.id, context.now(), context.generation(), stands.total);
    let verdict = context
        .store
        .write(move |tx| {
            let reader = Reader { generation: &generation, is_single_writer: false, now };
            outbox::note_read(tx, id, &stands, &reader)
        })
        .await?;
    Ok(match verdict {
        ReadVerdict::Held(held) => Err(held.because()),
        ReadVerdict::Lower { noted } => Err(format!("{total} units stand where {noted} were noted")),
        ReadVerdict::Lags => Err("what was sent lately does not show yet".to_owned()),
        _ => Ok(total),
    })
}

/// What is billed in a row's period on an item, at one price or at any. The `Err` ends a sentence.
async fn read_billed(
    context: &Context,
    row: &UsageRecord,
    item: &ItemId,
    price: Option<&PriceId>,
) -> Result<i64, String> {
    let at = BilledAt {
        subscription: row.subscription.clone(),
        item: item.clone(),
        price: price.cloned(),
        period: row.period,
    };
    let answer = context.settings().provider.read_billed(&at).await;
    context.note_date(&answer);
    answer.value.map_err(|error| format!("cannot be read: {error}"))
}

/// Pushes what is left, then reads what stands. Where that is gone with its item, the most that may stand counts.
async fn other_record(
    context: &Arc<Context>,
    view: &SubscriptionView,
    earlier: &UsageRecord,
) -> Result<Earlier, JobError> {
    let (id, item) = (earlier.id, &earlier.item);
    let unclear = |what: String| Ok(Earlier::Unclear { row: Some(id), what });
    let is_there = view.items.iter().any(|found| found.id == *item && found.price == earlier.price);
    if is_there && earlier.held.is_none() {
        deliver::deliver_one(context, id).await?;
    }
    // What an item takes with it is known when its period is closed; without a look at invoices, never.
    if !is_there && let Err(why) = read_billed(context, earlier, item, None).await {
        return unclear(format!("{item} is gone, and what is billed of it {why}"));
    }
    let answer = context.settings().provider.read_current(&stands::destination(earlier), stands::window(earlier)).await;
    context.note_date(&answer);
    let now = context.now();
    let found = match answer.value {
        Ok(standing) => stands::stands(standing),
        Err(error) if error.refusal.kind == RefusalKind::Missing => None,
        Err(error) => return unclear(format!("what stands on {item} cannot be read: {error}")),
    };
    if let Some(stands) = found {
        let generation = context.generation();
        let verdict = context
            .store
            .write(move |tx| {
                let reader = Reader { generation: &generation, is_single_writer: false, now };
                outbox::note_read(tx, id, &stands, &reader)
            })
            .await?;
        if let ReadVerdict::Held(held) = verdict {
            return unclear(format!("{item} is held: {}", held.because()));
        }
    }
    let stands = context.store.read(move |c| outbox::most_standing(c, id)).await?;
    Ok(Earlier::Closed { old: id, stands })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tells(formula: Option<Formula>, stands: i64, at_old: i64, at_new: i64) -> Option<(i64, bool)> {
        Evidence { formula, stands, at_old, at_new, before: 0, begins_anew: false, is_quiet: false }.tells()
    }

    #[test]
    fn r5_what_is_billed_at_one_of_the_prices_goes_on() {
        assert_eq!(tells(None, 7, 7, 0), Some((7, true)));
        assert_eq!(tells(None, 7, 0, 7), Some((0, false)));
        assert_eq!(tells(Some(Formula::Last), 7, 7, 0), Some((7, true)));
        assert_eq!(tells(Some(Formula::Last), 7, 0, 7), Some((0, false)));
        assert_eq!(tells(Some(Formula::Last), 9, 7, 9), Some((7, true)), "a total was sent after the change");
        assert_eq!(tells(Some(Formula::Sum), 9, 7, 2), Some((7, false)));
        assert_eq!(tells(Some(Formula::SumOfDays), 7, 0, 7), Some((0, false)));
    }

    #[test]
    fn r5_what_does_not_add_up_is_unclear() {
        for formula in [None, Some(Formula::Last), Some(Formula::Sum), Some(Formula::SumOfDays)] {
            assert_eq!(tells(formula, 7, 0, 0), None, "{formula:?}: dropped, or it does not show yet");
            assert_eq!(tells(formula, 7, 5, 0), None, "{formula:?}");
            assert_eq!(tells(formula, 7, 0, 5), None, "{formula:?}");
        }
        assert_eq!(tells(Some(Formula::Sum), 7, 7, 7), None, "billed twice");
        assert_eq!(tells(Some(Formula::SumOfDays), 7, 7, 0), None, "a day cannot be told apart by price");
    }

    #[test]
    fn r5_a_total_that_shows_nowhere_long_after_it_was_sent_was_dropped() {
        let evidence = Evidence {
            formula: Some(Formula::Last),
            stands: 7,
            at_old: 0,
            at_new: 0,
            before: 0,
            begins_anew: false,
            is_quiet: true,
        };
        assert_eq!(evidence.tells(), Some((0, true)));
        assert_eq!(Evidence { formula: Some(Formula::Sum), ..evidence }.tells(), None);
        assert_eq!(Evidence { formula: None, ..evidence }.tells(), None);
    }
}
