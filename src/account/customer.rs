//! The customer, as it was read last.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::AccountError;
use crate::model::{Customer, CustomerId, Timestamp};
use crate::store::Tx;

/// Keeps what a read said.
pub fn note_customer(tx: &Tx<'_>, read: &Customer, now: Timestamp) -> Result<(), AccountError> {
    let sql =
        "INSERT INTO customer (customer, name, email, delinquent, deleted, read_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (customer) DO UPDATE SET name = excluded.name, email = excluded.email,
                   delinquent = excluded.delinquent, deleted = excluded.deleted, read_us = excluded.read_us";
    let row = (read.id.as_str(), &read.name, &read.email, read.delinquent, read.deleted, now.micros());
    tx.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// What the last read said; `None` before any.
pub fn customer(connection: &Connection, id: &CustomerId) -> Result<Option<Customer>, AccountError> {
    let sql = "SELECT name, email, delinquent, deleted FROM customer WHERE customer = ?1";
    let found = connection.prepare_cached(sql)?.query_row([id.as_str()], |row| {
        Ok(Customer {
            id: id.clone(),
            name: row.get(0)?,
            email: row.get(1)?,
            delinquent: row.get(2)?,
            deleted: row.get(3)?,
            metadata: BTreeMap::new(),
        })
    });
    Ok(found.optional()?)
}
