//! Every path with what it takes and what it answers, in the types that its handler is written with.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::wire::{
    AlertTestReport, AlertTestRequest, AlertsReport, AuditReport, AuditVerifyReport, By, DbBackupReport,
    DbBackupRequest, DbCheckReport, DbCheckRequest, DbRecoverReport, DbRecoverRequest, DoctorReport, DrainReport,
    DrainRequest, EXPORT_ROWS_MAX, ExplainReport, ExportPage, ExportWhat, IdentityReport, IdentityRequest, LinkReport,
    LinkRequest, PrepareImageReport, PrepareImageRequest, ReconcileReport, ReconcileRequest, RecordInput, RecordReport,
    ReleaseReport, ReleaseRequest, Status, SyncReport, SyncRequest, UsageReport, VoidReport, VoidRequest, patterns,
};

/// Gives a type's schema, and keeps those that it refers to.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// Whether a body may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Needed,
    MayBeEmpty,
}

/// One method of a path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: Vec<Value>,
    /// The body, by media type.
    pub(super) takes: Option<(Body, Vec<(&'static str, Describe)>)>,
    /// A 200: what it says, its media type and schema.
    pub(super) answers: (&'static str, &'static str, Describe),
    /// Which answers beside those that come of its parameters and body, and that every path gives.
    pub(super) fails: &'static [&'static str],
}

const JSON: &str = "application/json";

fn operation(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    let answers: (_, _, Describe) = ("", JSON, |_| json_schema!({}));
    Operation { method, path, id, summary, parameters: Vec::new(), takes: None, answers, fails: &[] }
}

fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    operation("get", path, id, summary)
}

fn post(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    operation("post", path, id, summary)
}

impl Operation {
    fn with(mut self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameters.push(json!({ "name": name, "in": "query", "description": description, "schema": schema }));
        self
    }

    fn takes<T: JsonSchema>(self, body: Body) -> Self {
        self.takes_any(body, vec![(JSON, SchemaGenerator::subschema_for::<T>)])
    }

    fn takes_any(mut self, body: Body, media: Vec<(&'static str, Describe)>) -> Self {
        self.takes = Some((body, media));
        self
    }

    fn answers<T: JsonSchema>(self, what: &'static str) -> Self {
        self.answers_in(JSON, what, SchemaGenerator::subschema_for::<T>)
    }

    fn answers_in(mut self, media: &'static str, what: &'static str, schema: Describe) -> Self {
        self.answers = (what, media, schema);
        self
    }

    fn fails(mut self, fails: &'static [&'static str]) -> Self {
        self.fails = fails;
        self
    }
}

/// All there are.
pub(super) fn operations() -> Vec<Operation> {
    [usage(), account(), database(), books(), state()].into_iter().flatten().collect()
}

fn month() -> Value {
    json!({ "type": "string", "pattern": patterns::MONTH })
}

fn limit() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 10_000 })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn rows() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": EXPORT_ROWS_MAX })
}

fn usage() -> Vec<Operation> {
    let which = "The period that holds the last second of this month; default is the current period. Not beside `from` and \
                 `to`.";
    let finely =
        "Piece by piece. Without a time, the last 24 hours, the days of the current period, or the last 12 months.";
    let recorded: Describe = |schemas| {
        let one = schemas.subschema_for::<RecordInput>();
        json_schema!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    };
    let lines: Describe = |_| json_schema!({ "type": "string", "description": "One record per line." });
    vec![
        get(
            "/v1/usage",
            "usage",
            "What was used in a period or from one time to another, as a whole and piece by piece.",
        )
        .with("month", which, &month())
        .with("from", "From then on; where only `to` is given, from the first that is known.", &time())
        .with("to", "Until then; default is now.", &time())
        .with("by", finely, &json!({ "type": "string", "enum": By::ALL.map(By::word) }))
        .with("meter", "Only this meter.", &json!({ "type": "string", "pattern": patterns::WORD }))
        .answers::<UsageReport>("Each meter, and what was not watched."),
        post("/v1/usage", "record", "Records usage. The answer comes after the accepted records are on disk.")
            .takes_any(Body::Needed, vec![(JSON, recorded), ("application/x-ndjson", lines)])
            .answers::<RecordReport>(
                "One answer per record, in order. Refused records are listed beside accepted ones.",
            ),
        post("/v1/void", "void", "Takes a record back; the mistake and the correction stay in the books.")
            .takes::<VoidRequest>(Body::Needed)
            .answers::<VoidReport>("What was taken back.")
            .fails(&["NotFound", "Refused"]),
    ]
}

