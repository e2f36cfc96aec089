//! Where events are delivered to. <https://docs.stripe.com/api/webhook_endpoints>

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::courier::{self, Reach};
use super::customers::{Metadata, update_metadata};
use super::deliveries;
use super::errors::ApiError;
use super::event_types;
use super::form::Form;
use super::lists;
use super::shapes::merged;
use super::version::Version;

/// So many an account may have.
const COUNT_MAX: usize = 16;
/// A secret that was replaced is valid this long at most, seconds.
pub(super) const OLD_VALID_MAX: i64 = 86_400;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) id: String,
    created: i64,
    pub(super) url: String,
    enabled_events: Vec<String>,
    /// `None`: the account's.
    pub(super) version: Option<String>,
    description: Option<String>,
    metadata: Metadata,
    pub(super) disabled: bool,
    secret: String,
    /// Secrets that were replaced, and until when each is valid.
    old_secrets: Vec<(String, i64)>,
}

impl Record for Endpoint {
    const KIND: &'static str = "webhook_endpoint";
    const NOUN: &'static str = "webhook endpoint";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Endpoint {
    /// Whether it asks for events of this type.
    pub(super) fn wants(&self, kind: &str) -> bool {
        self.enabled_events.iter().any(|wanted| wanted == "*" || wanted == kind)
    }

    /// What deliveries are signed with, the newest first.
    pub(super) fn secrets(&self, now: i64) -> impl Iterator<Item = &str> {
        let old = self.old_secrets.iter().filter(move |(_, until)| now < *until);
        std::iter::once(self.secret.as_str()).chain(old.map(|(secret, _)| secret.as_str()))
    }
}

/// Those that events are delivered to.
pub(super) fn open(books: &Connection) -> Result<Vec<Endpoint>, ApiError> {
    let endpoints: Vec<Endpoint> = books::all(books, None)?;
    Ok(endpoints.into_iter().filter(|endpoint| !endpoint.disabled).collect())
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    if form.has("connect") {
        return Err(ApiError::not_kept("connect", "an endpoint for connected accounts"));
    }
    form.allow(&["url", "enabled_events[]", "api_version", "description", "metadata", "metadata[*]"])?;
    if books::all::<Endpoint>(call.books, None)?.len() >= COUNT_MAX {
        return Err(ApiError::refused(format!("You have reached the maximum of {COUNT_MAX} test webhook endpoints.")));
    }
    let mut endpoint = Endpoint {
        id: books::new_id("we_"),
        created: call.sandbox_now,
        url: url(form.required("url")?)?,
        enabled_events: enabled_events(form)?.ok_or_else(|| ApiError::missing("enabled_events"))?,
        version: version(form)?,
        description: None,
        metadata: Metadata::new(),
        disabled: false,
        secret: new_secret(),
        old_secrets: Vec::new(),
    };
    describe(&mut endpoint, form)?;
    books::put(call.books, &endpoint)?;
    // Shown this once.
    Ok(merged(render(&endpoint), json!({ "secret": endpoint.secret })))
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["url", "enabled_events[]", "disabled", "description", "metadata", "metadata[*]"])?;
    let mut endpoint: Endpoint = books::get(call.books, call.id)?;
    if let Some(text) = form.text("url")? {
        endpoint.url = url(text)?;
    }
    if let Some(events) = enabled_events(form)? {
        endpoint.enabled_events = events;
    }
    endpoint.disabled = form.boolean("disabled")?.unwrap_or(endpoint.disabled);
    describe(&mut endpoint, form)?;
    books::put(call.books, &endpoint)?;
    Ok(render(&endpoint))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["limit", "starting_after", "ending_before"])?;
    let endpoints: Vec<Endpoint> = books::all(call.books, None)?;
    lists::page(call, "/v1/webhook_endpoints", endpoints.iter().map(render).collect())
}

/// What was still to be delivered to it never is.
pub(super) fn delete(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let endpoint: Endpoint = books::get(call.books, call.id)?;
    deliveries::forget(call.books, &endpoint.id)?;
    books::remove(call.books, &endpoint)?;
    Ok(json!({ "id": endpoint.id, "object": Endpoint::KIND, "deleted": true }))
}

/// Gives an endpoint a new secret; the one before stays valid for so many seconds. No call of Stripe's, where it is done
/// in the dashboard.
pub(super) fn roll(books: &Connection, id: &str, old_valid_s: i64, now: i64) -> Result<String, ApiError> {
    if !(0..=OLD_VALID_MAX).contains(&old_valid_s) {
        let message = format!("an old secret is valid for 0 to {OLD_VALID_MAX} seconds more, not {old_valid_s}");
        return Err(ApiError::malformed(message));
    }
    let mut endpoint: Endpoint = books::get(books, id)?;
    let old = std::mem::replace(&mut endpoint.secret, new_secret());
    endpoint.old_secrets.retain(|(_, until)| now < *until);
    endpoint.old_secrets.insert(0, (old, now.saturating_add(old_valid_s)));
    books::put(books, &endpoint)?;
    Ok(endpoint.secret)
}

pub(super) fn new_secret() -> String {
    books::new_id("whsec_")
}

fn describe(endpoint: &mut Endpoint, form: &Form) -> Result<(), ApiError> {
    if let Some(text) = form.raw("description") {
        endpoint.description = Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    update_metadata(&mut endpoint.metadata, form)
}

fn url(text: &str) -> Result<String, ApiError> {
    match courier::reach(text) {
        Reach::Possible => Ok(text.to_owned()),
        Reach::Plain => Err(ApiError::not_kept("url", "delivery to another machine without https")),
        Reach::Impossible => {
            let message = "Invalid URL: An explicit scheme (such as https) must be provided.";
            Err(ApiError::parameter("url", "url_invalid", message))
        }
    }
}

fn enabled_events(form: &Form) -> Result<Option<Vec<String>>, ApiError> {
    if !form.has("enabled_events") {
        return Ok(None);
    }
    let events = form.texts("enabled_events");
    if events.is_empty() {
        return Err(ApiError::uncoded("enabled_events", "Invalid array"));
    }
    for (at, event) in events.iter().enumerate() {
        if !event_types::is_known(event) {
            let name = format!("enabled_events[{at}]");
            let message = format!("Invalid {name}: must be one of the event types, or *; it is {event}");
            return Err(ApiError::uncoded(&name, message));
        }
    }
    Ok(Some(events))
}

fn version(form: &Form) -> Result<Option<String>, ApiError> {
    let Some(text) = form.text("api_version")? else { return Ok(None) };
    match Version::parse(text) {
        Ok(version) => Ok(Some(version.text().to_owned())),
        Err(error) => Err(ApiError::uncoded("api_version", error.message)),
    }
}

fn render(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id,
        "object": Endpoint::KIND,
        "api_version": endpoint.version,
        "application": null,
        "created": endpoint.created,
        "description": endpoint.description,
        "enabled_events": endpoint.enabled_events,
        "livemode": false,
        "metadata": endpoint.metadata,
        "status": if endpoint.disabled { "disabled" } else { "enabled" },
        "url": endpoint.url,
    })
}
