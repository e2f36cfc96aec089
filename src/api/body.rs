use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Map;

use super::{ApiError, Limits};
use crate::model::nearest;

/// The whole body, within bounds of size and time.
pub(super) async fn read(headers: &HeaderMap, body: Body, limits: Limits) -> Result<Bytes, ApiError> {
    let limit = limits.body_max;
    let too_large = || {
        ApiError::too_large(format!("the body is larger than the {limit} bytes taken at once; nothing of it was read"))
            .hint("send it in several requests, or raise intake.max_body in usaged.toml")
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let arrival = tokio::time::timeout(limits.arrival_max, Limited::new(body, limit).collect()).await;
    match arrival {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::bad_request("body_cut_off", format!("the body ended early: {error}"))),
        Err(_) => {
            let error = format!("the body did not arrive within {} s", limits.arrival_max.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", error))
        }
    }
}

/// The body as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(bytes).map_err(|error| {
        ApiError::bad_request("malformed", format!("the body is not UTF-8 at byte {}", error.valid_up_to() + 1))
    })
}

/// A command's request: one JSON object, with no fields but these.
pub(super) fn command<T: DeserializeOwned>(bytes: &[u8], fields: &[&str]) -> Result<T, ApiError> {
    let text = text(bytes)?;
    let malformed =
        |error: serde_json::Error| ApiError::bad_request("malformed", format!("not a valid request: {error}"));
    let object: Map<String, serde_json::Value> = serde_json::from_str(text).map_err(malformed)?;
    if let Some(sentence) = unknown_field(object.keys().map(String::as_str), fields) {
        return Err(ApiError::bad_request("unknown_field", sentence));
    }
    serde_json::from_str(text).map_err(malformed)
}

/// A sentence about the first field that is not known.
pub(super) fn unknown_field<'a>(mut given: impl Iterator<Item = &'a str>, known: &[&str]) -> Option<String> {
    let unknown = given.find(|field| !known.contains(field))?;
    let shown: String = unknown.chars().take(40).collect();
    Some(match nearest(unknown, known.iter().copied()) {
        Some(meant) => format!("unknown field {shown:?}; did you mean {meant:?}?"),
        None if known.is_empty() => format!("unknown field {shown:?}; there are none"),
        None => format!("unknown field {shown:?}; there are {}", known.join(", ")),
    })
}