fn account() -> Vec<Operation> {
    vec![
        post("/v1/link", "link", "Binds this machine to a subscription.")
            .takes::<LinkRequest>(Body::Needed)
            .answers::<LinkReport>("What is billed on what.")
            .fails(&["Refused", "Provider"]),
        post(
            "/v1/sync",
            "sync",
            "Shows what would be sent and why; with `commit`, sends it. An empty body shows the current period.",
        )
        .takes::<SyncRequest>(Body::MayBeEmpty)
        .answers::<SyncReport>("Each item. `refused` tells whether anything asked for could not be done.")
        .fails(&["Refused", "Provider"]),
        post(
            "/v1/reconcile",
            "reconcile",
            "Reads back what stands at the provider and compares it with the ledger. Sends nothing.",
        )
        .takes::<ReconcileRequest>(Body::MayBeEmpty)
        .answers::<ReconcileReport>("Each item and period with what differs and its likely cause.")
        .fails(&["Refused", "Provider"]),
        post("/v1/release", "release", "Settles what is held.")
            .takes::<ReleaseRequest>(Body::Needed)
            .answers::<ReleaseReport>("What was done.")
            .fails(&["Refused", "Provider"]),
        post(
            "/v1/identity",
            "identity",
            "Says what this VM is, whose ledger was made on another machine: the same (its ledger goes on), or new (it \
             begins anew).",
        )
        .takes::<IdentityRequest>(Body::Needed)
        .answers::<IdentityReport>("What was done.")
        .fails(&["Refused"]),
        post(
            "/v1/prepare-image",
            "prepare_image",
            "Unlinks this VM and sets its ledger aside, so that an image can be made of its disk; then usaged stops.",
        )
        .takes::<PrepareImageRequest>(Body::Needed)
        .answers::<PrepareImageReport>("What was done.")
        .fails(&["Refused"]),
        post(
            "/v1/drain",
            "drain",
            "Stops intake, sends everything, reads it back and certifies what stands, before this VM is deleted.",
        )
        .takes::<DrainRequest>(Body::MayBeEmpty)
        .answers::<DrainReport>("What stands, and whether that is all. Only a certificate leaves the intake closed.")
        .fails(&["Refused"]),
    ]
}

fn database() -> Vec<Operation> {
    vec![
        post(
            "/v1/db/check",
            "dbCheck",
            "Looks whether the ledger's file is what was written to it. One that is damaged is recovered next.",
        )
        .takes::<DbCheckRequest>(Body::MayBeEmpty)
        .answers::<DbCheckReport>("What was found.")
        .fails(&["Refused"]),
        post("/v1/db/backup", "dbBackup", "Copies the ledger into a new file while it is in use.")
            .takes::<DbBackupRequest>(Body::Needed)
            .answers::<DbBackupReport>("The copy is whole and on disk.")
            .fails(&["Refused"]),
        post(
            "/v1/db/recover",
            "dbRecover",
            "Recovers what can be read of a damaged ledger now, and sets the damaged file aside.",
        )
        .takes::<DbRecoverRequest>(Body::MayBeEmpty)
        .answers::<DbRecoverReport>("It was begun.")
        .fails(&["Refused"]),
    ]
}

fn books() -> Vec<Operation> {
    vec![
        get("/v1/audit", "audit", "What was done at the provider and to the account data, by whom and why.")
            .with("since", "Only lines from then on.", &time())
            .with("limit", "The last so many lines; default is 100.", &limit())
            .answers::<AuditReport>("The last lines, oldest first."),
        get(
            "/v1/audit/verify",
            "auditVerify",
            "Looks whether every line of the audit is what was written, and follows the one before it.",
        )
        .answers::<AuditVerifyReport>("What was found."),
        get(
            "/v1/explain",
            "explain",
            "Where billed numbers come from, each from the top down. Its sums are computed anew.",
        )
        .with("month", "The periods that hold this month's last second; default is the open ones.", &month())
        .with("meter", "Only this meter.", &json!({ "type": "string", "pattern": patterns::WORD }))
        .answers::<ExplainReport>("One for each item and period.")
        .fails(&["Refused"]),
        get("/v1/export", "export", "What was used, recorded or sent, row by row and in pages.")
            .with("what", "Default is usage.", &json!({ "enum": ExportWhat::ALL }))
            .with("from", "Rows that begin then or later.", &time())
            .with("to", "Rows that begin before then.", &time())
            .with("meter", "Only this meter.", &json!({ "type": "string", "pattern": patterns::WORD }))
            .with("after", "`next` of the page before.", &json!({ "type": "string", "pattern": patterns::PLACE }))
            .with("limit", "Rows of a page; default is the most.", &rows())
            .answers::<ExportPage>("The next rows."),
    ]
}

fn state() -> Vec<Operation> {
    let text: Describe = |_| json_schema!({ "type": "string" });
    let metrics =
        "The figures of the status for Prometheus. Also on the loopback address that is configured, where one is.";
    vec![
        get("/v1/status", "status", "How things stand: problems first.").answers::<Status>("One screen."),
        get("/v1/alerts", "alerts", "What needed somebody lately, and who was told of it.")
            .with("limit", "The newest so many; default is 20.", &limit())
            .answers::<AlertsReport>("The newest alerts, newest first."),
        post("/v1/alerts/test", "testAlert", "Sends a test through the configured command and address.")
            .takes::<AlertTestRequest>(Body::MayBeEmpty)
            .answers::<AlertTestReport>("What came of it on each way.")
            .fails(&["Refused"]),
        get("/v1/doctor", "doctor", "Looks at everything that can be wrong.")
            .answers::<DoctorReport>("Each check with a verdict and a fix."),
        get("/metrics", "metrics", metrics).answers_in("application/openmetrics-text", "OpenMetrics text.", text),
        get("/v1/openapi.json", "openapi", "This document.").answers_in(
            JSON,
            "OpenAPI 3.1.",
            |_| json_schema!({ "type": "object" }),
        ),
    ]
}
