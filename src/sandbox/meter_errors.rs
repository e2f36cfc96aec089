//! What Stripe finds out about meter events after it has accepted them: reports as thin events, `/v2/core/events`.
//!
//! Shapes of <https://docs.stripe.com/api/v2/core/events/object>. A report is about what came to one meter within ten
//! seconds, and is there once they are over: from then on it does not change.

use chrono::{DateTime, SecondsFormat};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::errors::ApiError;

/// How long a report gathers, seconds; as in Stripe's own example of one.
const WINDOW: i64 = 10;
/// Events are listed this long, seconds.
const LISTED: i64 = 30 * 86_400;
/// So many errors of one kind are quoted in a report; all are counted.
const QUOTED: usize = 10;

/// Why an accepted meter event came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    ArchivedMeter,
    MeterEventCustomerNotFound,
    MeterEventInvalidValue,
    MeterEventNoCustomerDefined,
    NoMeter,
    TimestampInFuture,
    TimestampTooFarInPast,
}

impl Code {
    /// Said to people; only the one about the missing customer key is Stripe's wording.
    const fn message(self) -> &'static str {
        match self {
            Self::ArchivedMeter => "The meter is archived.",
            Self::MeterEventCustomerNotFound => "The customer that the payload names was not found.",
            Self::MeterEventInvalidValue => "The value in the payload is not a number that the meter takes.",
            Self::MeterEventNoCustomerDefined => "Customer mapping key stripe_customer_id not found in payload.",
            Self::NoMeter => "There is no active meter with this event name.",
            Self::TimestampInFuture => "The timestamp is more than 5 minutes in the future.",
            Self::TimestampTooFarInPast => "The timestamp is more than 35 days in the past.",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Report {
    id: String,
    /// `None`: of events for which there was no meter.
    meter: Option<String>,
    start: i64,
    errors: Vec<Noted>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noted {
    at: i64,
    code: Code,
    /// The event's.
    identifier: String,
    /// The request's, which is what Stripe quotes.
    idempotency_key: Option<String>,
}

impl Record for Report {
    const KIND: &'static str = "meter_error_report";
    const NOUN: &'static str = "event";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Report {
    const fn end(&self) -> i64 {
        self.start.saturating_add(WINDOW)
    }

    const fn kind(&self) -> &'static str {
        if self.meter.is_some() { "v1.billing.meter.error_report_triggered" } else { "v1.billing.meter.no_meter_found" }
    }
}

/// Notes that an accepted event came to nothing: on this meter, or on none. `now` is the sandbox's own time, also where
/// the customer lives on a test clock. A request without an idempotency key is quoted by the event's identifier.
pub(super) fn note(
    books: &Connection,
    meter: Option<&str>,
    identifier: &str,
    idempotency_key: Option<&str>,
    code: Code,
    now: i64,
) -> Result<(), ApiError> {
    let start = now.saturating_sub(now.rem_euclid(WINDOW));
    let reports: Vec<Report> = books::all(books, None)?;
    let gathering = reports.into_iter().find(|one| one.start == start && one.meter.as_deref() == meter);
    let mut report = gathering.unwrap_or_else(|| Report {
        id: books::new_id("evt_test_"),
        meter: meter.map(str::to_owned),
        start,
        errors: Vec::new(),
    });
    let (identifier, idempotency_key) = (identifier.to_owned(), idempotency_key.map(str::to_owned));
    report.errors.push(Noted { at: now, code, identifier, idempotency_key });
    books::put(books, &report)
}

/// All that was noted, also of reports that still gather.
pub(super) fn all(books: &Connection) -> Result<Vec<Value>, ApiError> {
    let reports: Vec<Report> = books::all(books, None)?;
    let shown = reports.iter().flat_map(|report| {
        report.errors.iter().map(|one| {
            json!({
                "at": one.at,
                "meter": report.meter,
                "identifier": one.identifier,
                "idempotency_key": one.idempotency_key,
                "code": one.code,
                "message": one.code.message(),
            })
        })
    });
    Ok(shown.collect())
}

/// `GET /v2/core/events/{id}`.
pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let report: Option<Report> = books::find(call.books, call.id)?;
    let report = report.filter(|report| report.end() <= call.sandbox_now);
    report.map(|report| render(&report)).ok_or_else(|| ApiError::no_such(Report::NOUN, call.id))
}

/// `GET /v2/core/events`: newest first, in pages that name the next one by its URL.
pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["object_id", "types[]", "limit", "page"])?;
    let limit = match form.natural("limit")? {
        None => 20,
        Some(limit @ 1..=100) => usize::try_from(limit).unwrap_or(20),
        Some(_) => return Err(ApiError::uncoded("limit", "The limit must be between 1 and 100.")),
    };
    let (object, types) = (form.text("object_id")?, form.texts("types"));
    let reports: Vec<Report> = books::all(call.books, None)?;
    let fits = |one: &Report| {
        (call.sandbox_now.saturating_sub(LISTED)..=call.sandbox_now).contains(&one.end())
            && object.is_none_or(|object| one.meter.as_deref() == Some(object))
            && (types.is_empty() || types.iter().any(|kind| kind == one.kind()))
    };
    let found: Vec<Report> = reports.into_iter().rev().filter(fits).collect();
    let after = |id: &str| found.iter().position(|one| one.id == id).map(|at| at.saturating_add(1));
    let from = match form.text("page")? {
        None => 0,
        Some(page) => after(page).ok_or_else(|| ApiError::uncoded("page", "The page token is not valid."))?,
    };
    let to = from.saturating_add(limit);
    let url = |start: usize| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        query.extend_pairs(object.map(|object| ("object_id", object)));
        query.extend_pairs(types.iter().enumerate().map(|(at, kind)| (format!("types[{at}]"), kind)));
        query.extend_pairs(start.checked_sub(1).and_then(|at| found.get(at)).map(|last| ("page", &last.id)));
        format!("/v2/core/events?{}", query.finish())
    };
    Ok(json!({
        "data": found.iter().skip(from).take(limit).map(render).collect::<Vec<_>>(),
        "next_page_url": (to < found.len()).then(|| url(to)),
        "previous_page_url": (from > 0).then(|| url(from.saturating_sub(limit))),
    }))
}

