//! Events: what happened to an object, told once and kept for 30 days. Made in the transaction in which it happened.
//!
//! Shapes of <https://docs.stripe.com/api/events/object>. An event shows its object as it was then, in the account's API
//! version, and is delivered in the version of the endpoint it goes to.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account;
use super::books;
use super::call::Call;
use super::changes;
use super::deliveries;
use super::errors::ApiError;
use super::form::Form;
use super::lists;
use super::telling::Told;
use super::version::Version;
use super::webhook_endpoints::{self, Endpoint};

/// Events are kept and listed this long, seconds.
const KEPT: i64 = 30 * 86_400;
/// So many types may be asked for at once.
const TYPES_MAX: usize = 20;
const NOUN: &str = "event";

/// Which request made something happen; none of what time did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cause {
    pub(super) id: Option<String>,
    pub(super) idempotency_key: Option<String>,
}

/// When something happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// In the time of the test clock that the object lives on, otherwise the sandbox's.
    pub(super) at: i64,
    /// In the sandbox's own time.
    pub(super) sandbox_at: i64,
}

/// An event as the books keep it.
pub(super) struct Event {
    pub(super) id: String,
    pub(super) kind: String,
    created: i64,
    head: Head,
    data: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    /// The account's.
    version: String,
    cause: Cause,
}

/// Makes the events of everything that changed since the last time, and plans their delivery.
pub(super) fn tell(books: &Connection, moment: Moment, cause: &Cause) -> Result<(), ApiError> {
    let changes = changes::drain(books)?;
    if changes.is_empty() {
        return Ok(());
    }
    let account = account::version(books)?;
    let endpoints = webhook_endpoints::open(books)?;
    for change in changes {
        let Some(told) = Told::read(change)? else { continue };
        for kind in told.types(books, &account)? {
            let wanting: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.wants(&kind)).collect();
            let mut versions: BTreeSet<String> = wanting.iter().filter_map(|one| one.version.clone()).collect();
            versions.insert(account.text().to_owned());
            let mut data = BTreeMap::new();
            for version in versions {
                let shaped = told.data(books, &kind, &Version::parse(&version)?)?;
                data.insert(version, shaped);
            }
            let head = Head { version: account.text().to_owned(), cause: cause.clone() };
            let event = Event { id: books::new_id("evt_"), kind, created: moment.at, head, data };
            keep(books, &event.id, &event.kind, moment, &event.head, &event.data)?;
            for endpoint in wanting {
                deliveries::plan(books, &event.id, &endpoint.id, moment.sandbox_at)?;
            }
        }
    }
    forget(books, moment.sandbox_at)
}

/// Keeps an event.
pub(super) fn keep(
    books: &Connection,
    id: &str,
    kind: &str,
    moment: Moment,
    head: &impl Serialize,
    data: &impl Serialize,
) -> Result<(), ApiError> {
    let (head, data) = (serde_json::to_string(head)?, serde_json::to_string(data)?);
    books.execute(
        "INSERT INTO events (id, type, created, made, head, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, kind, moment.at, moment.sandbox_at, head, data],
    )?;
    Ok(())
}

/// What is older than is listed goes, unless it is still to be delivered.
pub(super) fn forget(books: &Connection, now: i64) -> Result<(), ApiError> {
    let waits = "SELECT event FROM deliveries WHERE due IS NOT NULL";
    let sql = format!("DELETE FROM events WHERE made < ?1 AND id NOT IN ({waits})");
    if books.execute(&sql, [now.saturating_sub(KEPT)])? > 0 {
        books.execute("DELETE FROM deliveries WHERE event NOT IN (SELECT id FROM events)", [])?;
    }
    Ok(())
}

/// The event of this id.
pub(super) fn find(books: &Connection, id: &str) -> Result<Option<Event>, ApiError> {
    let sql = "SELECT id, type, created, head, data FROM events WHERE id = ?1";
    books.query_row(sql, [id], |row| Ok(read(row))).optional()?.transpose()
}

fn read(row: &Row<'_>) -> Result<Event, ApiError> {
    let (head, data): (String, String) = (row.get(3)?, row.get(4)?);
    Ok(Event {
        id: row.get(0)?,
        kind: row.get(1)?,
        created: row.get(2)?,
        head: serde_json::from_str(&head)?,
        data: serde_json::from_str(&data)?,
    })
}

/// `GET /v1/events/{id}`.
pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let event = find(call.books, call.id)?.ok_or_else(|| ApiError::no_such(NOUN, call.id))?;
    event.render(call.books, None)
}

/// `GET /v1/events`: newest first.
pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&[
        "type",
        "types[]",
        "created",
        "created[*]",
        "delivery_success",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let types = Types::read(form)?;
    let delivered = form.boolean("delivery_success")?;
    let sql = "SELECT id, type, created, head, data FROM events WHERE made >= ?1 ORDER BY seq DESC";
    let mut statement = call.books.prepare_cached(sql)?;
    let mut rows = statement.query([call.sandbox_now.saturating_sub(KEPT)])?;
    let mut rendered = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(1)?;
        if types.fit(&kind) && is_created_within(form, row.get(2)?)? {
            let event = read(row)?;
            let is_delivered = deliveries::pending(call.books, &event.id)? == 0;
            if delivered.is_none_or(|wanted| wanted == is_delivered) {
                rendered.push(event.render(call.books, None)?);
            }
        }
    }
    lists::newest_first(call, "/v1/events", rendered)
}

/// Which types a list is of; all where none is named.
struct Types(Vec<String>);

impl Types {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let (one, several) = (form.text("type")?, form.texts("types"));
        if one.is_some() && !several.is_empty() {
            return Err(ApiError::malformed("You may only specify one of these parameters: type, types."));
        }
        if several.len() > TYPES_MAX {
            return Err(ApiError::uncoded("types", format!("You may only specify up to {TYPES_MAX} types.")));
        }
        Ok(Self(one.map(|one| vec![one.to_owned()]).unwrap_or(several)))
    }

    fn fit(&self, kind: &str) -> bool {
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => wanted == kind,
        };
        self.0.is_empty() || self.0.iter().any(fits)
    }
}

fn is_created_within(form: &Form, created: i64) -> Result<bool, ApiError> {
    for (name, _) in form.map("created") {
        let full = format!("created[{name}]");
        let Some(bound) = form.integer(&full)? else { continue };
        let holds = match name {
            "gt" => created > bound,
            "gte" => created >= bound,
            "lt" => created < bound,
            "lte" => created <= bound,
            _ => {
                let message = format!("Received unknown parameter: {full}");
                return Err(ApiError::parameter(&full, "parameter_unknown", message));
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(form.integer("created")?.is_none_or(|at| created == at))
}

impl Event {
    /// As an API version shapes it; the account's where none is named.
    pub(super) fn render(&self, books: &Connection, version: Option<&str>) -> Result<Value, ApiError> {
        let named = version.and_then(|version| self.data.get_key_value(version));
        let (version, data) = named.or_else(|| self.data.get_key_value(&self.head.version)).unzip();
        Ok(json!({
            "id": self.id,
            "object": NOUN,
            "api_version": version,
            "created": self.created,
            "data": data,
            "livemode": false,
            "pending_webhooks": deliveries::pending(books, &self.id)?,
            "request": self.head.cause,
            "type": self.kind,
        }))
    }
}
