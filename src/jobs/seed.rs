//! Seed: the first link, from ids in the environment (rule R1).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, JobError, link};
use crate::account;
use crate::config::LinkSeed;
use crate::model::Problem;
use crate::provider::Provider;
use crate::store;
use crate::wire::LinkRequest;

const FAILED: &str = "seed_failed";
const DIFFERS: &str = "seed_differs";

/// Links by the environment's ids where this ledger was never linked. Safe to repeat; a failure is a problem in status
/// and is tried again with the next push.
pub async fn seed(context: &Arc<Context>) -> Result<(), JobError> {
    let settings = context.settings();
    let Some(request) = request(&settings.config.seed) else {
        context.clear(FAILED);
        context.clear(DIFFERS);
        return Ok(());
    };
    if matches!(settings.provider, Provider::None) {
        return Ok(());
    }
    let Some(latest) = context.store.read(account::latest).await? else {
        if let Some((what, hint)) = not_by_itself(context, &request.subscription).await? {
            context.raise(Problem::needs_someone(FAILED, what, hint));
            return Ok(());
        }
        match link::link(context, &request, "usaged").await {
            Ok(_) => context.clear(FAILED),
            Err(error) => context.raise(Problem::needs_someone(
                FAILED,
                format!("the link that the environment asks for was not made: {error}"),
                error.hint().unwrap_or_else(|| "it is tried again by itself".to_owned()),
            )),
        }
        return Ok(());
    };
    // However the link came about, it is there.
    context.clear(FAILED);
    if latest.customer.as_str() == request.customer && latest.subscription.as_str() == request.subscription {
        context.clear(DIFFERS);
    } else {
        context.raise(Problem::needs_someone(
            DIFFERS,
            format!(
                "the environment names {} on {}, this VM is linked to {} on {}",
                request.customer, request.subscription, latest.customer, latest.subscription
            ),
            "the environment seeds only the first link: usagectl link to change it, or correct the environment",
        ));
    }
    Ok(())
}

/// Why a ledger without a link is not linked by itself, and what to do: another one may have billed on that subscription.
pub(super) async fn not_by_itself(
    context: &Context,
    subscription: &str,
) -> Result<Option<(String, &'static str)>, JobError> {
    let before = context.store.read(store::begun_anew).await?;
    if before.is_some_and(|before| before.subscription.as_deref() == Some(subscription)) {
        return Ok(Some((
            format!("{subscription} is what the ledger that was set aside was linked to (rule S11)"),
            "give this VM its own ids in usaged.env; or, if it is to go on with that subscription: usagectl link",
        )));
    }
    let lost = context.store.read(account::lost_links).await?;
    Ok(lost.map(|name| {
        (
            format!("usage.db was damaged, and the link of this VM was lost with it; the damaged file is {name}"),
            "usagectl link: what stands at the provider is read first",
        )
    }))
}

fn request(seed: &LinkSeed) -> Option<LinkRequest> {
    let (customer, subscription) = (seed.customer.as_ref()?, seed.subscription.as_ref()?);
    let named = [("compute_hours", &seed.item_compute), ("api_credits", &seed.item_api)];
    let items: BTreeMap<String, String> =
        named.into_iter().filter_map(|(meter, item)| Some((meter.to_owned(), item.as_ref()?.to_string()))).collect();
    Some(LinkRequest {
        customer: customer.to_string(),
        subscription: subscription.to_string(),
        plan: seed.plan.as_ref().map(ToString::to_string),
        items,
        ..LinkRequest::default()
    })
}
