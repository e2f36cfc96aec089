//! Searching, as far as finding an object by the metadata that its owner gave it.
//!
//! <https://docs.stripe.com/search>. Stripe's search lags by up to a minute; this one does not.

use serde_json::{Value, json};

use super::books;
use super::call::Call;
use super::customers::{self, Customer};
use super::errors::ApiError;

/// `GET /v1/customers/search`.
pub(super) fn customers(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["query", "limit", "page"])?;
    let (name, value) = metadata_clause(call.form.required("query")?)?;
    if call.form.has("page") {
        return Err(ApiError::not_kept("page", "a further page of a search"));
    }
    let limit = call.form.integer("limit")?.unwrap_or(10);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::uncoded("limit", "This value must be between 1 and 100."))?;
    let mut found: Vec<Customer> = books::all(call.books, None)?;
    found.retain(|customer| customer.metadata.get(name).is_some_and(|held| held == value));
    found.reverse();
    let data: Vec<Value> = found.iter().take(limit).map(customers::render).collect();
    Ok(json!({
        "object": "search_result",
        "data": data,
        "has_more": found.len() > limit,
        "next_page": null,
        "url": "/v1/customers/search",
    }))
}

/// `metadata['name']:'value'`, in either kind of quotes.
fn metadata_clause(query: &str) -> Result<(&str, &str), ApiError> {
    let clause = || {
        let (name, value) = query.trim().strip_prefix("metadata[")?.split_once("]:")?;
        Some((quoted(name)?, quoted(value)?))
    };
    clause().ok_or_else(|| ApiError::not_kept("query", "a search by anything but one metadata field"))
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    })
}
