//! Links, one in force at a time.

use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use super::{AccountError, Item};
use crate::model::{CustomerId, PlanName, Span, SubscriptionId, Timestamp};
use crate::store::{Tx, audit};

/// A customer, a subscription and a plan, from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Row id.
    pub id: i64,
    /// Who pays.
    pub customer: CustomerId,
    /// On which subscription.
    pub subscription: SubscriptionId,
    /// By which plan.
    pub plan: PlanName,
    /// Start of billing.
    pub from: Timestamp,
    /// End; `None` while in force.
    pub to: Option<Timestamp>,
}

impl Link {
    /// The stretch this link was in force.
    #[must_use]
    pub fn span(&self) -> Span {
        Span::new(self.from, self.to.unwrap_or(Timestamp::from_micros(i64::MAX)))
    }
}

/// A link to be made.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Who pays.
    pub customer: CustomerId,
    /// On which subscription.
    pub subscription: SubscriptionId,
    /// By which plan.
    pub plan: PlanName,
    /// Start of billing.
    pub from: Timestamp,
    /// `usaged` or `uid:N`.
    pub made_by: String,
    /// Whether nobody but this VM writes to its items (rule S5).
    pub single_writer: bool,
    /// Whether the plan is the one that the subscription's items tell, so that it goes with them.
    pub follows: bool,
    /// What is billed on which item.
    pub items: Vec<Item>,
}

/// Ends the link in force, where there is one, and begins this one.
pub fn begin(tx: &Tx<'_>, new: &NewLink, now: Timestamp) -> Result<Link, AccountError> {
    // A link that would begin after this one never comes into force: it ends where it began. One that was to end with
    // such a link's beginning ends with this one's.
    tx.execute(
        "UPDATE link SET to_us = max(from_us, ?1) WHERE to_us IS NULL OR to_us > max(?1, ?2)",
        (new.from.micros(), now.micros()),
    )?;
    tx.execute(
        "INSERT INTO link (customer, subscription, plan, from_us, made_us, made_by, single_writer, follows)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            new.customer.as_str(),
            new.subscription.as_str(),
            new.plan.as_str(),
            new.from.micros(),
            now.micros(),
            &new.made_by,
            new.single_writer,
            new.follows,
        ),
    )?;
    let id = tx.last_insert_rowid();
    for item in &new.items {
        super::items::insert(tx, id, item)?;
    }
    let items: Vec<_> = new.items.iter().map(|i| json!({"meter": i.meter, "item": i.item, "price": i.price})).collect();
    let detail = json!({"customer": new.customer, "plan": new.plan, "from": new.from, "items": items});
    audit::append(tx, now, &new.made_by, "link", new.subscription.as_str(), &detail)?;
    Ok(Link {
        id,
        customer: new.customer.clone(),
        subscription: new.subscription.clone(),
        plan: new.plan.clone(),
        from: new.from,
        to: None,
    })
}

/// Ends the link in force, where there is one. `actor` is `usaged` or `uid:N`.
pub fn end(tx: &Tx<'_>, actor: &str, now: Timestamp) -> Result<(), AccountError> {
    let Some(link) = in_force(tx)? else { return Ok(()) };
    tx.execute("UPDATE link SET to_us = max(from_us, ?1) WHERE id = ?2", (now.micros(), link.id))?;
    let detail = json!({"customer": link.customer, "plan": link.plan});
    audit::append(tx, now, actor, "unlink", link.subscription.as_str(), &detail)?;
    Ok(())
}

/// The link in force.
pub fn in_force(connection: &Connection) -> Result<Option<Link>, AccountError> {
    one(connection, "WHERE to_us IS NULL")
}

/// Whether the link in force says that nobody but this VM writes to its items.
pub fn is_single_writer(connection: &Connection) -> Result<bool, AccountError> {
    let sql = "SELECT single_writer FROM link WHERE to_us IS NULL";
    let found = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}

/// Whether the plan of the link in force goes with the subscription's items.
pub fn follows_items(connection: &Connection) -> Result<bool, AccountError> {
    let sql = "SELECT follows FROM link WHERE to_us IS NULL";
    let found = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}

/// The link made last, whether in force or not.
pub fn latest(connection: &Connection) -> Result<Option<Link>, AccountError> {
    one(connection, "ORDER BY id DESC LIMIT 1")
}

/// All links, oldest first.
pub fn all(connection: &Connection) -> Result<Vec<Link>, AccountError> {
    let mut statement = connection.prepare_cached(&select("ORDER BY from_us, id"))?;
    let rows = statement.query_map([], raw)?;
    rows.map(|row| row?.checked()).collect()
}

/// Links that are in force at a moment or later, oldest first.
pub fn in_force_since(connection: &Connection, at: Timestamp) -> Result<Vec<Link>, AccountError> {
    let links = all(connection)?.into_iter();
    Ok(links.filter(|link| link.to.is_none_or(|to| at < to && link.from < to)).collect())
}

fn one(connection: &Connection, rest: &str) -> Result<Option<Link>, AccountError> {
    let found = connection.prepare_cached(&select(rest))?.query_row([], raw).optional()?;
    found.map(RawLink::checked).transpose()
}

fn select(rest: &str) -> String {
    format!("SELECT id, customer, subscription, plan, from_us, to_us FROM link {rest}")
}

struct RawLink(i64, String, String, String, i64, Option<i64>);

fn raw(row: &Row<'_>) -> rusqlite::Result<RawLink> {
    Ok(RawLink(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

impl RawLink {
    fn checked(self) -> Result<Link, AccountError> {
        Ok(Link {
            id: self.0,
            customer: CustomerId::new(self.1)?,
            subscription: SubscriptionId::new(self.2)?,
            plan: PlanName::new(self.3)?,
            from: Timestamp::from_micros(self.4),
            to: self.5.map(Timestamp::from_micros),
        })
    }
}
