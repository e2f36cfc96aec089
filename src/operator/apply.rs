//! Makes Stripe as the catalog says.

use serde::Serialize;

use super::caller::Caller;
use super::catalog::{Catalog, Window};
use super::diff::{Action, AtStripe, Change};
use super::form::Form;
use super::report::Names;
use super::{Kind, OperatorError};

/// What the catalog asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogReport {
    /// How usage reaches Stripe.
    pub kind: Kind,
    /// Every object of the catalog; with `id` where it is there by now.
    pub changes: Vec<Change>,
    /// Objects that are not as the catalog says; after it was applied, that were not.
    pub differ: usize,
}

impl Names for CatalogReport {
    fn named(&self) -> Option<&str> {
        None
    }
}

/// Compares; nothing is changed.
pub async fn plan(caller: &Caller, catalog: &Catalog) -> Result<CatalogReport, OperatorError> {
    let changes = AtStripe::read(caller, catalog).await?.compare(catalog);
    let differ = changes.iter().filter(|change| change.action != Action::Keep).count();
    Ok(CatalogReport { kind: catalog.kind, changes, differ })
}

/// Does what was planned, one object after the other; `done` hears of each.
pub async fn apply(
    caller: &Caller,
    catalog: &Catalog,
    mut report: CatalogReport,
    mut done: impl FnMut(&Change),
) -> Result<CatalogReport, OperatorError> {
    refuse_blocked(&report)?;
    let mut meters: Vec<(String, String)> = report.meters();
    for change in report.changes.iter_mut().filter(|change| change.action != Action::Keep) {
        let id = match change.object {
            "product" => product(caller, catalog, change).await?,
            "meter" => {
                let id = meter(caller, catalog, change).await?;
                meters.retain(|(name, _)| *name != change.name);
                meters.push((change.name.clone(), id.clone()));
                id
            }
            _ => price(caller, catalog, change, &meters).await?,
        };
        change.id = Some(id);
        done(change);
    }
    Ok(report)
}

impl CatalogReport {
    /// Meters that are there, by the name of their events.
    fn meters(&self) -> Vec<(String, String)> {
        let meters = self.changes.iter().filter(|change| change.object == "meter");
        meters.filter_map(|meter| Some((meter.name.clone(), meter.id.clone()?))).collect()
    }
}

fn refuse_blocked(report: &CatalogReport) -> Result<(), OperatorError> {
    let Some(blocked) = report.changes.iter().find(|change| change.action == Action::Blocked) else { return Ok(()) };
    let what = format!("the {} {} is in the way: {}", blocked.object, blocked.name, blocked.why.join("; "));
    Err(OperatorError::refused("blocked", what, "nothing was changed; see: usagectl stripe catalog plan"))
}

async fn product(caller: &Caller, catalog: &Catalog, change: &Change) -> Result<String, OperatorError> {
    let Some(wanted) = catalog.products.get(&change.name) else { return Ok(change.name.clone()) };
    let form = Form::new().with("name", &wanted.name).with_some("description", wanted.description.as_ref());
    let made = match &change.id {
        None => {
            let what = format!("cannot create the product {}", change.name);
            let form = Form::new().with("id", &change.name).with_all(form);
            caller.change(&what, "/v1/products", form).await?
        }
        Some(id) => {
            let what = format!("cannot change the product {id}");
            caller.change(&what, &format!("/v1/products/{id}"), form.with("active", "true")).await?
        }
    };
    Ok(made.id)
}

async fn meter(caller: &Caller, catalog: &Catalog, change: &Change) -> Result<String, OperatorError> {
    let Some(wanted) = catalog.meters.get(&change.name) else { return Ok(change.name.clone()) };
    let Some(id) = &change.id else {
        let form = Form::new()
            .with("display_name", &wanted.display_name)
            .with("event_name", &change.name)
            .with("default_aggregation[formula]", wanted.aggregation.word())
            .with_some("event_time_window", wanted.window.map(Window::word));
        return Ok(caller
            .change(&format!("cannot create the meter {}", change.name), "/v1/billing/meters", form)
            .await?
            .id);
    };
    let what = format!("cannot change the meter {id}");
    if change.why.iter().any(|why| why == "it is inactive") {
        caller.change(&what, &format!("/v1/billing/meters/{id}/reactivate"), Form::new()).await?;
    }
    let form = Form::new().with("display_name", &wanted.display_name);
    caller.change(&what, &format!("/v1/billing/meters/{id}"), form).await?;
    Ok(id.clone())
}

async fn price(
    caller: &Caller,
    catalog: &Catalog,
    change: &Change,
    meters: &[(String, String)],
) -> Result<String, OperatorError> {
    let Some(wanted) = catalog.prices.get(&change.name) else { return Ok(change.name.clone()) };
    if let (Action::Update, Some(id)) = (change.action, &change.id) {
        let form = Form::new().with("active", "true").with_some("nickname", wanted.nickname.as_ref());
        return Ok(caller
            .change(&format!("cannot change the price {id}"), &format!("/v1/prices/{id}"), form)
            .await?
            .id);
    }
    let amount = wanted.amount.in_smallest(&catalog.currency).unwrap_or_default();
    let mut form = Form::new()
        .with("currency", &catalog.currency)
        .with("product", &wanted.product)
        .with("unit_amount_decimal", amount.to_string())
        .with("lookup_key", &change.name)
        .with_some("nickname", wanted.nickname.as_ref())
        .with("recurring[interval]", wanted.interval.word());
    if let Some(meter) = &wanted.meter {
        form = form.with("recurring[usage_type]", "metered");
        let id = meters.iter().find(|(name, _)| name == meter).map(|(_, id)| id);
        form = form.with_some("recurring[meter]", id.filter(|_| catalog.kind == Kind::StripeMeters));
    }
    if change.action == Action::Replace {
        form = form.with("transfer_lookup_key", "true");
    }
    Ok(caller.change(&format!("cannot create the price {}", change.name), "/v1/prices", form).await?.id)
}
