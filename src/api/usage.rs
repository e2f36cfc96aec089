use axum::extract::{RawQuery, State};

use super::ApiError;
use super::access::Guest;
use super::body::unknown_field;
use super::reply::Reply;
use super::routes::App;
use crate::model::Timestamp;
use crate::wire::{By, UsageReport, UsageRequest, is_month};

const PARAMETERS: [&str; 5] = ["month", "from", "to", "by", "meter"];

/// `GET /v1/usage?month=YYYY-MM|from=TIME&to=TIME&by=hour|day|month&meter=NAME`.
pub(super) async fn usage(
    State(app): State<App>,
    guest: Guest,
    RawQuery(query): RawQuery,
) -> Result<Reply<UsageReport>, ApiError> {
    guest.may_use()?;
    let request = asked(query.as_deref().unwrap_or_default())?;
    app.desk.usage(request).await.map(Reply)
}

fn asked(query: &str) -> Result<UsageRequest, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    if let Some(sentence) = unknown_field(pairs.iter().map(|(name, _)| name.as_ref()), &PARAMETERS) {
        return Err(ApiError::bad_request("unknown_parameter", sentence.replace("field", "parameter")));
    }
    let last = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
    let request = UsageRequest {
        month: last("month").map(checked).transpose()?,
        from: last("from").map(|text| moment("from", text)).transpose()?,
        to: last("to").map(|text| moment("to", text)).transpose()?,
        by: last("by").map(by).transpose()?,
        meter: last("meter").map(str::to_owned),
    };
    if request.month.is_some() && (request.from.is_some() || request.to.is_some()) {
        let what = "a month and from or to do not go together";
        return Err(ApiError::bad_request("bad_range", what).hint("a month stands for the period that holds its end"));
    }
    Ok(request)
}

/// A month as requests give it, or a sentence about what one looks like.
pub(super) fn checked(month: &str) -> Result<String, ApiError> {
    if is_month(month) {
        return Ok(month.to_owned());
    }
    Err(ApiError::bad_request("bad_month", format!("{:?} is not a month", shown(month))).hint("write it as 2026-11"))
}

/// A time as requests give it, or a sentence about what one looks like.
pub(super) fn moment(parameter: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).map_err(|_| {
        let what = format!("{parameter}: {:?} is not a time, such as 2026-11-14T10:00:00Z", shown(text));
        ApiError::bad_request("bad_time", what)
    })
}

fn by(word: &str) -> Result<By, ApiError> {
    By::ALL
        .into_iter()
        .find(|by| by.word() == word)
        .ok_or_else(|| ApiError::bad_request("bad_by", format!("by: {:?} is not hour, day or month", shown(word))))
}

/// So much of what was given that it can be recognised.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
