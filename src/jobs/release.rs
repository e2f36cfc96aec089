//! Release: a human settles what is held (rule S5).

use std::sync::Arc;

use serde_json::json;

use super::deliver::{destination, stands, window};
use super::{Context, JobError};
use crate::model::ItemId;
use crate::outbox::{self, RecordState, UsageRecord};
use crate::store::{Tx, audit};
use crate::wire::{ReleaseReport, ReleaseRequest, SCHEMA};

/// The command that settles a change of item or price.
pub(super) fn link_again(record: &UsageRecord) -> String {
    format!("usagectl link --customer {} --subscription {}", record.customer, record.subscription)
}

/// Reads what stands now, and lets the held row go on from there.
pub async fn release(context: &Arc<Context>, request: &ReleaseRequest, actor: &str) -> Result<ReleaseReport, JobError> {
    let _one_at_a_time = context.pushing.lock().await;
    let item = ItemId::new(&*request.item)
        .map_err(|error| JobError::refused("bad_id", error.to_string(), "usagectl status names the item"))?;
    let wanted = item.clone();
    let records = context.store.read(outbox::unfinished).await?;
    let is_held = |r: &&UsageRecord| r.item == wanted && r.state == RecordState::Open && r.held.is_some();
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
    if record.held.as_ref().is_some_and(|(code, _)| code == "segment_changed") {
        return Err(JobError::refused(
            "segment_changed",
            format!("{item} is held because item or price changed, and only a link can go on from there (rule R5)"),
            link_again(record),
        ));
    }
    let answer = context.settings().provider.read_current(&destination(record), window(record)).await;
    context.note_date(&answer);
    let stands = stands(answer.value?).ok_or_else(|| {
        JobError::refused("period_rolled", "the provider has begun another period", "usagectl sync, then look again")
    })?;
    let (record, adopt, now, total) = (record.clone(), request.adopt, context.now(), stands.total);
    let (because, actor) = (request.because.clone(), actor.to_owned());
    let taken = move |tx: &Tx<'_>| outbox::take_over(tx, &record, &stands, adopt, &because, &actor, now);
    context.store.write(taken).await?;
    let what = if adopt {
        format!("the {total} units that stand on {item} stay; later usage goes on top of them")
    } else {
        format!("the next push sets our own total over the {total} units that stand on {item}")
    };
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
