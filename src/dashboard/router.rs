use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, COOKIE};
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::json;
use tokio::time::timeout;

use super::desk::{Answer, Desk, Trouble};
use super::gate::{self, Gate, SESSION_S, Session};
use super::place::Place;
use super::{frame, page, reply};
use crate::shown::STYLE;
use crate::wire::is_month;

const SCRIPT: &str = include_str!("refresh.js");
/// Larger than any form here.
const BODY_MAX: usize = 4_096;
/// A body must arrive within this time.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);
/// A page does not wait longer for any part of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What everything here needs.
struct Site {
    desk: Arc<dyn Desk>,
    gate: Gate,
    place: Place,
}

/// The page, and what belongs to it.
pub fn router(desk: Arc<dyn Desk>, gate: Gate, place: Place) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Site { desk, gate, place }))
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(origin) = site.place.origin(&parts) else {
        let what = "This page is not reached by that name.";
        return refuse(403, what, Some("Use the address that the log of usaged names, or [dashboard] url."));
    };
    match (parts.method.as_str(), parts.uri.path()) {
        ("GET" | "HEAD", "/style.css") => reply::asset("text/css", STYLE),
        ("GET" | "HEAD", "/refresh.js") => reply::asset("text/javascript", SCRIPT),
        // Where the portal leads back to.
        ("GET" | "HEAD", "/back") => {
            reply::page(200, frame::going_on("Back to your usage", "/", "On to the usage page"))
        }
        ("GET" | "HEAD", path) => site.show(&parts, path).await,
        ("POST", path @ ("/login" | "/logout" | "/api/billing/portal-session")) => {
            site.act(&parts, path, &origin, body).await
        }
        _ => refuse(405, "There is nothing to be done here that way.", None),
    }
}

impl Site {
    fn session(&self, parts: &Parts) -> Option<Session> {
        let cookies = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        self.gate.session(cookies, self.desk.now_s())
    }

    async fn show(&self, parts: &Parts, path: &str) -> Response {
        let session = self.session(parts);
        match (path, session) {
            ("/login", None) => reply::page(200, frame::login(None)),
            ("/login", Some(_)) => reply::go_to("/"),
            ("/" | "/explain", None) => reply::go_to("/login"),
            ("/", Some(session)) => self.overview(&session).await,
            ("/explain", Some(_)) => self.explain(parts).await,
            _ => refuse(404, "There is no such page.", None),
        }
    }

    async fn overview(&self, session: &Session) -> Response {
        let (status, page, alerts) =
            tokio::join!(patient(self.desk.status()), patient(self.desk.page()), patient(self.desk.alerts()));
        let form = self.gate.form_token(session);
        let view = page::View { status, page, alerts, form, asks: self.gate.asks() };
        reply::page(200, view.page())
    }

    async fn explain(&self, parts: &Parts) -> Response {
        let query = parts.uri.query().unwrap_or_default();
        let month = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "month");
        let month = month.map(|(_, month)| month.into_owned());
        if month.as_deref().is_some_and(|month| !is_month(month)) {
            return refuse(400, "That is no month.", Some("A month is written as 2026-11."));
        }
        match patient(self.desk.explain(month)).await {
            Ok(report) => reply::page(200, page::explained(&report)),
            Err(trouble) => reply::page(trouble.status, frame::notice("This cannot be explained now", &trouble)),
        }
    }

    /// Everything that does something: by a form of this page, and no other way.
    async fn act(&self, parts: &Parts, path: &str, origin: &str, body: Body) -> Response {
        if !Place::is_from(parts, origin) {
            return refuse(403, "That did not come from this page.", None);
        }
        let Some(fields) = arrived(body).await else {
            return refuse(400, "That form did not arrive, or is none of this page.", None);
        };
        let field = |name: &str| fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str());
        let is_encrypted = origin.starts_with("https://");
        if path == "/login" {
            let Some(cookie) = self.gate.admit(field("token"), self.desk.now_s()) else {
                tracing::warn!("somebody tried to log in to the usage page with a wrong token");
                return reply::page(403, frame::login(Some("That is not the token.")));
            };
            return reply::with_cookie(reply::go_to("/"), gate::COOKIE, &cookie, SESSION_S, is_encrypted);
        }
        let session = self.session(parts).filter(|session| self.gate.is_form(session, field("form")));
        if session.is_none() {
            let what = "Your session has ended, or that form is not of it.";
            return refuse(403, what, Some("Go back to the usage page, log in where it asks you to, and try again."));
        }
        if path == "/logout" {
            return reply::with_cookie(reply::go_to("/login"), gate::COOKIE, "", 0, is_encrypted);
        }
        self.open_portal(parts, format!("{origin}/back")).await
    }

    /// As a page that goes on there; for a script, which does not ask for HTML, as JSON.
    async fn open_portal(&self, parts: &Parts, return_url: String) -> Response {
        let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let is_for_people = accept.is_some_and(|kinds| kinds.contains("text/html"));
        match self.desk.open_portal(return_url).await {
            Ok(url) if is_for_people => {
                reply::page(200, frame::going_on("On to your subscription", &url, "Go on to manage your subscription"))
            }
            Ok(url) => reply::json(200, &json!({ "url": url })),
            Err(trouble) if is_for_people => {
                reply::page(trouble.status, frame::notice("Your subscription cannot be managed now", &trouble))
            }
            Err(Trouble { status, what, hint }) => reply::json(status, &json!({ "error": what, "hint": hint })),
        }
    }
}

fn refuse(status: u16, what: &str, hint: Option<&str>) -> Response {
    let trouble = Trouble { status, what: what.to_owned(), hint: hint.map(str::to_owned) };
    reply::page(status, frame::notice("This cannot be shown", &trouble))
}

/// Whatever keeps it, the page says so in time.
async fn patient<T>(answer: Answer<'_, T>) -> Result<T, Trouble> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        Err(Trouble {
            status: 503,
            what: format!("usaged is busy and did not say within {} s", PATIENCE.as_secs()),
            hint: Some("reload the page".to_owned()),
        })
    })
}

async fn arrived(body: Body) -> Option<Vec<(String, String)>> {
    let bytes = timeout(ARRIVAL_MAX, to_bytes(body, BODY_MAX)).await.ok()?.ok()?;
    Some(form_urlencoded::parse(&bytes).into_owned().collect())
}
