use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use super::access::Guest;
use super::{
    ApiError, Desk, Limits, alerts, audit, db, doctor, drain, explain, export, identity, link, metrics, openapi,
    prepare_image, reconcile, record, release, status, sync, usage, void,
};
use crate::model::nearest;

/// What every handler can reach.
#[derive(Clone)]
pub(super) struct App {
    pub(super) desk: Arc<dyn Desk>,
    pub(super) limits: Limits,
}

/// Every path, with its methods.
pub(super) const PATHS: [(&str, &str); 22] = [
    ("/v1/status", "GET"),
    ("/v1/usage", "GET, POST"),
    ("/v1/void", "POST"),
    ("/v1/link", "POST"),
    ("/v1/sync", "POST"),
    ("/v1/reconcile", "POST"),
    ("/v1/release", "POST"),
    ("/v1/identity", "POST"),
    ("/v1/prepare-image", "POST"),
    ("/v1/drain", "POST"),
    ("/v1/db/check", "POST"),
    ("/v1/db/backup", "POST"),
    ("/v1/db/recover", "POST"),
    ("/v1/audit", "GET"),
    ("/v1/audit/verify", "GET"),
    ("/v1/explain", "GET"),
    ("/v1/export", "GET"),
    ("/v1/alerts", "GET"),
    ("/v1/alerts/test", "POST"),
    ("/v1/doctor", "GET"),
    ("/metrics", "GET"),
    ("/v1/openapi.json", "GET"),
];

pub(super) fn router(desk: Arc<dyn Desk>, limits: Limits) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/usage", get(usage::usage).post(record::record))
        .route("/v1/void", post(void::void))
        .route("/v1/link", post(link::link))
        .route("/v1/sync", post(sync::sync))
        .route("/v1/reconcile", post(reconcile::reconcile))
        .route("/v1/release", post(release::release))
        .route("/v1/identity", post(identity::identity))
        .route("/v1/prepare-image", post(prepare_image::prepare_image))
        .route("/v1/drain", post(drain::drain))
        .route("/v1/db/check", post(db::check))
        .route("/v1/db/backup", post(db::backup))
        .route("/v1/db/recover", post(db::recover))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/audit/verify", get(audit::verify))
        .route("/v1/explain", get(explain::explain))
        .route("/v1/export", get(export::export))
        .route("/v1/alerts", get(alerts::alerts))
        .route("/v1/alerts/test", post(alerts::test))
        .route("/v1/doctor", get(doctor::doctor))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/openapi.json", get(openapi::openapi))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(App { desk, limits })
}

async fn unknown_path(guest: Guest, uri: Uri) -> Result<(), ApiError> {
    guest.may_use()?;
    let path: String = uri.path().chars().take(80).collect();
    let known = PATHS.map(|(path, _)| path);
    let versioned = format!("/v1{path}");
    let meant = known.into_iter().find(|known| *known == versioned).or_else(|| nearest(&path, known));
    let hint = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(ApiError::not_found("unknown_path", format!("there is no {path} here")).hint(hint))
}

async fn wrong_method(guest: Guest, method: Method, uri: Uri) -> Result<(), ApiError> {
    guest.may_use()?;
    let path = uri.path();
    let takes = PATHS.iter().find(|(known, _)| *known == path).map_or("other methods", |(_, methods)| *methods);
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    let error = format!("{path} does not take {method}");
    Err(ApiError::new(status, "wrong_method", error).hint(format!("{path} takes {takes}")))
}
