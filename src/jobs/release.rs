//! Release: a human settles what is held (rule S5).

use std::sync::Arc;

use serde_json::json;

use super::{Context, JobError, roll_up, stands};
use crate::model::{Channel, Formula, ItemId};
use crate::outbox::{self, UsageRecord};
use crate::store::{Tx, audit};
use crate::wire::{ReleaseReport, ReleaseRequest, SCHEMA};

const SEGMENT: &str = "segment_changed";
const MISSING: &str = "item_missing";
const LOST: &str = "ledger_damaged";

/// The command that settles a change of item or price.
pub(super) fn link_again(record: &UsageRecord) -> String {
    format!("usagectl link --customer {} --subscription {}", record.customer, record.subscription)
}

/// Reads what stands now, and lets the held row go on from there. Of several held periods of the item it is the oldest
/// whose total may still be sent.
pub async fn release(context: &Arc<Context>, request: &ReleaseRequest, actor: &str) -> Result<ReleaseReport, JobError> {
    let _one_at_a_time = context.pushing.lock().await;
    let item = ItemId::new(&*request.item)
        .map_err(|error| JobError::refused("bad_id", error.to_string(), "usagectl status names the item"))?;
    // What is taken over is measured by what was used until now.
    roll_up::roll_up(context).await?;
    let wanted = item.clone();
    let records = context.store.read(outbox::unfinished).await?;
    let is_held = |r: &&UsageRecord| r.item == wanted && r.takes_totals() && r.held.is_some();
    let Some(record) = records.iter().find(is_held) else {
        if let Some(report) = leave_unseen(context, &item, request, actor).await? {
            return Ok(report);
        }
        return Err(JobError::refused(
            "not_held",
            format!("nothing is held for {item}"),
            "usagectl status lists what is held",
        ));
    };
    refuse_segment(record)?;
    refuse_lost_sum(record)?;
    let stands = stands::stands(stands::read(context, record).await?).ok_or_else(|| {
        JobError::refused("period_rolled", "the provider has begun another period", "usagectl sync, then look again")
    })?;
    let what = what(record, stands.total, request.adopt);
    let (record, adopt, now) = (record.clone(), request.adopt, context.now());
    let (because, actor) = (request.because.clone(), actor.to_owned());
    let taken = move |tx: &Tx<'_>| outbox::take_over(tx, &record, &stands, adopt, &because, &actor, now);
    context.store.write(taken).await?;
    Ok(ReleaseReport { schema: SCHEMA, item: item.to_string(), what })
}

/// Stretches of an item in which periods came and went unseen are left as they are: somebody has looked at them.
async fn leave_unseen(
    context: &Arc<Context>,
    item: &ItemId,
    request: &ReleaseRequest,
    actor: &str,
) -> Result<Option<ReleaseReport>, JobError> {
    let (of, because, actor, now) = (item.clone(), request.because.clone(), actor.to_owned(), context.now());
    let left = context.store.write(move |tx| {
        let mut left = 0_u32;
        for stretch in outbox::unseen(tx)?.into_iter().filter(|stretch| stretch.item == of) {
            outbox::forget_unseen(tx, &stretch)?;
            let detail = json!({"from": stretch.span.from, "to": stretch.span.to, "because": because});
            audit::append(tx, now, &actor, "unseen.left", of.as_str(), &detail)?;
            left = left.saturating_add(1);
        }
        Ok::<_, JobError>(left)
    });
    let what = match left.await? {
        0 => return Ok(None),
        n => format!(
            "{n} stretches of time without a known period are left as they are: not billed, and not named any more"
        ),
    };
    Ok(Some(ReleaseReport { schema: SCHEMA, item: item.to_string(), what }))
}

/// What stands is the sum of several VMs, so it cannot be what this one goes on from (rule S10).
fn refuse_lost_sum(record: &UsageRecord) -> Result<(), JobError> {
    let is_lost = record.held.as_ref().is_some_and(|(code, _)| code == LOST);
    if !(record.shared && is_lost) {
        return Ok(());
    }
    Err(JobError::refused(
        LOST,
        format!("several VMs add up on {}, and usage.db lost what this one sent of it", record.item),
        "leave it: the next period goes on by itself, and what is missing in this one is listed when it closes",
    ))
}

/// A total may be billed twice on a row whose price changed inside its period, whichever of the two is chosen.
fn refuse_segment(record: &UsageRecord) -> Result<(), JobError> {
    match &record.held {
        Some((code, because)) if code == SEGMENT => {
            let what =
                format!("{} is held because {because}: neither to adopt nor to overwrite settles that", record.item);
            Err(JobError::refused("segment_changed", what, link_again(record)))
        }
        _ => Ok(()),
    }
}

/// What settles a held row, by the code it is held under.
pub(super) fn way_out(item: &ItemId, code: &str) -> String {
    match code {
        SEGMENT => "usagectl link again, so that what the item costs now is known from the next period on; what is \
                    missing in this one is listed when it closes, to be billed by hand"
            .to_owned(),
        MISSING => format!(
            "gone for good: usagectl link to the item in its place; or was the key of another account: put the right one \
             in place, then: usagectl release {item} --overwrite --because …"
        ),
        "probe_unclear" => format!(
            "usagectl release {item} --adopt --because … leaves all that stands and goes on top of it; --overwrite is \
             held again where it lies beside our own record"
        ),
        _ => format!(
            "usagectl release {item} --adopt or --overwrite --because …: what stands is kept, and ours goes on top of it, or \
             our own total takes its place"
        ),
    }
}

/// Whether a held row is one of figures that differ, which a comparison shows.
pub(super) fn is_about_figures(code: &str) -> bool {
    !matches!(code, SEGMENT | MISSING)
}

/// What becomes of what stands, by the channel's own measure.
fn what(record: &UsageRecord, total: i64, adopt: bool) -> String {
    let UsageRecord { item, channel, .. } = record;
    if adopt {
        return format!("the {total} units that stand on {item} stay; later usage goes on top of them");
    }
    match (channel, channel.formula()) {
        (_, Some(Formula::Sum)) => {
            format!(
                "the next push adds to the {total} units that stand on {item}, or takes off, what our own total differs by"
            )
        }
        (_, Some(Formula::SumOfDays)) => {
            format!("the next push sets our own share over each day of the {total} units that stand on {item}")
        }
        (Channel::UsageRecords, _) => format!(
            "the next push sets our own total over the {total} units that stand on {item}, and reads whether it met them"
        ),
        _ => format!("the next push sets our own total over the {total} units that stand on {item}"),
    }
}
