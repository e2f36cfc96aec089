//! `expand[]`: ids within an answer replaced by the objects they name.

use serde_json::Value;

use super::books;
use super::call::Call;
use super::customers;
use super::errors::ApiError;
use super::invoices;
use super::payments;
use super::prices;
use super::subscriptions;
use super::test_clocks;

/// Replaces what the request asks for.
pub(super) fn apply(call: &Call<'_>, mut value: Value) -> Result<Value, ApiError> {
    for path in call.form.texts("expand") {
        let segments: Vec<&str> = path.split('.').collect();
        if segments.len() > 4 {
            let message = format!("You cannot expand more than 4 levels of a property (property: {path}).");
            return Err(ApiError::uncoded("expand", message));
        }
        walk(call, &mut value, &segments, &path)?;
    }
    Ok(value)
}

fn walk(call: &Call<'_>, value: &mut Value, segments: &[&str], path: &str) -> Result<(), ApiError> {
    if let Value::Array(elements) = value {
        return elements.iter_mut().try_for_each(|element| walk(call, element, segments, path));
    }
    let Some((name, rest)) = segments.split_first() else { return Ok(()) };
    let cannot = || ApiError::uncoded("expand", format!("This property cannot be expanded ({path})."));
    let fields = value.as_object_mut().ok_or_else(cannot)?;
    let of_invoice = fields.get("object").and_then(Value::as_str) == Some("invoice");
    if *name == "confirmation_secret" && of_invoice && call.version.is_basil() {
        let id = fields.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let secret = payments::confirmation_secret(call.books, &id)?;
        fields.insert((*name).to_owned(), secret);
        return Ok(());
    }
    // Tiers are shown where they are asked for; no price has any here.
    if *name == "tiers" && rest.is_empty() && fields.get("object").and_then(Value::as_str) == Some("price") {
        return Ok(());
    }
    let inner = fields.get_mut(*name).ok_or_else(cannot)?;
    if let Value::String(id) = inner {
        *inner = object(call, name, &id.clone())?.ok_or_else(cannot)?;
    } else if rest.is_empty() && !expandable(name) {
        return Err(cannot());
    }
    if inner.is_null() { Ok(()) } else { walk(call, inner, rest, path) }
}

fn expandable(name: &str) -> bool {
    let names = [
        "customer",
        "latest_invoice",
        "invoice",
        "payment_intent",
        "subscription",
        "product",
        "products",
        "test_clock",
    ];
    names.contains(&name) || name == "default_payment_method"
}

/// The object that a field of this name refers to.
fn object(call: &Call<'_>, name: &str, id: &str) -> Result<Option<Value>, ApiError> {
    Ok(Some(match name {
        "customer" => customers::render(&books::get(call.books, id)?),
        "latest_invoice" | "invoice" => invoices::render(&books::get(call.books, id)?, call.version),
        "payment_intent" => payments::render(&books::get(call.books, id)?),
        "subscription" => subscriptions::render(call.books, &books::get(call.books, id)?, call.version)?,
        "product" => prices::expanded_product(call.books, id)?,
        "test_clock" => test_clocks::render(&books::get(call.books, id)?),
        _ => return Ok(None),
    }))
}
