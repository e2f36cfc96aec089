//! Rule R5: what becomes of a period that is billed on another item or at another price from now on.

use std::sync::Arc;

use super::super::{Context, JobError, deliver};
use super::Checked;
use crate::model::{CustomerId, Formula};
use crate::outbox::{self, ReadVerdict, Reader, RecordState, UsageRecord};
use crate::provider::{BilledAt, RefusalKind};

/// What is known of the period's earlier segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
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
    GoesOn {
        /// Its row.
        row: i64,
        /// Of what stands, the units that are billed at the old price.
        billed: i64,
    },
    /// It cannot be told; a sentence.
    Unclear(String),
}

/// Looks at the earlier segment of each item that is to be billed.
pub(super) async fn look(
    context: &Arc<Context>,
    customer: &CustomerId,
    checked: &[Checked],
) -> Result<Vec<Change>, JobError> {
    let mut changes = Vec::new();
    for checked in checked {
        changes.push(look_at(context, customer, checked).await?);
    }
    Ok(changes)
}

async fn look_at(context: &Arc<Context>, customer: &CustomerId, checked: &Checked) -> Result<Change, JobError> {
    let rows = context.store.read(outbox::unfinished).await?;
    let earlier = rows.into_iter().find(|row| {
        row.customer == *customer
            && row.meter == checked.item.meter
            && row.state == RecordState::Open
            && row.segment_of.is_none()
            && row.period.overlap(checked.period).is_some()
            && (row.item != checked.item.item || row.price != checked.item.price)
    });
    let Some(earlier) = earlier else { return Ok(Change::None) };
    if earlier.period != checked.period {
        return Ok(Change::Unclear(format!(
            "{} was billed on {} before, in a period that overlaps this one",
            earlier.meter, earlier.item
        )));
    }
    let by_the_same_meter = earlier.channel.meter().is_some() && earlier.channel == checked.item.channel;
    if earlier.item == checked.item.item || by_the_same_meter {
        same_record(context, &earlier).await
    } else {
        other_record(context, &earlier).await
    }
}

/// Whether the old amount is still going to be billed is the provider's to say, on an invoice or its preview.
async fn same_record(context: &Arc<Context>, earlier: &UsageRecord) -> Result<Change, JobError> {
    let at = BilledAt {
        subscription: earlier.subscription.clone(),
        item: earlier.item.clone(),
        price: earlier.price.clone(),
        since: earlier.period.from,
    };
    let answer = context.settings().provider.read_billed(&at).await;
    context.note_date(&answer);
    let (item, price) = (&earlier.item, &earlier.price);
    Ok(match (answer.value, earlier.channel.formula()) {
        (Err(error), _) => Change::Unclear(format!(
            "the price of {item} changed from {price}, and whether what stood is billed at it cannot be read: {error}"
        )),
        (Ok(billed), None | Some(Formula::Last)) => Change::GoesOn { row: earlier.id, billed },
        // Increments before the change are billed at the old price, those after it at the new one.
        (Ok(_), Some(Formula::Sum)) | (Ok(0), _) => Change::GoesOn { row: earlier.id, billed: 0 },
        (Ok(billed), Some(Formula::SumOfDays)) => Change::Unclear(format!(
            "{billed} units are billed on {item} at {price} already, and a day's share cannot be told apart by price"
        )),
    })
}

/// Pushes what is left, then reads what stands. Where that is gone with its item, the most that may stand counts.
async fn other_record(context: &Arc<Context>, earlier: &UsageRecord) -> Result<Change, JobError> {
    let id = earlier.id;
    if earlier.held.is_none() {
        deliver::deliver_one(context, id).await?;
    }
    let answer =
        context.settings().provider.read_current(&deliver::destination(earlier), deliver::window(earlier)).await;
    context.note_date(&answer);
    let now = context.now();
    let found = match answer.value {
        Ok(standing) => deliver::stands(standing),
        Err(error) if error.refusal.kind == RefusalKind::Missing => None,
        Err(error) => return Ok(Change::Unclear(format!("what stands on {} cannot be read: {error}", earlier.item))),
    };
    let Some(stands) = found else {
        let most = context.store.read(move |c| outbox::most_standing(c, id)).await?;
        return Ok(Change::Closed { old: id, stands: most });
    };
    let generation = context.generation();
    let verdict = context
        .store
        .write(move |tx| {
            let reader = Reader { generation: &generation, is_single_writer: false, now };
            outbox::note_read(tx, id, &stands, &reader)
        })
        .await?;
    if let ReadVerdict::Held(held) = verdict {
        return Ok(Change::Unclear(format!("{} is held: {}", earlier.item, held.because())));
    }
    let most = context.store.read(move |c| outbox::most_standing(c, id)).await?;
    Ok(Change::Closed { old: id, stands: most })
}
