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
    let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let found: Option<(String, String, i64, String, String)> = books.query_row(sql, [id], columns).optional()?;
    let read = |(id, kind, created, head, data): (String, String, i64, String, String)| {
        let (head, data) = (serde_json::from_str(&head)?, serde_json::from_str(&data)?);
        Ok(Event { id, kind, created, head, data })
    };
    found.map(read).transpose()
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
        "created[gt]",
        "created[gte]",
        "created[lt]",
        "created[lte]",
        "delivery_success",
        "limit",
        "starting_after",
        "ending_before",
    ])?;
    let (types, created) = (Types::read(form)?, Created::read(form)?);
    let delivered = form.boolean("delivery_success")?;
    let sql = "SELECT id, type, created FROM events WHERE made >= ?1 ORDER BY seq DESC";
    let mut statement = call.books.prepare_cached(sql)?;
    let mut rows = statement.query([call.sandbox_now.saturating_sub(KEPT)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, kind): (String, String) = (row.get(0)?, row.get(1)?);
        let fits = types.fit(&kind) && created.fits(row.get(2)?);
        if fits && (delivered.is_none() || delivered == Some(deliveries::pending(call.books, &id)? == 0)) {
            found.push(json!({ "id": id }));
        }
    }
    let mut page = lists::newest_first(call, "/v1/events", found)?;
    // Only what is on the page is read as a whole.
    for one in page.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
        let event = one.get("id").and_then(Value::as_str).map(|id| find(call.books, id)).transpose()?.flatten();
        if let Some(event) = event {
            *one = event.render(call.books, None)?;
        }
    }
    Ok(page)
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

type Comparison = fn(&i64, &i64) -> bool;

/// When what a list is of was created.
struct Created(Vec<(Comparison, i64)>);

impl Created {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let comparisons: [(&str, Comparison); 5] = [
            ("created", i64::eq),
            ("created[gt]", i64::gt),
            ("created[gte]", i64::ge),
            ("created[lt]", i64::lt),
            ("created[lte]", i64::le),
        ];
        let mut bounds = Vec::new();
        for (name, holds) in comparisons {
            bounds.extend(form.integer(name)?.map(|bound| (holds, bound)));
        }
        Ok(Self(bounds))
    }

    fn fits(&self, created: i64) -> bool {
        self.0.iter().all(|(holds, bound)| holds(&created, bound))
    }
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
