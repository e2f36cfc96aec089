//! Putting objects together from parts.

use serde_json::Value;

/// Both objects' fields in one; the second wins.
pub(super) fn merged(mut first: Value, second: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (first.as_object_mut(), second) {
        fields.extend(more);
    }
    first
}
