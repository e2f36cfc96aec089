//! What the provider said of a subscription when it was read last.

use rusqlite::{Connection, OptionalExtension};

use super::AccountError;
use crate::model::{SubscriptionId, Timestamp};
use crate::store::Tx;

/// Statuses in which a subscription makes no invoices any more.
const OVER: [&str; 2] = ["canceled", "incomplete_expired"];
/// Statuses in which what is used goes on an invoice, paid or not.
const INVOICED: [&str; 3] = ["active", "past_due", "unpaid"];

/// A subscription's state, kept so that `status` can say why nothing is billed, also after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which one.
    pub id: SubscriptionId,
    /// The provider's word: `active`, `trialing`, `past_due`, `canceled`, `paused`, …
    pub status: String,
    /// Whether its collection is paused.
    pub collection_paused: bool,
    /// When it ends or ended, where that is known.
    pub ends: Option<Timestamp>,
}

impl Subscription {
    /// Whether it makes no invoices any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        OVER.contains(&&*self.status)
    }

    /// Rule R6: whether what is used now is billed.
    #[must_use]
    pub fn is_billable(&self) -> bool {
        INVOICED.contains(&&*self.status) && !self.collection_paused
    }

    /// Why nothing is billed on it, a part of a sentence.
    #[must_use]
    pub fn why_not_billed(&self) -> Option<String> {
        let id = &self.id;
        match (&*self.status, self.collection_paused) {
            _ if self.is_over() => Some(match self.ends {
                Some(at) => format!("the subscription {id} is {} since {at}", self.status),
                None => format!("the subscription {id} is {}", self.status),
            }),
            ("trialing", _) => Some(format!("the subscription {id} is trialing, and a trial is free")),
            ("paused", _) => Some(format!("the subscription {id} is paused: its trial ended with nothing to pay with")),
            (_, true) => Some(format!("the collection of the subscription {id} is paused")),
            (status, false) => {
                (!self.is_billable()).then(|| format!("the subscription {id} is {status}, and makes no invoices"))
            }
        }
    }
}

/// Keeps what a read said.
pub fn note_read(tx: &Tx<'_>, read: &Subscription, now: Timestamp) -> Result<(), AccountError> {
    tx.execute(
        "INSERT INTO subscription (subscription, status, paused, ends_s, read_us) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (subscription) DO UPDATE SET status = excluded.status, paused = excluded.paused,
             ends_s = excluded.ends_s, read_us = excluded.read_us",
        (read.id.as_str(), &read.status, read.collection_paused, read.ends.map(Timestamp::secs), now.micros()),
    )?;
    Ok(())
}

/// What the last read said; `None` before any.
pub fn last_read(connection: &Connection, id: &SubscriptionId) -> Result<Option<Subscription>, AccountError> {
    let sql = "SELECT status, paused, ends_s FROM subscription WHERE subscription = ?1";
    let found = connection.prepare_cached(sql)?.query_row([id.as_str()], |row| {
        Ok(Subscription {
            id: id.clone(),
            status: row.get(0)?,
            collection_paused: row.get(1)?,
            ends: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_secs),
        })
    });
    Ok(found.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(status: &str, collection_paused: bool) -> Subscription {
        Subscription { id: "sub_1".parse().unwrap(), status: status.to_owned(), collection_paused, ends: None }
    }

    #[test]
    fn r6_a_period_is_billed_only_while_the_subscription_makes_invoices() {
        for status in ["active", "past_due", "unpaid"] {
            assert!(subscription(status, false).is_billable(), "{status}");
            assert!(!subscription(status, true).is_billable(), "{status} with its collection paused");
        }
        for status in ["trialing", "paused", "canceled", "incomplete", "incomplete_expired", "a word of tomorrow"] {
            assert!(!subscription(status, false).is_billable(), "{status}");
        }
    }

    #[test]
    fn why_nothing_is_billed_is_said_wherever_nothing_is() {
        for status in ["active", "past_due", "unpaid", "trialing", "paused", "canceled", "incomplete", "new"] {
            for paused in [false, true] {
                let found = subscription(status, paused);
                assert_eq!(found.why_not_billed().is_none(), found.is_billable(), "{status} {paused}");
            }
        }
    }
}