fn render(report: &Report) -> Value {
    let mut codes: Vec<Code> = report.errors.iter().map(|one| one.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let types: Vec<Value> = codes
        .into_iter()
        .map(|code| {
            let of_code = || report.errors.iter().filter(|one| one.code == code);
            let quote = |one: &Noted| {
                let request = one.idempotency_key.as_ref().unwrap_or(&one.identifier);
                json!({ "error_message": code.message(), "request": { "identifier": request } })
            };
            let samples: Vec<Value> = of_code().take(QUOTED).map(quote).collect();
            json!({ "code": code, "error_count": of_code().count(), "sample_errors": samples })
        })
        .collect();
    let count = report.errors.len();
    let summary =
        if count == 1 { "There is 1 invalid event".to_owned() } else { format!("There are {count} invalid events") };
    let mut event = json!({
        "id": report.id,
        "object": "v2.core.event",
        "changes": null,
        "context": null,
        "created": iso(report.end()),
        "data": {
            "developer_message_summary": summary,
            "reason": { "error_count": count, "error_types": types },
            "validation_end": iso(report.end()),
            "validation_start": iso(report.start),
        },
        "livemode": false,
        "reason": null,
        "type": report.kind(),
    });
    if let (Some(fields), Some(meter)) = (event.as_object_mut(), &report.meter) {
        let url = format!("/v1/billing/meters/{meter}");
        fields.insert("related_object".to_owned(), json!({ "id": meter, "type": "billing.meter", "url": url }));
    }
    event
}

/// As `2024-09-26T17:46:20.000Z`.
fn iso(at: i64) -> String {
    DateTime::from_timestamp(at, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}
