//! A customer, found by the vendor's own id in its metadata.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OperatorError;
use super::caller::Caller;
use super::catalog::Catalog;
use super::form::Form;
use super::report::Names;

/// Who is to be a customer.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// The vendor's own id, which is unique.
    pub own_id: String,
    /// Where invoices go.
    pub email: String,
    /// On invoices.
    pub name: Option<String>,
    /// The VM that is billed to it.
    pub vm_id: Option<String>,
    /// A test card, as `pm_card_visa`: pays by itself, in test mode only.
    pub payment_method: Option<String>,
    /// A test clock, in whose time it lives.
    pub test_clock: Option<String>,
}

/// A customer at Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CustomerReport {
    /// Whether it was made now; else it was there.
    pub created: bool,
    /// What was changed about the one that was there.
    pub updated: Vec<&'static str>,
    /// `cus_…`.
    pub customer: String,
    /// The vendor's own id.
    pub own_id: String,
}

impl Names for CustomerReport {
    fn named(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

#[derive(Debug, Deserialize)]
struct CustomerAtStripe {
    id: String,
    email: Option<String>,
    name: Option<String>,
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
}

/// Finds the customer of this own id, or makes it. What differs about one that is there is put right.
pub async fn create(caller: &Caller, catalog: &Catalog, new: &NewCustomer) -> Result<CustomerReport, OperatorError> {
    refuse_unsearchable(&new.own_id)?;
    if let Some(found) = find(caller, catalog, new).await? {
        return update(caller, catalog, new, found).await;
    }
    let form = form(catalog, new);
    let made = match make(caller, new, &form, "").await {
        // Stripe failed and keeps its answer: whether it made one is seen, or it is asked under another key.
        Err(error) if error.has_used_up_its_key() => match find(caller, catalog, new).await? {
            Some(found) => found.id,
            None => make(caller, new, &form, caller.run()).await?,
        },
        made => made?,
    };
    Ok(CustomerReport { created: true, updated: Vec::new(), customer: made, own_id: new.own_id.clone() })
}

/// Under a key that every run has which makes the same customer: what was made a moment ago is not found yet.
async fn make(caller: &Caller, new: &NewCustomer, form: &Form, again: &str) -> Result<String, OperatorError> {
    let what = format!("cannot create the customer {}", new.own_id);
    let key = format!("usagectl-customer-{}-{:016x}{again}", new.own_id, form.fingerprint());
    Ok(caller.change_under(&what, "/v1/customers", form.clone(), &key).await?.id)
}

fn form(catalog: &Catalog, new: &NewCustomer) -> Form {
    let names = &catalog.metadata;
    let form = Form::new()
        .with("email", &new.email)
        .with_some("name", new.name.as_ref())
        .with(format!("metadata[{}]", names.customer_id), &new.own_id)
        .with_some(&format!("metadata[{}]", names.vm_id), new.vm_id.as_ref())
        .with_some("test_clock", new.test_clock.as_ref());
    match &new.payment_method {
        None => form,
        Some(method) => form.with("payment_method", method).with("invoice_settings[default_payment_method]", method),
    }
}

/// By search, which lags by up to a minute; and among those of the same address, which does not.
async fn find(
    caller: &Caller,
    catalog: &Catalog,
    new: &NewCustomer,
) -> Result<Option<CustomerAtStripe>, OperatorError> {
    let name = &catalog.metadata.customer_id;
    let query = Form::new().with("query", format!("metadata['{name}']:'{}'", new.own_id)).with("limit", "2");
    let what = format!("cannot look for the customer {}", new.own_id);
    let found = caller.read(&what, "/v1/customers/search", &query).await?;
    let mut found = listed(&what, found)?;
    let query = Form::new().with("email", &new.email).with_some("test_clock", new.test_clock.as_ref());
    let of_address: Vec<CustomerAtStripe> = caller.list(&what, "/v1/customers", &query).await?;
    found.extend(of_address);
    found.retain(|customer| customer.metadata.get(name) == Some(&new.own_id));
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.dedup_by(|one, other| one.id == other.id);
    match found.as_slice() {
        [_, _, ..] => {
            let ids: Vec<&str> = found.iter().map(|customer| customer.id.as_str()).collect();
            let what = format!("several customers have {name} = {}: {}", new.own_id, ids.join(", "));
            Err(OperatorError::refused(
                "several",
                what,
                "delete all but one, or change their metadata, in the dashboard",
            ))
        }
        _ => Ok(found.pop()),
    }
}

fn listed(what: &str, mut page: Value) -> Result<Vec<CustomerAtStripe>, OperatorError> {
    super::caller::decode(what, page.get_mut("data").map(Value::take).unwrap_or_default())
}

async fn update(
    caller: &Caller,
    catalog: &Catalog,
    new: &NewCustomer,
    found: CustomerAtStripe,
) -> Result<CustomerReport, OperatorError> {
    let mut updated = Vec::new();
    let mut form = Form::new();
    if found.email.as_ref() != Some(&new.email) {
        updated.push("email");
        form = form.with("email", &new.email);
    }
    if new.name.is_some() && found.name != new.name {
        updated.push("name");
        form = form.with_some("name", new.name.as_ref());
    }
    let vm_name = &catalog.metadata.vm_id;
    if new.vm_id.is_some() && found.metadata.get(vm_name) != new.vm_id.as_ref() {
        updated.push("vm_id");
        form = form.with_some(&format!("metadata[{vm_name}]"), new.vm_id.as_ref());
    }
    if !form.is_empty() {
        let what = format!("cannot change the customer {}", found.id);
        caller.change(&what, &format!("/v1/customers/{}", found.id), form).await?;
    }
    Ok(CustomerReport { created: false, updated, customer: found.id, own_id: new.own_id.clone() })
}

/// What would end the quotes of a search is no id of a customer.
fn refuse_unsearchable(own_id: &str) -> Result<(), OperatorError> {
    let is_plain = |c: char| !c.is_control() && !['\'', '"', '\\'].contains(&c);
    if !own_id.is_empty() && own_id.len() <= 100 && own_id.chars().all(is_plain) {
        return Ok(());
    }
    let what = format!("{own_id:?} cannot be a customer's own id");
    Err(OperatorError::refused("bad_id", what, "it has 1 to 100 characters, no quotes and no backslash"))
}
