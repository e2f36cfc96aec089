//! Test clocks: a time of its own for the customers put on one, with all that is theirs.
//!
//! An advance is done by the time it is answered; the answer says `advancing` as Stripe's does, the next read `ready`.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::billing;
use super::books::{self, Record};
use super::call::Call;
use super::errors::ApiError;
use super::form::Form;
use super::items::{self, Item};
use super::lists;
use super::periods::Anchor;
use super::prices::Price;
use super::subscribe::interval_of;
use super::subscriptions::Subscription;

/// A clock is deleted this long after it was made, seconds of the sandbox's time: what Stripe's own example of the
/// object shows.
const KEPT: i64 = 7 * 86_400;
/// How far a clock without a subscription may be advanced, in months.
const FARTHEST: u32 = 24;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TestClock {
    id: String,
    /// The sandbox's time, not its own.
    created: i64,
    name: Option<String>,
    frozen_time: i64,
}

impl Record for TestClock {
    const KIND: &'static str = "test_helpers.test_clock";
    const NOUN: &'static str = "test_clock";
    fn id(&self) -> &str {
        &self.id
    }
    fn due(&self) -> Option<i64> {
        Some(self.deletes_after())
    }
}

impl TestClock {
    fn deletes_after(&self) -> i64 {
        self.created.saturating_add(KEPT)
    }
}

/// The time a request is answered in: that of the test clock on which the object lives that its path names, or else
/// the first that one of its parameters names.
pub(super) fn time_of(books: &Connection, id: &str, form: &Form, now: i64) -> Result<i64, ApiError> {
    let named = ["test_clock", "customer", "subscription"].into_iter().filter_map(|name| form.raw(name));
    // A meter event names its customer under a key that its meter chooses.
    let mapped = form.map("payload").into_iter().map(|(_, value)| value);
    for id in [id].into_iter().chain(named).chain(mapped).filter(|id| !id.is_empty()) {
        let clock = books::clock_of(books, id)?;
        if let Some(clock) = books::find::<TestClock>(books, clock.as_deref().unwrap_or(id))? {
            return Ok(clock.frozen_time);
        }
    }
    Ok(now)
}

/// The clock that `test_clock` names.
pub(super) fn named(call: &Call<'_>) -> Result<Option<String>, ApiError> {
    let Some(id) = call.form.text("test_clock")? else { return Ok(None) };
    books::get_at::<TestClock>(call.books, "test_clock", id)?;
    Ok(Some(id.to_owned()))
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["frozen_time", "name"])?;
    let clock = TestClock {
        id: books::new_id("clock_"),
        created: call.sandbox_now,
        name: form.text("name")?.map(str::to_owned),
        frozen_time: frozen_time(form)?,
    };
    books::put(call.books, &clock)?;
    Ok(render(&clock))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["limit", "starting_after", "ending_before"])?;
    let clocks: Vec<TestClock> = books::all(call.books, None)?;
    lists::page(call, "/v1/test_helpers/test_clocks", clocks.iter().map(render).collect())
}

/// `POST /v1/test_helpers/test_clocks/{id}/advance`.
pub(super) fn advance(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["frozen_time"])?;
    let to = frozen_time(call.form)?;
    let mut clock: TestClock = books::get(call.books, call.id)?;
    let mut answer = render(&clock);
    if to <= clock.frozen_time {
        let message = "The test clock can only be advanced to a time after its current frozen time.";
        return Err(ApiError::refused_at("frozen_time", message));
    }
    if to > farthest(call.books, &clock)? {
        let message = "The test clock cannot be advanced by more than two intervals of its shortest subscription, or \
                       by more than two years where it has none.";
        return Err(ApiError::refused_at("frozen_time", message));
    }
    billing::catch_up_on(call.books, &clock.id, to, call.sandbox_now)?;
    clock.frozen_time = to;
    books::put(call.books, &clock)?;
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("status".to_owned(), json!("advancing"));
        fields.insert("status_details".to_owned(), json!({ "advancing": { "target_frozen_time": to } }));
    }
    Ok(answer)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    books::get::<TestClock>(call.books, call.id)?;
    remove(call.books, call.id)?;
    Ok(json!({ "id": call.id, "object": TestClock::KIND, "deleted": true }))
}

/// Forgets a clock, its customers, and all that is theirs.
pub(super) fn remove(books: &Connection, clock: &str) -> Result<(), ApiError> {
    let of_its_customers = "customer IN (SELECT id FROM objects WHERE clock = ?1)";
    books.execute(&format!("DELETE FROM meter_events WHERE {of_its_customers}"), [clock])?;
    let of_its_items = "item IN (SELECT id FROM objects WHERE clock = ?1)";
    books.execute(&format!("DELETE FROM usage_records WHERE {of_its_items}"), [clock])?;
    books.execute(&format!("DELETE FROM item_periods WHERE {of_its_items}"), [clock])?;
    books.execute("DELETE FROM objects WHERE clock = ?1 OR id = ?1", [clock])?;
    Ok(())
}

fn frozen_time(form: &Form) -> Result<i64, ApiError> {
    let time = form.natural("frozen_time")?.ok_or_else(|| ApiError::missing("frozen_time"))?;
    if time <= super::LATEST.secs() {
        return Ok(time);
    }
    Err(ApiError::uncoded("frozen_time", "Invalid timestamp: must be an integer Unix timestamp before the year 10000."))
}

/// Two intervals on for the subscription whose intervals are the shortest.
fn farthest(books: &Connection, clock: &TestClock) -> Result<i64, ApiError> {
    let from = Anchor::at(clock.frozen_time);
    let mut limit: Option<i64> = None;
    for subscription in books::all::<Subscription>(books, None)? {
        if subscription.test_clock.as_deref() != Some(&clock.id) || subscription.status.is_over() {
            continue;
        }
        let items: Vec<Item> = items::live(books, &subscription.id)?;
        for item in items {
            let interval = interval_of(&books::get::<Price>(books, &item.price)?);
            let two = from.next_after(interval, from.next_after(interval, from.at));
            limit = Some(limit.map_or(two, |limit| limit.min(two)));
        }
    }
    Ok(limit.unwrap_or_else(|| from.months_after(FARTHEST)))
}

pub(super) fn render(clock: &TestClock) -> Value {
    json!({
        "id": clock.id,
        "object": TestClock::KIND,
        "created": clock.created,
        "deletes_after": clock.deletes_after(),
        "frozen_time": clock.frozen_time,
        "livemode": false,
        "name": clock.name,
        "status": "ready",
        "status_details": {},
    })
}
