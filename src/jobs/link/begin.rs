//! The link's own transaction.

use super::super::{JobError, periods};
use super::Checked;
use super::segment::{Change, Earlier};
use crate::account::{self, Link, NewLink};
use crate::ledger;
use crate::model::Timestamp;
use crate::outbox::{self, At, Generation, Held};
use crate::store::Tx;

/// In which circumstances a link begins.
pub(super) struct Terms {
    /// Whether the subscription makes invoices.
    pub(super) billable: bool,
    /// Whether what stands stays, and ours goes on top of it.
    pub(super) on_top: bool,
    pub(super) generation: Generation,
    pub(super) at: At,
}

pub(super) fn begin(
    tx: &Tx<'_>,
    new: &NewLink,
    checked: &[Checked],
    changes: &[Change],
    terms: &Terms,
) -> Result<(), JobError> {
    refuse_overlap(tx, new, terms.at.now)?;
    let link = account::begin(tx, new, terms.at.now)?;
    ledger::boundaries::note(tx, link.from, "link")?;
    for (checked, change) in checked.iter().zip(changes) {
        ledger::boundaries::note(tx, checked.period.from, "period")?;
        ledger::boundaries::note(tx, checked.period.to, "period")?;
        if link.from < checked.period.to {
            begin_item(tx, &link, checked, change, terms)?;
        }
    }
    Ok(())
}

/// The row of an item in its current period, as the earlier segment of that period asks for (rule R5).
fn begin_item(tx: &Tx<'_>, link: &Link, checked: &Checked, change: &Change, terms: &Terms) -> Result<(), JobError> {
    let new = periods::new_record(link, &checked.item, checked.period, terms.billable);
    let now = terms.at.now;
    match &change.earlier {
        Earlier::GoesOn(on) => outbox::go_on(tx, *on, &new, terms.at)?,
        Earlier::Unclear { row: Some(row), what } => {
            outbox::bill_together(tx, *row, &new, now)?;
            return Ok(outbox::hold(tx, *row, &Held::Segment { what: what.clone() }, now)?);
        }
        _ => {}
    }
    let id = outbox::ensure(tx, &new)?;
    match &change.earlier {
        Earlier::None | Earlier::GoesOn(_) => {}
        Earlier::Closed { old, stands } => outbox::close_segment(tx, *old, id, *stands, now)?,
        Earlier::Unclear { what, .. } => {
            return Ok(outbox::hold(tx, id, &Held::Segment { what: what.clone() }, now)?);
        }
    }
    for blank in &change.blank {
        outbox::close_segment(tx, *blank, id, 0, now)?;
    }
    // What this ledger knows already is compared by the read before the next push (rule S5).
    let record = outbox::by_id(tx, id)?;
    let is_lost = outbox::takes_a_lost_place(tx, &record)? && terms.on_top;
    let is_unread = (record.standing.is_none() || is_lost) && record.revision == 0 && !record.shared;
    if is_unread && (terms.on_top || checked.stands.total == 0) {
        outbox::note_first_read(tx, id, &checked.stands, &terms.generation, now)?;
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
