//! A subscription's invoices, as they were read last.

use rusqlite::{Connection, Row};

use super::AccountError;
use crate::model::{Invoice, InvoiceId, SubscriptionId, Timestamp};
use crate::store::Tx;

/// Keeps what a read said.
pub fn note_invoice(tx: &Tx<'_>, read: &Invoice, now: Timestamp) -> Result<(), AccountError> {
    let sql =
        "INSERT INTO invoice (invoice, subscription, number, status, currency, due, remaining, attempts, next_attempt_s,
             declined, created_s, read_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (invoice) DO UPDATE SET subscription = excluded.subscription, number = excluded.number,
             status = excluded.status, currency = excluded.currency, due = excluded.due, remaining = excluded.remaining,
             attempts = excluded.attempts, next_attempt_s = excluded.next_attempt_s, declined = excluded.declined,
             created_s = excluded.created_s, read_us = excluded.read_us";
    tx.prepare_cached(sql)?.execute((
        read.id.as_str(),
        read.subscription.as_str(),
        &read.number,
        &read.status,
        &read.currency,
        read.due,
        read.remaining,
        read.attempts,
        read.next_attempt.map(Timestamp::secs),
        &read.declined,
        read.created.secs(),
        now.micros(),
    ))?;
    Ok(())
}

/// What the last read said; `None` before any.
pub fn invoice(connection: &Connection, id: &InvoiceId) -> Result<Option<Invoice>, AccountError> {
    let mut statement = connection.prepare_cached(&select("WHERE invoice = ?1"))?;
    statement.query_and_then([id.as_str()], read)?.next().transpose()
}

/// Those of a subscription, newest first.
pub fn invoices_of(connection: &Connection, of: &SubscriptionId) -> Result<Vec<Invoice>, AccountError> {
    let mut statement =
        connection.prepare_cached(&select("WHERE subscription = ?1 ORDER BY created_s DESC, invoice"))?;
    statement.query_and_then([of.as_str()], read)?.collect()
}

fn select(rest: &str) -> String {
    format!(
        "SELECT invoice, subscription, number, status, currency, due, remaining, attempts, next_attempt_s, declined,
             created_s FROM invoice {rest}"
    )
}

fn read(row: &Row<'_>) -> Result<Invoice, AccountError> {
    Ok(Invoice {
        id: InvoiceId::new(row.get::<_, String>(0)?)?,
        subscription: SubscriptionId::new(row.get::<_, String>(1)?)?,
        number: row.get(2)?,
        status: row.get(3)?,
        currency: row.get(4)?,
        due: row.get(5)?,
        remaining: row.get(6)?,
        attempts: row.get(7)?,
        next_attempt: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_secs),
        declined: row.get(9)?,
        created: Timestamp::from_secs(row.get(10)?),
    })
}
