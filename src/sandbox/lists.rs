//! List objects, newest first, in pages.

use serde_json::{Value, json};

use super::call::Call;
use super::errors::ApiError;

/// A page of these rendered objects, which come oldest first.
pub(super) fn page(call: &Call<'_>, url: &str, mut rendered: Vec<Value>) -> Result<Value, ApiError> {
    rendered.reverse();
    newest_first(call, url, rendered)
}

/// A page of these rendered objects, which come in the order they are shown in.
pub(super) fn newest_first(call: &Call<'_>, url: &str, rendered: Vec<Value>) -> Result<Value, ApiError> {
    let limit = limit(call)?;
    let position = |name: &str| -> Result<Option<usize>, ApiError> {
        let Some(id) = call.form.text(name)? else { return Ok(None) };
        let found = rendered.iter().position(|one| one.get("id").and_then(Value::as_str) == Some(id));
        found.map(Some).ok_or_else(|| ApiError::no_such_at(name, "object", id))
    };
    let count = rendered.len();
    let (from, to) = match (position("starting_after")?, position("ending_before")?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::malformed("You can only provide one of ending_before and starting_after."));
        }
        (Some(after), None) => {
            let from = after.saturating_add(1);
            (from, from.saturating_add(limit).min(count))
        }
        (None, Some(before)) => (before.saturating_sub(limit), before),
        (None, None) => (0, limit.min(count)),
    };
    let backwards = call.form.has("ending_before");
    let has_more = if backwards { from > 0 } else { to < count };
    let data: Vec<Value> = rendered.into_iter().take(to).skip(from).collect();
    Ok(json!({ "object": "list", "data": data, "has_more": has_more, "url": url }))
}

/// All of them in one list, as lists inside objects are shown.
pub(super) fn whole(url: &str, rendered: &[Value]) -> Value {
    let count = rendered.len();
    json!({ "object": "list", "data": rendered, "has_more": false, "total_count": count, "url": url })
}

fn limit(call: &Call<'_>) -> Result<usize, ApiError> {
    match call.form.integer("limit")? {
        None => Ok(10),
        Some(limit @ 1..=100) => Ok(usize::try_from(limit).unwrap_or(10)),
        Some(limit) => {
            let message = if limit < 1 {
                "This value must be greater than or equal to 1."
            } else {
                "This value must be less than or equal to 100 (inclusive)."
            };
            Err(ApiError::parameter("limit", "parameter_invalid_integer", message))
        }
    }
}
