use axum::extract::{RawQuery, State};

use super::ApiError;
use super::access::Guest;
use super::body::unknown_field;
use super::reply::Reply;
use super::routes::App;
use crate::model::{MeterName, Span, Timestamp};
use crate::wire::{EXPORT_ROWS_MAX, ExportPage, ExportWhat};

const PARAMETERS: [&str; 6] = ["what", "from", "to", "meter", "after", "limit"];

/// What is asked for, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// What.
    pub what: ExportWhat,
    /// From when to when.
    pub span: Span,
    /// Of which meter.
    pub meter: Option<MeterName>,
    /// Where the page before ended.
    pub after: Option<(i64, i64, i64)>,
    /// Rows of a page.
    pub limit: u32,
}

/// `GET /v1/export?what=WHAT&from=TIME&to=TIME&meter=NAME&after=PLACE&limit=N`.
pub(super) async fn export(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
) -> Result<Reply<ExportPage>, ApiError> {
    guest.may_use()?;
    let request = asked(query.as_deref().unwrap_or_default())?;
    app.desk.export(request).await.map(Reply)
}

fn asked(query: &str) -> Result<ExportRequest, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(sentence) = unknown_field(pairs.iter().map(|(name, _)| name.as_ref()), &PARAMETERS) {
        return Err(ApiError::bad_request("unknown_parameter", sentence.replace("field", "parameter")));
    }
    let last = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
    let time = |name, default| last(name).map_or(Ok(Timestamp::from_micros(default)), |text| moment(name, text));
    Ok(ExportRequest {
        what: last("what").map_or(Ok(ExportWhat::Usage), what)?,
        span: Span::new(time("from", 0)?, time("to", i64::MAX)?),
        meter: last("meter").map(meter).transpose()?,
        after: last("after").map(place).transpose()?,
        limit: last("limit").map_or(Ok(EXPORT_ROWS_MAX), limit)?,
    })
}

fn what(word: &str) -> Result<ExportWhat, ApiError> {
    ExportWhat::ALL.into_iter().find(|what| what.word() == word).ok_or_else(|| {
        let all = ExportWhat::ALL.map(ExportWhat::word).join(", ");
        ApiError::bad_request("bad_what", format!("what: {:?} cannot be exported", shown(word)))
            .hint(format!("there are {all}"))
    })
}

fn moment(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).map_err(|_| {
        ApiError::bad_request("bad_time", format!("{name}: {:?} is not a time", shown(text)))
            .hint("write it as 2026-11-14T10:00:00Z")
    })
}

fn meter(name: &str) -> Result<MeterName, ApiError> {
    let bad = |error: crate::model::NameError| ApiError::bad_request("bad_meter", error.to_string());
    MeterName::new(name).map_err(|error| bad(error).hint("usagectl usage shows the meters"))
}

fn place(text: &str) -> Result<(i64, i64, i64), ApiError> {
    let mut numbers = text.splitn(3, '.').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    next().zip(next()).zip(next()).map(|((meter, at), row)| (meter, at, row)).ok_or_else(|| {
        ApiError::bad_request("bad_after", format!("after: {:?} is not where a page ended", shown(text)))
            .hint("give `next` of the page before as it stands")
    })
}

fn limit(text: &str) -> Result<u32, ApiError> {
    let limit = text.parse().ok().filter(|limit| (1..=EXPORT_ROWS_MAX).contains(limit));
    limit.ok_or_else(|| {
        let error = format!("limit: {:?} is not a number from 1 to {EXPORT_ROWS_MAX}", shown(text));
        ApiError::bad_request("bad_limit", error)
    })
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
