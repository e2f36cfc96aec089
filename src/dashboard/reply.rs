use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

/// Nothing but our own style, our own script, and what that script asks here. Where a form leads is bounded too, so the
/// provider's portal is gone to from an answer and not by a redirect.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Of every answer. With no referrer at all, browsers would not say where a form is from.
const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

fn answer(status: u16, kind: &'static str, text: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut answer = (status, [(CONTENT_TYPE, kind)], text).into_response();
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// A page.
pub(super) fn page(status: u16, html: String) -> Response {
    answer(status, "text/html; charset=utf-8", html)
}

/// For a program.
pub(super) fn json(status: u16, value: &serde_json::Value) -> Response {
    answer(status, "application/json", value.to_string())
}

/// Style or script.
pub(super) fn asset(kind: &'static str, text: &str) -> Response {
    answer(200, kind, text.to_owned())
}

/// To another page here.
pub(super) fn go_to(path: &'static str) -> Response {
    let mut answer = answer(303, "text/plain", String::new());
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    answer
}

/// With a cookie that no script sees, and that no other site has sent along.
pub(super) fn with_cookie(mut answer: Response, name: &str, value: &str, lasts_s: i64, is_encrypted: bool) -> Response {
    let secure = if is_encrypted { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts_s}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}
