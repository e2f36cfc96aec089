//! Holds the served document against real answers.

use serde_json::Value;

/// Every field of an answer is described under its schema's name, with a type that fits, and every required one is there.
pub(super) fn assert_describes(document: &Value, name: &str, answer: &Value) {
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "the document has no schema {name}");
    check(document, schema, answer, name).unwrap();
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        return check(document, target.ok_or_else(|| format!("{place}: {reference} leads nowhere"))?, value, place);
    }
    if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|choice| schema[choice].as_array()) {
        let told: Vec<_> = choices.iter().map_while(|choice| check(document, choice, value, place).err()).collect();
        return if told.len() < choices.len() { Ok(()) } else { Err(told.join("; or ")) };
    }
    if !types(schema).iter().any(|kind| fits(kind, value)) {
        return Err(format!("{place}: {value} is not {}", schema["type"]));
    }
    let words = schema["enum"].as_array().cloned().or_else(|| schema.get("const").map(|word| vec![word.clone()]));
    if words.as_ref().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{place}: {value} is not among {words:?}"));
    }
    if let (Some(fields), Some(described)) = (value.as_object(), schema["properties"].as_object()) {
        if let Some(missing) = schema["required"]
            .as_array()
            .and_then(|all| all.iter().filter_map(Value::as_str).find(|field| !fields.contains_key(*field)))
        {
            return Err(format!("{place}: {missing} is missing"));
        }
        for (field, inner) in fields {
            let described = described.get(field).ok_or_else(|| format!("{place}.{field} is not described"))?;
            check(document, described, inner, &format!("{place}.{field}"))?;
        }
    }
    value
        .as_array()
        .into_iter()
        .flatten()
        .try_for_each(|inner| check(document, &schema["items"], inner, &format!("{place}[]")))
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
