//! Makes the served document, `openapi.json`, of the types that handlers take and answer. A test, so that nothing of it is
//! in the daemon, and no change of a type is forgotten.

use std::path::Path;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::operations::{Body, Operation, operations};
use crate::wire::ErrorBody;

const DESCRIPTION: &str = "What this machine used, and what is billed for it. Served on a Unix socket; the caller is known \
    by its peer credentials: root, the user the daemon runs as and the configured command group may do everything, members \
    of the group usaged may read and record. Times are RFC 3339 in UTC. Fields only grow; ignore those you do not know.";

/// An answer that is not 2xx: its name, status and when it is given.
const FAILURES: [(&str, &str, &str); 9] = [
    ("BadRequest", "400", "The request itself is wrong; nothing was done."),
    ("Forbidden", "403", "The caller may not; the sentence names the group that may."),
    ("NotFound", "404", "There is no such record."),
    ("TooSlow", "408", "The body did not arrive in time; nothing of it was done."),
    ("Refused", "409", "Understood, and refused by a rule, or the provider knows no such thing."),
    ("TooLarge", "413", "More than is taken at once; nothing of it was done."),
    ("Fault", "500", "A fault of usaged."),
    ("Provider", "502", "The billing provider did not answer, or not usably."),
    ("Busy", "503", "Nothing was stored; the same request may work later."),
];

#[test]
fn the_served_document_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/openapi.json");
    let mut made = Vec::new();
    // One blank for each level: it is embedded as it stands.
    let lines = PrettyFormatter::with_indent(b" ");
    document().serialize(&mut Serializer::with_formatter(&mut made, lines)).unwrap();
    made.push(b'\n');
    if std::fs::read(&file).unwrap() != made {
        std::fs::write(&file, made).unwrap();
        panic!("src/api/openapi.json was not what the code says; it is now, and is to be committed");
    }
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut taken = settings.clone().for_deserialize().into_generator();
    let mut answered = settings.for_serialize().into_generator();
    answered.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(&operation, &mut taken, &mut answered);
    }
    let mut schemas = answered.take_definitions(true);
    for (name, schema) in taken.take_definitions(true) {
        let other = schemas.insert(name.clone(), schema.clone());
        assert!(other.is_none_or(|other| other == schema), "{name} is written otherwise than it is read");
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "usaged",
            "version": "1",
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "http://localhost",
            "description": "curl --unix-socket /run/usaged/usaged.sock http://localhost/v1/status",
        }],
        "paths": paths,
        "components": { "responses": failures(), "schemas": schemas },
    })
}

fn described(operation: &Operation, taken: &mut SchemaGenerator, answered: &mut SchemaGenerator) -> Value {
    let mut said = json!({ "operationId": operation.id, "summary": operation.summary });
    if !operation.parameters.is_empty() {
        said["parameters"] = json!(operation.parameters);
    }
    if let Some((body, media)) = &operation.takes {
        let content: Map<_, _> =
            media.iter().map(|(kind, schema)| ((*kind).to_owned(), json!({ "schema": schema(taken) }))).collect();
        said["requestBody"] = json!({ "required": *body == Body::Needed, "content": content });
    }
    let (what, kind, schema) = operation.answers;
    said["responses"]["200"] = json!({ "description": what, "content": { kind: { "schema": schema(answered) } } });
    for (name, status, _) in FAILURES {
        if may_fail(operation, name) {
            said["responses"][status] = json!({ "$ref": format!("#/components/responses/{name}") });
        }
    }
    said
}

fn may_fail(operation: &Operation, name: &str) -> bool {
    match name {
        "Forbidden" | "Fault" | "Busy" => true,
        "BadRequest" => operation.takes.is_some() || !operation.parameters.is_empty(),
        "TooSlow" | "TooLarge" => operation.takes.is_some(),
        named => operation.fails.contains(&named),
    }
}

fn failures() -> Value {
    let mut said = json!({});
    for (name, status, when) in FAILURES {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        said[name] = json!({ "description": when, "content": { "application/json": { "schema": schema } } });
        if status == "503" {
            let seconds = json!({ "type": "integer" });
            said[name]["headers"] = json!({ "Retry-After": { "description": "Seconds.", "schema": seconds } });
        }
    }
    said
}
