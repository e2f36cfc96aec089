//! Holds the served document against real answers.

use serde_json::Value;

/// Every field of an answer is described under its schema's name, with a type that fits, and every required one is there.
pub(super) fn assert_describes(document: &Value, name: &str, answer: &Value) {
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "the document has no schema {name}");
    check(document, schema, answer, name);
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        let target = document.pointer(pointer).unwrap_or_else(|| panic!("{place}: {reference} leads nowhere"));
        return check(document, target, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let chosen = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return check(document, chosen.unwrap_or_else(|| panic!("{place}: no choice fits {value}")), value, place);
    }
    assert!(types(schema).iter().any(|kind| fits(kind, value)), "{place}: {value} is not {}", schema["type"]);
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value} is not among {words:?}");
    }
    if schema["additionalProperties"] == true {
        return;
    }
    if let Some(fields) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{place}: {required} is missing");
        }
        for (field, inner) in fields {
            let described = &schema["properties"][field];
            assert!(described.is_object(), "{place}.{field} is not described");
            check(document, described, inner, &format!("{place}.{field}"));
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], inner, &format!("{place}[]"));
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    }
}

fn fits(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
