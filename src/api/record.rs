use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::access::Guest;
use super::intake::{Record, parse, split};
use super::reply::Reply;
use super::routes::App;
use super::{ApiError, body};
use crate::wire::{RecordAnswer, RecordOutcome, RecordReport, SCHEMA};

/// `POST /v1/usage`.
pub(super) async fn record(
    State(app): State<App>,
    guest: Guest,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply<RecordReport>, ApiError> {
    guest.may_use()?;
    let bytes = body::read(&headers, body, app.limits).await?;
    let pieces = split(body::text(&bytes)?, says_lines(&headers), app.limits.records_max)?;
    let read: Vec<_> = pieces.iter().map(|piece| parse(piece, guest.caller)).collect();
    let records: Vec<Record> = read.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
    let answers = if records.is_empty() { Vec::new() } else { app.desk.record(guest.caller, records).await? };
    report(read, answers).map(Reply)
}

fn says_lines(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"].contains(&kind)
}

/// The desk's answers in the places of the records it was given, between those that never reached it.
fn report(read: Vec<Result<Record, RecordAnswer>>, answers: Vec<RecordAnswer>) -> Result<RecordReport, ApiError> {
    let mut answers = answers.into_iter();
    let missing = || ApiError::internal("a record has no answer; it may or may not have been stored");
    let mut report = RecordReport { schema: SCHEMA, accepted: 0, duplicate: 0, refused: 0, records: Vec::new() };
    for read in read {
        let answer = match read {
            Ok(_) => answers.next().ok_or_else(missing)?,
            Err(refused) => refused,
        };
        let count = match answer.outcome {
            RecordOutcome::Accepted => &mut report.accepted,
            RecordOutcome::Duplicate => &mut report.duplicate,
            RecordOutcome::Refused => &mut report.refused,
        };
        *count = count.saturating_add(1);
        report.records.push(answer);
    }
    Ok(report)
}
