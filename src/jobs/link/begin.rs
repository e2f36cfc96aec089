//! The link's own transaction.

use super::super::{JobError, periods};
use super::Checked;
use crate::account::{self, NewLink};
use crate::ledger;
use crate::model::{ItemId, Timestamp};
use crate::outbox::{self, Generation, Held};
use crate::store::Tx;

pub(super) fn begin(
    tx: &Tx<'_>,
    new: &NewLink,
    checked: &[Checked],
    billable: bool,
    on_top: bool,
    generation: &Generation,
    now: Timestamp,
) -> Result<(), JobError> {
    refuse_overlap(tx, new, now)?;
    let link = account::begin(tx, new, now)?;
    ledger::boundaries::note(tx, link.from, "link")?;
    for checked in checked {
        ledger::boundaries::note(tx, checked.period.from, "period")?;
        ledger::boundaries::note(tx, checked.period.to, "period")?;
        if link.from >= checked.period.to {
            continue;
        }
        let segment = other_item_in_period(tx, new, checked)?;
        let id = outbox::ensure(tx, &periods::new_record(&link, &checked.item, checked.period, billable))?;
        if outbox::by_id(tx, id)?.price != checked.item.price {
            let what = format!("the price of {} changed inside the period", checked.item.item);
            outbox::hold(tx, id, &Held::Segment { what }, now)?;
        }
        if let Some(other) = segment {
            let what = format!("{} was billed on {other} before, in the same period", checked.item.meter);
            outbox::hold(tx, id, &Held::Segment { what }, now)?;
        }
        // What this ledger knows already is compared by the read before the next push (rule S5).
        let unread = outbox::by_id(tx, id)?.standing.is_none();
        if unread && !checked.item.shared && (on_top || checked.stands.total == 0) {
            outbox::note_first_read(tx, id, &checked.stands, generation, now)?;
        }
    }
    Ok(())
}

/// Rule R1: no moment belongs to two links, and another customer's usage never moves.
fn refuse_overlap(tx: &Tx<'_>, new: &NewLink, now: Timestamp) -> Result<(), JobError> {
    for link in account::all(tx)? {
        let end = match link.to {
            Some(to) if link.from < to && to <= now => to,
            // In force still, if only until a link begins that this one takes the place of.
            _ if link.customer != new.customer && link.from < now && link.to.is_none_or(|to| now < to) => now,
            _ => continue,
        };
        if new.from < end {
            return Err(JobError::refused(
                "overlaps",
                format!("until {end} this VM was linked to {} on {}", link.customer, link.subscription),
                "leave --from out to start now",
            ));
        }
    }
    Ok(())
}

/// Rule R5: the same meter of the same customer, billed on another item in a period that overlaps this one.
fn other_item_in_period(tx: &Tx<'_>, new: &NewLink, checked: &Checked) -> Result<Option<ItemId>, JobError> {
    let same = |record: &outbox::UsageRecord| {
        record.customer == new.customer
            && record.meter == checked.item.meter
            && record.item != checked.item.item
            && record.period.overlap(checked.period).is_some()
    };
    Ok(outbox::unfinished(tx)?.into_iter().find(same).map(|record| record.item))
}
