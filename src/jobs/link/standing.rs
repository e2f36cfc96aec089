//! Rules S4 and S10: whether anybody else bills on an item.

use std::sync::Arc;

use super::super::{Context, JobError, stands};
use super::Checked;
use crate::account::Item;
use crate::model::{CustomerId, MachineIdentity};
use crate::outbox::{self, Stands};
use crate::provider::{Destination, ItemView, Window};
use crate::wire::LinkRequest;

/// Rules S4 and S10: nobody else may be billing on these items, unless the operator says what to do about it.
pub(super) async fn check_items(
    context: &Arc<Context>,
    customer: &CustomerId,
    items: Vec<(Item, ItemView)>,
    request: &LinkRequest,
) -> Result<Vec<Checked>, JobError> {
    let mut checked = Vec::new();
    for (item, view) in items {
        if !request.shared {
            check_claim(context, &view)?;
        }
        let of = Destination { item: item.item.clone(), customer: customer.clone(), channel: item.channel.clone() };
        let timestamp_s = outbox::timestamp_s(view.period.from.secs(), item.created_s);
        let window = Window { period: view.period, timestamp_s };
        let answer = context.settings().provider.read_current(&of, window).await;
        context.note_date(&answer);
        let found = stands::stands(answer.value?).unwrap_or(Stands { total: 0, days: None });
        let from = view.period.from;
        let known =
            context.store.read(move |c| outbox::known_standing(c, &of.item, &of.customer, &of.channel, from)).await?;
        let stands = found.total;
        if stands > 0 && known.is_none() && !request.shared && !request.on_top && !request.from_next_period {
            return Err(JobError::refused(
                "something_stands",
                format!(
                    "{stands} units stand on {} in this period already, and this VM did not put them there",
                    item.item
                ),
                "an item, and a customer's meter, belong to one VM: give this VM its own item or customer; or bill on top of \
                 what stands (--on-top); or begin with the next period (--from-next-period)",
            ));
        }
        checked.push(Checked { item, period: view.period, stands: found });
    }
    Ok(checked)
}

fn check_claim(context: &Context, view: &ItemView) -> Result<(), JobError> {
    let ours = context.identity();
    match &view.claim {
        Some(claim) if ours.is_unknown() || !ours.may_be(&MachineIdentity::parse(claim)) => Err(JobError::refused(
            "claimed",
            format!("the item {} is claimed by another machine, {claim} (rule S10)", view.id),
            "give this VM its own item or customer; or, if that machine is gone, remove the item's metadata usaged_machine",
        )),
        _ => Ok(()),
    }
}
